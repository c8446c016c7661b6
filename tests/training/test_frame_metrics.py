"""Frame and clip metrics over batches and processes are those of all videos at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor, distributed

from captioner.errors import DataError
from captioner.metrics.segments import edit_score, frame_accuracy, mean_average_precision
from training.frame_metrics import ClipMetrics, FrameMetrics

CLASSES = ("rest", "walk", "run")
TRUTHS = [[0, 0, 1, 1, 1, 0], [2, 2, 2, -1], [1, 1, 0, 0, 2], [0, 2]]
GUESSES = [[0, 1, 1, 0, 1, 0], [2, 2, 1, 1], [1, 1, 0, 0, 2], [2, 2]]


def several(labels: list[int]) -> Tensor:
    """Each class by itself; a frame without a label has none."""
    rows = torch.nn.functional.one_hot(torch.tensor(labels).clamp(min=0), 3)
    rows[torch.tensor(labels) == -1] = -1
    return rows


def scores_of(labels: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(len(labels))
    return (several(labels).float() + torch.rand(len(labels), 3, generator=generator)) / 2


def update(metrics: FrameMetrics, videos: list[int]) -> None:
    if metrics.multi_label:
        metrics.update(
            torch.tensor(videos, dtype=torch.int64),
            [several(GUESSES[video]).clamp(min=0) for video in videos],
            [several(TRUTHS[video]) for video in videos],
            scores=[scores_of(GUESSES[video]) for video in videos],
            times=[torch.arange(len(TRUTHS[video])) / 5 for video in videos],
        )
    else:
        metrics.update(
            torch.tensor(videos, dtype=torch.int64),
            [torch.tensor(GUESSES[video]) for video in videos],
            [torch.tensor(TRUTHS[video]) for video in videos],
        )


def values(metrics: FrameMetrics | ClipMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metrics.compute().items()}


def test_one_label_a_frame_gives_the_scores_of_the_functions() -> None:
    metrics = FrameMetrics(CLASSES, background=("rest",), per_class=True)
    for batch in ([3, 0], [2], [1]):
        update(metrics, batch)
    found = values(metrics)
    assert found["frame_accuracy"] == frame_accuracy(GUESSES, TRUTHS)
    assert found["edit"] == edit_score(GUESSES, TRUTHS, background=(0,))
    assert found["edit"] != edit_score(GUESSES, TRUTHS, background=())
    assert {"F1@10", "F1@25", "F1@50", "F1 rest", "F1 walk", "F1 run"} <= set(found)
    predictions, targets = metrics.labels()
    assert [video.tolist() for video in predictions] == GUESSES
    assert [video.tolist() for video in targets] == TRUTHS


def test_independent_labels_give_the_precision_of_all_frames_together() -> None:
    metrics = FrameMetrics(CLASSES, multi_label=True, per_class=True)
    for batch in ([3, 0], [2], [1]):
        update(metrics, batch)
    found = values(metrics)
    together = torch.cat([scores_of(guess) for guess in GUESSES])
    expected = mean_average_precision(together, torch.cat([several(truth) for truth in TRUTHS]))
    assert found["mAP"] == pytest.approx(expected)
    assert found["AP run"] <= 100
    # 16 labelled frames with one label and one guess each, 12 of them the same; one more guess
    # stands at a frame that nobody labelled.
    assert found["frame_F1"] == pytest.approx(100 * 12 / 16)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_video_that_comes_twice_counts_once(multi_label: bool) -> None:
    once, twice = (FrameMetrics(CLASSES, multi_label=multi_label) for _ in range(2))
    update(once, [0, 1, 2, 3])
    update(twice, [2, 0, 1, 3, 0, 2])
    assert values(twice) == values(once)


def test_after_a_reset_nothing_is_left() -> None:
    metrics = FrameMetrics(CLASSES)
    update(metrics, [0, 1, 3])
    metrics.reset()
    update(metrics, [2])
    assert values(metrics)["frame_accuracy"] == 100
    metrics.reset()
    metrics.update(torch.tensor([0]), [torch.tensor([1])], [torch.tensor([-1])])
    with pytest.raises(DataError, match="no labelled frame"):
        metrics.compute()


def test_clips_have_an_accuracy_with_its_interval() -> None:
    metrics = ClipMetrics(CLASSES, per_class=True)
    metrics.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]))
    metrics.update(torch.tensor([3, 0]), torch.tensor([2, 0]), torch.tensor([-1, 0]))
    found = values(metrics)
    assert found["accuracy"] == pytest.approx(200 / 3)
    # Wilson for 2 of 3, e.g. statsmodels' proportion_confint(2, 3, method="wilson").
    assert found["accuracy_low"] == pytest.approx(20.77, abs=0.01)
    assert found["accuracy_high"] == pytest.approx(93.85, abs=0.01)
    assert found["recall run"] == 0
    metrics.reset()
    metrics.update(torch.tensor([0]), torch.tensor([1]), torch.tensor([-1]))
    with pytest.raises(DataError, match="no labelled clip"):
        metrics.compute()


SHARES = {  # name -> rank -> batches of videos
    "padded": [[[0, 2], [1]], [[3], [0]]],  # the sampler gives video 0 to both ranks
    "uneven": [[[0], [1], [2, 3]], []],
}


def rank(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2
    )
    found = {}
    for name, shares in SHARES.items():
        for multi_label in (False, True):
            metrics = FrameMetrics(CLASSES, multi_label=multi_label)
            for batch in shares[number]:
                update(metrics, batch)
            found[name, multi_label] = values(metrics)
    clips = ClipMetrics(CLASSES)
    if number:
        clips.update(torch.tensor([1, 2]), torch.tensor([0, 1]), torch.tensor([0, 2]))
    found["clips", False] = values(clips)
    torch.save(found, f"{folder}/{number}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank, args=(str(tmp_path),), nprocs=2)
    expected = {}
    for multi_label in (False, True):
        metrics = FrameMetrics(CLASSES, multi_label=multi_label)
        update(metrics, [0, 1, 2, 3])
        expected |= {(name, multi_label): values(metrics) for name in SHARES}
    for number in range(2):
        found = torch.load(tmp_path / f"{number}.pt")
        assert found.pop(("clips", False))["accuracy"] == 50
        assert found == expected
