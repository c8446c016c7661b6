from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from captioner.text.vocabulary import Vocabulary
from captioner.vision.preprocess import Preprocessing
from training.data.batches import Example
from training.data.examples import CaptionExamples
from training.data.pictures import Pictures
from training.data.stored import FEATURES

VOCABULARY = Vocabulary(["a", "dog", "cat", "runs"])
TOKENS = [
    [["a", "dog"], ["a", "dog", "runs", "home"]],
    [["a", "cat"]],
    [["cat"], ["a", "cat", "runs"], ["runs"]],
]


@pytest.fixture
def pictures(photos: list[str], tmp_path: Path) -> Pictures:
    columns = {
        "image": [{"bytes": None, "path": str(tmp_path / name)} for name in photos[:3]],
        "filename": photos[:3],
        "captions": [["x"]] * 3,
        "split": ["train"] * 3,
    }
    return Pictures(Dataset.from_dict(columns, features=FEATURES), Preprocessing(size=16))


def texts(batch: dict[str, torch.Tensor]) -> list[tuple[int, list[str]]]:
    """Each row as (the picture's row in the table, its words without padding)."""
    rows = zip(batch["rows"].tolist(), batch["tokens"], batch["lengths"].tolist(), strict=True)
    return [
        (int(batch["index"][row]), [VOCABULARY[i] for i in ids[: length + 1].tolist()])
        for row, ids, length in rows
    ]


def test_a_batch_says_which_picture_every_caption_belongs_to(pictures: Pictures) -> None:
    examples = CaptionExamples(pictures, TOKENS, VOCABULARY)
    batch = examples[[Example(2, (0, 2)), Example(0, (0, 1))]]
    assert batch["index"].tolist() == [2, 0]
    assert texts(batch) == [
        (0, ["<start>", "a", "dog", "runs", "<unk>", "<end>"]),
        (0, ["<start>", "a", "dog", "<end>"]),
        (2, ["<start>", "cat", "<end>"]),
        (2, ["<start>", "runs", "<end>"]),
    ]
    assert batch["lengths"].tolist() == [5, 3, 2, 2]  # words and end, falling
    assert batch["pixels"].shape == (2, 3, 16, 16)
    assert torch.equal(batch["pixels"][0], pictures[2])
    assert torch.equal(batch["pixels"][1], pictures[0])
    assert {batch[name].dtype for name in ("index", "tokens", "lengths", "rows")} == {torch.int64}


def test_everything_behind_a_caption_is_padding(pictures: Pictures) -> None:
    batch = CaptionExamples(pictures, TOKENS, VOCABULARY)[[Example(0, (0, 1)), Example(1, (0,))]]
    behind = torch.arange(batch["tokens"].shape[1]) > batch["lengths"][:, None]
    assert batch["tokens"].shape[1] == 1 + int(batch["lengths"].max())
    assert (batch["tokens"][behind] == VOCABULARY.pad_id).all()
    assert (batch["tokens"][~behind] != VOCABULARY.pad_id).all()


def test_cached_features_take_the_place_of_pixels(pictures: Pictures) -> None:
    examples = CaptionExamples(pictures, TOKENS, VOCABULARY)
    examples.features = np.arange(3 * 4 * 2, dtype=np.float16).reshape(3, 4, 2)
    batch = examples[[Example(2, (0,)), Example(0, (0,))]]
    assert "pixels" not in batch
    assert batch["features"].dtype == torch.float32
    assert torch.equal(batch["features"], torch.from_numpy(examples.features[[2, 0]]).float())


def test_a_caption_that_is_cut_predicts_its_first_words_and_no_end(pictures: Pictures) -> None:
    examples = CaptionExamples(pictures, TOKENS, VOCABULARY, max_tokens=2)
    assert examples.lengths() == [[3, 2], [3], [2, 2, 2]]
    assert texts(examples[0]) == [
        (0, ["<start>", "a", "dog", "<end>"]),
        (0, ["<start>", "a", "dog"]),
    ]


def test_lengths_are_those_of_the_batches(pictures: Pictures) -> None:
    examples = CaptionExamples(pictures, TOKENS, VOCABULARY)
    assert len(examples) == 3
    assert examples.lengths() == [[3, 5], [3], [2, 4, 2]]
    for image in range(3):
        assert sorted(examples[image]["lengths"].tolist()) == sorted(examples.lengths()[image])
