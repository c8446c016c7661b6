"""A finger that draws a known path, before scenes and in colours that the rule was not told."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.models.video_labeller import build_frame_encoder
from captioner.vision.hand_map import shots
from captioner.vision.hand_path import HandPathEncoder, best_path, hand_path

SKIN, SHADOW = (200, 140, 110), (30, 30, 35)
HEIGHT, WIDTH = 60, 80


def scene(seed: int) -> Tensor:
    """A wall with furniture: ``(3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(90, 200, (1, 3, 5, 6), generator=generator).float()
    picture = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0]
    return picture + 4 * torch.randn(3, HEIGHT, WIDTH, generator=generator)


def circle(frames: int = 36) -> Tensor:
    """A circle of radius 14 around (36, 26): ``(T, 2)``, x and y."""
    angles = torch.arange(frames) * 2 * math.pi / frames
    return torch.stack([36 + 14 * angles.cos(), 26 + 14 * angles.sin()], 1)


def drawn(
    path: Tensor, *, colour: tuple[int, int, int] = SKIN, seed: int = 1, dim: float = 0.0
) -> Tensor:
    """A finger of 4 pixels on a fist of 10 on an arm to the lower right: ``(T, 3, H, W)``."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    frames = []
    for number, (right, down) in enumerate(path.tolist()):
        below = y - down
        finger = (below >= 0) & (below < 8) & ((x - right).abs() <= 2)
        fist = (below >= 8) & (below < 18) & ((x - right - 2).abs() <= 6)
        arm = (below >= 18) & ((x - right - 0.7 * (below - 10)).abs() <= 5)
        picture = torch.where(finger | fist | arm, torch.tensor(colour)[:, None, None], scene(seed))
        frames.append(picture - dim * number)
    return torch.stack(frames).round().clamp(0, 255).to(torch.uint8)


def away(found: Tensor, path: Tensor) -> Tensor:
    """Pixels between a found and a drawn path, a constant way between them apart: ``(T,)``."""
    apart = HEIGHT * found[:, :2] - path
    # What is found is the upper end of the hand: so much below the tip of a thin finger.
    assert apart.mean(0).abs().max() < 9
    return (apart - apart.mean(0)).norm(dim=1)


@pytest.mark.parametrize("colour", [SKIN, SHADOW])
def test_the_hand_is_followed(colour: tuple[int, int, int]) -> None:
    path = circle()
    found = hand_path(drawn(path, colour=colour))
    assert found.shape == (36, 7)
    off = away(found, path)
    assert float(off.median()) < 2  # a place is 2 pixels wide
    assert float(off.max()) < 5
    assert float(found[:, 2].min()) > 0.2
    fist = 60 * found[:, 3:5] - path
    assert float((fist - fist.mean(0)).norm(dim=1).median()) < 3
    assert float(found[:, 5].min()) > 0.2
    assert found[:, 6].tolist() == [1] + [0] * 35


def test_brightness_and_a_shaking_camera_do_no_harm() -> None:
    path = circle()
    frames = drawn(path, dim=0.6)
    shaken = torch.stack(
        [frame.roll((n % 3 - 1, n % 2), (1, 2)) for n, frame in enumerate(frames.unbind())]
    )
    off = away(hand_path(shaken), path)
    assert float(off.median()) < 2
    assert float(off.max()) < 6


def test_another_size_of_picture_gives_the_same_shares() -> None:
    frames = drawn(circle())
    large = torch.nn.functional.interpolate(frames.float(), scale_factor=2.0)
    torch.testing.assert_close(hand_path(large), hand_path(frames))


def test_shots_are_parted_at_cuts() -> None:
    one, other = drawn(circle(20), seed=1), drawn(circle(15), seed=2)
    both = torch.cat([one, other])
    assert shots(both.float()) == [slice(0, 20), slice(20, 35)]
    found = hand_path(both)
    assert torch.equal(found, torch.cat([hand_path(one), hand_path(other)]))
    assert found[:, 6].nonzero().flatten().tolist() == [0, 20]
    assert shots(one.float()) == [slice(0, 20)]


def test_a_path_would_rather_bridge_than_jump() -> None:
    scores = torch.zeros(5, 20, 20)
    scores[:, 10, 10] = 0.5
    scores[2, 10, 10], scores[2, 2, 18] = 0.2, 0.6  # 11 pixels away and back cost 5
    places, found = best_path(scores)
    assert places[:, 0].tolist() == [10.5] * 5
    assert found.tolist() == pytest.approx([0.5, 0.5, 0.2, 0.5, 0.5])


def test_features_are_the_same_wherever_and_however_large_a_gesture_is_drawn() -> None:
    encoder = HandPathEncoder(blur=1)
    place = circle() / HEIGHT
    path = torch.cat([place, torch.ones(36, 1)] * 2 + [torch.zeros(36, 1)], 1)
    moved = path.clone()
    moved[:, :2] = 0.5 * path[:, :2] + 0.2
    moved[:, 3:5] = 2 * path[:, 3:5]
    one, two = (encoder.finish(rows[None])[0] for rows in (path, moved))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    assert one[:, :2].min() == pytest.approx(-1, abs=1e-4)
    assert one[:, :2].max() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(one[1:, 2:4], 8 * one[:, :2].diff(dim=0))


def test_padding_and_neighbouring_shots_change_nothing() -> None:
    encoder = build_frame_encoder({"kind": "hand_path", "blur": 3})
    one, other = drawn(circle(20), seed=1), drawn(circle(15), seed=2)
    rows = torch.zeros(2, 35, 3, HEIGHT, WIDTH)
    rows[0], rows[1, :20] = torch.cat([one, other]) / 255, one / 255
    found = encoder(rows, torch.tensor([35, 20]))
    assert found.shape == (2, 35, encoder.feature_size)
    torch.testing.assert_close(found[0, :20], found[1, :20])
    assert not found[1, 20:].any()
    torch.testing.assert_close(found[0, 20:], encoder(rows[:1, 20:])[0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidOption, match="blur is 4"):
        HandPathEncoder(blur=4)
    with pytest.raises(InvalidOption, match="between 0 and 1"):
        HandPathEncoder()(torch.full((1, 2, 3, HEIGHT, WIDTH), 2.0))
    with pytest.raises(ValueError, match="is expected"):
        HandPathEncoder()(torch.zeros(1, 2, 1, HEIGHT, WIDTH))
