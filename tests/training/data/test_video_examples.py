"""Clips, streams and windows of them as batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.clip_cache import Clips
from training.data.video_examples import ClipExample, ClipExamples, collated

LENGTHS = (3, 5, 2)


def clips(dtype: type = np.float16, shape: tuple[int, ...] = (4,)) -> Clips:
    """Every row of video ``v`` and frame ``t`` is ``10 v + t``."""
    values = [10 * v + t for v, length in enumerate(LENGTHS) for t in range(length)]
    rows = np.array(values, dtype=dtype).reshape(-1, *(1 for _ in shape)) * np.ones(shape, dtype)
    numbers = np.concatenate([np.arange(length) for length in LENGTHS])
    return Clips(rows, np.cumsum([0, *LENGTHS]), numbers, numbers / 10)


def labels() -> list[np.ndarray]:
    return [np.full(length, v % 2) for v, length in enumerate(LENGTHS)]


def examples(**options: object) -> ClipExamples:
    found = ClipExamples(options.pop("streams", [[0], [1], [2]]), **options)  # type: ignore[arg-type]
    found.fill(clips(), labels())
    return found


def test_a_batch_is_padded_and_says_so() -> None:
    batch = collated([examples()[number] for number in (0, 1)])
    assert batch["index"].tolist() == [0, 1]
    assert batch["lengths"].tolist() == [3, 5]
    assert batch["features"].shape == (2, 5, 4)
    assert batch["features"].dtype == torch.float32
    assert batch["features"][:, :, 0].tolist() == [[0, 1, 2, 0, 0], [10, 11, 12, 13, 14]]
    assert batch["labels"].tolist() == [[0, 0, 0, -1, -1], [1, 1, 1, 1, 1]]
    assert batch["label"].tolist() == [0, 1]


def test_what_the_rows_are_says_what_the_batch_holds() -> None:
    for dtype, shape, name in (
        (np.uint8, (3, 2, 2), "frames"),
        (np.float16, (8, 2, 2), "maps"),
        (np.float16, (8,), "features"),
    ):
        found = ClipExamples([[0], [1], [2]])
        found.fill(clips(dtype, shape), labels())
        batch = collated([found[0], found[2]])
        assert batch[name].shape == (2, 3, *shape)


def test_a_stream_is_its_videos_one_behind_the_other() -> None:
    batch = collated([examples(streams=[[2, 1, 0]])[0]])
    assert batch["features"][0, :, 0].tolist() == [20, 21, 10, 11, 12, 13, 14, 0, 1, 2]
    assert batch["labels"][0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert batch["label"].tolist() == [-1]  # no one label
    np.testing.assert_allclose(batch["times"][0], np.arange(10) / 10)


def test_independent_labels_have_a_row_a_frame() -> None:
    found = ClipExamples([[0], [2]])
    several = [np.zeros((length, 3), dtype=np.int64) for length in LENGTHS]
    several[0][1, 2] = 1
    found.fill(clips(), several)
    batch = collated([found[0], found[1]])
    assert batch["labels"].shape == (2, 3, 3)
    assert batch["labels"][1, 2].tolist() == [-1, -1, -1]
    assert batch["label"].tolist() == [[0, 0, 1], [0, 0, 0]]


def test_a_window_is_a_part_in_order() -> None:
    found = examples(window=3, fresh=True)
    starts = set()
    torch.manual_seed(0)
    for _ in range(30):
        _, example = found[1]
        values = example.rows[:, 0].tolist()
        assert values == [values[0], values[0] + 1, values[0] + 2]
        assert example.times[0] * 10 == values[0] - 10
        starts.add(values[0])
    assert starts == {10, 11, 12}
    assert len(found[2][1].rows) == 2  # shorter than the window: whole


def test_streams_drawn_in_training_differ_and_change_label_at_borders() -> None:
    found = examples(random_streams=3, fresh=True)
    torch.manual_seed(0)
    seen = set()
    for _ in range(20):
        item, example = found[0]
        assert item == 0
        videos = (example.rows[:, 0] // 10).unique_consecutive().int().tolist()
        assert videos[0] == 0
        assert videos[1] == 1  # the only one with another label
        seen.add(tuple(videos))
    assert len(seen) == 2


def test_without_fresh_chance_every_look_is_the_same() -> None:
    found = examples(random_streams=3, window=4)
    assert all(torch.equal(found[n][1].rows, found[n][1].rows) for n in range(3))


def test_augmentation_sees_single_videos_before_they_are_joined() -> None:
    lengths = []

    def mirrored(example: ClipExample, generator: torch.Generator) -> ClipExample:
        lengths.append(len(example.rows))
        other: Tensor = 1 - example.labels
        return ClipExample(-example.rows, other, example.times)

    batch = collated([examples(streams=[[0, 1]], augment=mirrored)[0]])
    assert lengths == [3, 5]
    assert batch["features"][0, :, 0].tolist() == [0, -1, -2, -10, -11, -12, -13, -14]
    assert batch["labels"][0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
