"""What frames of videos have and photos have not: blur, changing light, noise, coarse coding.

Drawn for the views of one photo together, since what disturbs a video lasts: light wanders, a
camera that is moved fast blurs one frame after the other, noise and coding are the recording's.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

GAMMA = 2.2  # from grey levels to light, where blur and exposure happen
BLURS, SHARPENS = 0.25, 0.5  # chance that the next view is blurred, and that it is sharp again
FOCUS = 0.25  # of the blurred ones: out of focus, the others moved
MOVED = 6.0, 30.0  # pixels of 224: 0.8 to 4 widths a second at a thirtieth of a second
DEFOCUS = 1.5, 5.0  # standard deviation in pixels of 224
LIGHT, DRIFT, DARKEST = 0.5, 0.5, 2.0  # stops: of a recording, from view to view, at most
NOISE = 16.0  # grey levels at most, standard deviation
QUALITY = 10, 60  # of JPEG


@dataclass(frozen=True)
class Disturbance:
    """Of one view: ``moved`` and ``defocus`` in shares of its side, ``angle`` in radians."""

    stops: float = 0.0
    moved: float = 0.0
    angle: float = 0.0
    defocus: float = 0.0
    noise: float = 0.0
    quality: int = 95
    seed: int = 0


def disturbances(photo: int, views: int, *, seed: int = 0) -> list[Disturbance]:
    """Of each view of a photo."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + photo)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    noise, quality = between(0, NOISE), round(between(*QUALITY))
    stops = LIGHT * float(torch.randn((), generator=generator))
    blurred = False
    found = []
    for view in range(views):
        blurred = between(0, 1) < (1 - SHARPENS if blurred else BLURS)
        moved, defocus = between(*MOVED) / 224, between(*DEFOCUS) / 224
        focus = between(0, 1) < FOCUS
        found.append(
            Disturbance(
                stops=max(-DARKEST, min(DARKEST, stops)),
                moved=moved if blurred and not focus else 0.0,
                angle=between(0, math.pi),
                defocus=defocus if blurred and focus else 0.0,
                noise=noise,
                quality=quality,
                seed=photo * views + view,
            )
        )
        stops += DRIFT * float(torch.randn((), generator=generator))
    return found


def disturbed(pixels: Tensor, by: Disturbance) -> Tensor:
    """uint8 ``(3, H, W)`` -> the same, through the lens, the sensor and the coder."""
    side = pixels.shape[-1]
    light = (pixels.float() / 255).pow(GAMMA)
    if by.moved:
        light = _filtered(light, _line(by.moved * side, by.angle))
    if by.defocus:
        light = _filtered(light, _gaussian(by.defocus * side))
    grey = (light * 2**by.stops).clamp(max=1).pow(1 / GAMMA) * 255
    if by.noise:
        generator = torch.Generator().manual_seed(by.seed)
        grey = grey + by.noise * torch.randn(grey.shape, generator=generator)
    picture = grey.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    coded = io.BytesIO()
    Image.fromarray(picture).save(coded, "JPEG", quality=by.quality)
    return torch.from_numpy(np.asarray(Image.open(coded)).transpose(2, 0, 1).copy())


def _filtered(light: Tensor, kernel: Tensor) -> Tensor:
    """Each channel through ``kernel``; outside the picture is what its edge shows."""
    above, beside = (size // 2 for size in kernel.shape)
    framed = functional.pad(light[:, None], (beside, beside, above, above), mode="replicate")
    return functional.conv2d(framed, kernel[None, None])[:, 0]


def _line(length: float, angle: float) -> Tensor:
    """A point that moved ``length`` pixels: square, odd, sums to 1."""
    half = math.ceil(length / 2)
    kernel = torch.zeros(2 * half + 3, 2 * half + 3)
    steps = torch.linspace(-length / 2, length / 2, 4 * half + 1)
    for across, down in zip(
        (steps * math.cos(angle)).tolist(), (steps * math.sin(angle)).tolist(), strict=True
    ):
        left, top = math.floor(across), math.floor(down)
        right, below = across - left, down - top
        column, row = left + half + 1, top + half + 1
        kernel[row, column] += (1 - right) * (1 - below)
        kernel[row, column + 1] += right * (1 - below)
        kernel[row + 1, column] += (1 - right) * below
        kernel[row + 1, column + 1] += right * below
    return kernel / kernel.sum()


def _gaussian(deviation: float) -> Tensor:
    reach = math.ceil(3 * deviation)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation).square())
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()
