"""What chance does to training clips, and that labels follow their frames."""

from __future__ import annotations

import pytest
import torch

from captioner.errors import InvalidOption
from training.data.clip_augmentation import ClipAugmentation, middle
from training.data.video_examples import ClipExample


def clip(time: int = 20, height: int = 24, width: int = 30) -> ClipExample:
    """Frame number t is all of the grey level 5 t, and has the label t."""
    rows = (5 * torch.arange(time)).view(-1, 1, 1, 1).expand(time, 1, height, width)
    return ClipExample(rows.to(torch.uint8), torch.arange(time), torch.arange(time) / 25)


def noise(time: int = 4, height: int = 24, width: int = 30) -> ClipExample:
    rows = torch.randint(0, 256, (1, 3, height, width), generator=generator(9))
    rows = rows.expand(time, -1, -1, -1).to(torch.uint8)
    return ClipExample(rows, torch.zeros(time, dtype=torch.int64), torch.arange(time) / 25)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_by_default_nothing_changes() -> None:
    before = noise()
    after = ClipAugmentation()(before, generator(1))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)


def test_labels_follow_their_frames_in_time() -> None:
    for seed in range(5):
        rows, labels, _ = ClipAugmentation(speed=0.5)(clip(), generator(seed))
        assert torch.equal(rows[:, 0, 0, 0], 5 * labels)
        assert (labels.diff() >= 0).all()
        assert labels[10] == 10  # the middle stays where it is
        assert not torch.equal(labels, torch.arange(20))


def test_the_times_of_frames_stay() -> None:
    assert torch.equal(ClipAugmentation(speed=0.5)(clip(), generator(1)).times, clip().times)


def test_all_frames_move_alike() -> None:
    moving = ClipAugmentation(shift=3, scale=0.1, turn=10)
    rows = moving(noise(), generator(2)).rows
    assert not torch.equal(rows, noise().rows)
    assert (rows == rows[:1]).all()


def test_a_flip_is_a_mirror_image_and_nothing_else() -> None:
    before = noise()
    mirrored = ClipAugmentation(flip=1.0)(before, generator(3)).rows
    assert torch.equal(mirrored, before.rows.flip(3))
    # The same by the way that also turns and scales, here by next to nothing.
    resampled = ClipAugmentation(flip=1.0, turn=1e-4)(before, generator(3)).rows
    assert (resampled.int() - mirrored.int()).abs().max() <= 1


def test_the_middle_is_taken_with_and_without_moving() -> None:
    before = noise()
    expected = middle(before.rows, (12, 20))
    assert torch.equal(expected, before.rows[..., 6:18, 5:25])
    still = ClipAugmentation()(before, generator(4), size=(12, 20)).rows
    moved = ClipAugmentation(turn=1e-4)(before, generator(4), size=(12, 20)).rows
    assert torch.equal(still, expected)
    assert (moved.int() - expected.int()).abs().max() <= 1


def test_light_stays_within_what_was_asked() -> None:
    before = clip(2)
    for seed in range(5):
        rows = ClipAugmentation(brightness=20)(before, generator(seed)).rows
        assert (rows.int() - before.rows.int()).abs().max() <= 20


def test_gaps_and_patches_are_painted_in_the_mean() -> None:
    before = noise(30)
    mean = before.rows.float().mean().round()
    rows = ClipAugmentation(gaps=3, gap_frames=2)(before, generator(8)).rows
    painted = (rows == mean).all(3).all(2).all(1)
    assert 1 <= painted.sum() <= 6
    assert torch.equal(rows[~painted], before.rows[~painted])
    patched = (ClipAugmentation(patch=1.0)(before, generator(8)).rows == mean).float().mean()
    assert 1 / 36 <= patched <= 1 / 9 + 0.02  # chance paints a few pixels in that grey


def test_a_splice_brings_frames_with_their_labels() -> None:
    first, second = clip(), clip()
    second = second._replace(rows=second.rows + 100, labels=second.labels + 20)
    found = ClipAugmentation(splice=1.0).spliced([(0, first), (1, second)], generator(1))
    assert [number for number, _ in found] == [0, 1]
    for _, example in found:
        expected = torch.where(example.labels < 20, 5 * example.labels, 5 * example.labels)
        assert torch.equal(example.rows[:, 0, 0, 0].int(), expected.int())
    assert torch.equal(first.labels, torch.arange(20))  # what is stored does not change


def test_what_is_no_pixels_changes_in_time_alone() -> None:
    features = torch.arange(20.0).view(20, 1)
    example = ClipExample(features, torch.arange(20), torch.arange(20) / 25)
    everything = ClipAugmentation(speed=0.4, shift=4, turn=5, brightness=9, gaps=2, patch=1.0)
    found = everything(example, generator(1), size=(10, 10))
    assert torch.equal(found.rows[:, 0], found.labels.float())


def test_equal_seeds_give_equal_clips() -> None:
    everything = ClipAugmentation(0.2, 3, 0.1, 6, 0.5, 0.2, 20, 2, 4, 0.5)
    one, other = (everything(noise(), generator(5)).rows for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, everything(noise(), generator(6)).rows)


@pytest.mark.parametrize(
    "wrong", [{"speed": 1.0}, {"flip": 1.5}, {"shift": -1.0}, {"gap_frames": 0}, {"scale": -0.1}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidOption, match=f"{next(iter(wrong))} is"):
        ClipAugmentation(**wrong)  # type: ignore[arg-type]
