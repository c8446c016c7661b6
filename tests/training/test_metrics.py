import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import distributed

from captioner.errors import DataError
from captioner.metrics import DocumentFrequency, caption_scores, caption_set
from training.metrics import CaptionMetrics

CANDIDATES = [
    ["a", "dog", "runs", "fast"],
    ["a", "cat", "sits"],
    [],
    ["two", "men", "walk", "on", "the", "beach"],
    ["a", "café", "\n", '"'],
]
REFERENCES = [
    [["a", "dog", "runs", "very", "fast"], ["the", "dog", "runs"]],
    [["a", "cat", "sits", "here"]],
    [["two", "men", "walk"], ["men", "walk"], []],
    [["two", "men", "walk", "on", "sand"], ["men", "on", "the", "beach"]],
    [["a", "café"]],
]


def _update(metrics: CaptionMetrics, images: Sequence[int]) -> None:
    metrics.update(
        images, [CANDIDATES[image] for image in images], [REFERENCES[image] for image in images]
    )


def _expected() -> dict[str, float]:
    return caption_scores(CANDIDATES, REFERENCES)


def _values(metrics: CaptionMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metrics.compute().items()}


def test_batches_in_any_order_give_the_scores_of_the_whole() -> None:
    metrics = CaptionMetrics()
    for batch in ([3, 0], [4], [2, 1]):
        _update(metrics, batch)
    assert _values(metrics) == _expected()
    assert [scored.image for scored in metrics.scored] == [0, 1, 2, 3, 4]
    assert [list(scored.candidate) for scored in metrics.scored] == CANDIDATES


def test_an_image_that_comes_twice_counts_once() -> None:
    metrics = CaptionMetrics()
    _update(metrics, [0, 1, 2, 3, 4, 0, 1])
    assert _values(metrics) == _expected()


def test_image_numbers_may_be_a_tensor() -> None:
    metrics = CaptionMetrics()
    metrics.update(torch.arange(5), CANDIDATES, REFERENCES)
    assert _values(metrics) == _expected()


def test_after_a_reset_nothing_is_left() -> None:
    metrics = CaptionMetrics()
    _update(metrics, [0, 1])
    metrics.compute()
    metrics.reset()
    _update(metrics, [0, 1, 2, 3, 4])
    assert _values(metrics) == _expected()


def test_a_batch_of_unequal_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        CaptionMetrics().update([0, 1], CANDIDATES[:1], REFERENCES[:2])


def test_nothing_collected_is_refused() -> None:
    metrics = CaptionMetrics()
    metrics.update([], [], [])
    with pytest.raises(DataError, match="no caption"):
        metrics.compute()


def test_options_reach_the_scores_and_the_signature() -> None:
    frequency = DocumentFrequency.of(REFERENCES * 9)
    training = caption_set(REFERENCES)
    metrics = CaptionMetrics(
        document_frequency=frequency, training_captions=training, num_draws=50, seed=1
    )
    _update(metrics, range(5))
    values = _values(metrics)
    expected = caption_scores(
        CANDIDATES, REFERENCES, document_frequency=frequency, training_captions=training
    )
    assert {name: values[name] for name in expected} == expected
    assert values["CIDEr_low"] <= values["CIDEr"] <= values["CIDEr_high"]
    assert metrics.signature("beam3").endswith("|idf:fixed(45)|images:5|search:beam3")


def test_a_pickled_metric_goes_on_where_it_was() -> None:
    metrics = CaptionMetrics()
    _update(metrics, [0, 1, 2])
    again = pickle.loads(pickle.dumps(metrics))
    _update(again, [3, 4])
    assert _values(again) == _expected()


SHARES = {  # name -> rank -> batches of image numbers
    "padded": [[[0, 2], [4]], [[1, 3], [0]]],  # the sampler gives image 0 to both ranks
    "uneven": [[[0], [1], [2, 3]], [[4]]],
    "one rank without images": [[[0, 1, 2, 3, 4]], [[]]],
}


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    metrics = CaptionMetrics(num_draws=20)
    scores = {}
    for name, shares in SHARES.items():
        for batch in shares[rank]:
            _update(metrics, batch)
        scores[name] = _values(metrics)
        metrics.reset()
    torch.save(scores, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    alone = CaptionMetrics(num_draws=20)
    _update(alone, range(5))
    expected = _values(alone)
    for rank in range(2):
        scores = torch.load(tmp_path / f"{rank}.pt")
        assert scores == dict.fromkeys(SHARES, expected)
