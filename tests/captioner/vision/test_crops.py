"""Crops of clips: a fixed box, and one around painted lips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captioner.errors import InvalidOption
from captioner.vision.crops import Crop, find_lips, grey

SKIN, LIPS, CLOTH, HAIR = (190, 150, 120), (170, 90, 90), (20, 60, 200), (60, 10, 10)


def face(x: int, y: int, *, frames: int = 5, width: int = 160, height: int = 112) -> torch.Tensor:
    """Frames of skin with lips of 44 x 14 around ``(x, y)``, blue cloth below and hair on top."""
    picture = torch.tensor(SKIN, dtype=torch.uint8).view(3, 1, 1).repeat(1, height, width)
    for colour, rows, columns in (
        (HAIR, slice(0, 12), slice(None)),  # dark: its hue says nothing
        (CLOTH, slice(height - 10, None), slice(None)),
        (LIPS, slice(y - 7, y + 7), slice(x - 22, x + 22)),
    ):
        picture[:, rows, columns] = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
    return picture.repeat(frames, 1, 1, 1)


@pytest.mark.parametrize(("x", "y"), [(80, 56), (60, 40), (97, 70)])
def test_lips_are_found_where_they_are(x: int, y: int) -> None:
    found_x, found_y = find_lips(face(x, y))
    assert abs(found_x - x) <= 3
    assert abs(found_y - y) <= 1


def test_lips_that_move_are_found_where_they_are_most() -> None:
    clip = torch.cat([face(76, 50), face(80, 56, frames=20), face(84, 60)])
    found_x, found_y = find_lips(clip)
    assert abs(found_x - 80) <= 4
    assert abs(found_y - 56) <= 2


def test_a_crop_around_lips_is_centred_on_them() -> None:
    cut = Crop(64, 48, "lips")(face(70, 60))
    assert cut.shape == (5, 3, 48, 64)
    assert torch.equal(cut[0, :, 24, 32], torch.tensor(LIPS, dtype=torch.uint8))
    x, y = find_lips(face(70, 60))
    assert torch.equal(cut, Crop(64, 48, (x, y))(face(70, 60)))


def test_a_fixed_box_is_a_slice() -> None:
    clip = torch.arange(2 * 3 * 20 * 30).view(2, 3, 20, 30).to(torch.uint8)
    assert torch.equal(Crop(8, 6, (14, 10))(clip), clip[:, :, 7:13, 10:18])


def test_outside_the_picture_its_edge_goes_on() -> None:
    clip = torch.arange(2 * 3 * 20 * 30).view(2, 3, 20, 30).to(torch.uint8)
    cut = Crop(8, 6, (0, 0))(clip)
    assert torch.equal(cut[:, :, 3:, 4:], clip[:, :, :3, :4])
    assert torch.equal(cut[:, :, 0, 0], clip[:, :, 0, 0])


def test_a_crop_can_be_enlarged_and_widened() -> None:
    crop = Crop(8, 6, (14, 10), enlarge=2)
    clip = torch.randint(0, 256, (2, 3, 20, 30), generator=torch.Generator().manual_seed(3))
    clip = clip.to(torch.uint8)
    large = crop(clip)
    assert large.shape[2:] == crop.size == (12, 16)
    assert Crop(8, 6, (14, 10)).size == (6, 8)
    wide = Crop(8, 6, (14, 10)).widened(2)(clip)
    assert torch.equal(wide[:, :, 2:-2, 2:-2], Crop(8, 6, (14, 10))(clip))


def test_grey_is_what_pillow_makes_of_it() -> None:
    from PIL import Image

    colours = torch.randint(0, 256, (1, 3, 40, 50), generator=torch.Generator().manual_seed(3))
    clip = colours.to(torch.uint8)
    image = Image.fromarray(clip[0].permute(1, 2, 0).numpy()).convert("L")
    expected = torch.from_numpy(np.array(image)).int()
    assert (grey(clip)[0, 0].int() - expected).abs().max() <= 1
    assert grey(clip).shape == (1, 1, 40, 50)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidOption, match="0 by 5"):
        Crop(0, 5, (1, 1))
    with pytest.raises(InvalidOption, match="3 frames of 40 x 30"):
        find_lips(torch.zeros(3, 3, 30, 40, dtype=torch.uint8))
    with pytest.raises(InvalidOption, match="0 frames"):
        find_lips(torch.zeros(0, 3, 112, 160, dtype=torch.uint8))
