"""What disturbs the frames of a video: blur, light, noise and coding."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from training.data.disturbances import Disturbance, disturbances, disturbed

NONE = Disturbance()


def stripes(*, across: bool) -> Tensor:
    """Black and white stripes of 8 pixels, 64 pixels square."""
    line = ((torch.arange(64) // 8) % 2 * 255).to(torch.uint8)
    picture = line.expand(64, 64)
    return (picture if across else picture.t()).expand(3, 64, 64).contiguous()


def contrast(pixels: Tensor) -> float:
    """Standard deviation within the picture's middle."""
    return float(pixels[:, 16:48, 16:48].float().std())


def test_nothing_but_the_coder_leaves_a_picture_as_it_is() -> None:
    picture = stripes(across=True)
    assert (disturbed(picture, NONE).float() - picture.float()).abs().mean() < 3


@pytest.mark.parametrize("across", [True, False])
def test_a_move_blurs_what_it_goes_across(across: bool) -> None:
    move = replace(NONE, moved=0.25, angle=0.0 if across else math.pi / 2)
    sharp = contrast(stripes(across=across))
    assert contrast(disturbed(stripes(across=across), move)) < 0.2 * sharp
    assert contrast(disturbed(stripes(across=not across), move)) > 0.9 * sharp


def test_out_of_focus_every_direction_is_blurred() -> None:
    blur = replace(NONE, defocus=0.1)
    for across in (True, False):
        sharp = stripes(across=across)
        assert contrast(disturbed(sharp, blur)) < 0.2 * contrast(sharp)


def test_blur_keeps_the_light() -> None:
    picture = stripes(across=True)
    for blur in (replace(NONE, moved=0.25), replace(NONE, defocus=0.1)):
        middle = disturbed(picture, blur)[:, 16:48, 16:48].float() / 255
        assert float(middle.pow(2.2).mean()) == pytest.approx(0.5, abs=0.02)


def test_a_stop_is_twice_the_light() -> None:
    picture = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    darker, lighter = (disturbed(picture, replace(NONE, stops=stops)) for stops in (-1.0, 1.0))
    for found, factor in ((darker, 0.5), (lighter, 2.0)):
        assert float(found.float().mean()) == pytest.approx(100 * factor ** (1 / 2.2), abs=1)
    assert disturbed(picture, replace(NONE, stops=9.0)).min() == 255


def test_noise_is_that_of_its_seed() -> None:
    picture = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    noisy = replace(NONE, noise=10.0, quality=100)
    once, again = disturbed(picture, noisy), disturbed(picture, noisy)
    assert torch.equal(once, again)
    assert not torch.equal(once, disturbed(picture, replace(noisy, seed=1)))
    assert 4 < float(once.float().std()) < 11  # JPEG keeps half of the colour's


def test_a_recording_has_one_noise_and_its_light_wanders() -> None:
    found = disturbances(3, 50)
    assert found == disturbances(3, 50) != disturbances(4, 50)
    assert len({(one.noise, one.quality) for one in found}) == 1
    stops = torch.tensor([one.stops for one in found])
    assert stops.abs().max() <= 2
    assert len(stops.unique()) > 10


def test_blur_lasts() -> None:
    runs = [one.moved + one.defocus > 0 for photo in range(200) for one in disturbances(photo, 10)]
    blurred = sum(runs) / len(runs)
    after = [later for first, later in pairwise(runs) if first]
    assert 0.2 < blurred < 0.5 < sum(after) / len(after) + 0.1
    assert not any(one.moved and one.defocus for one in disturbances(1, 100))
