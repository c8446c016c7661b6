"""How training clips differ from one epoch to the next: in time, in place and in light.

Labels follow their frames. What changes a picture is drawn once a clip, so that nothing moves that
did not move before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption
from training.data.video_examples import ClipExample


@dataclass(frozen=True)
class ClipAugmentation:
    """What chance does to a training clip of pixels ``(T, C, H, W)``; zeros do nothing.

    Args:
        speed: in every fifth of a clip time runs up to this share slower or faster.
        shift: pixels by which the picture moves, at most, in each direction.
        scale: share by which it is smaller or larger, at most.
        turn: degrees by which it is turned, at most.
        flip: how often it is mirrored, left to right. Not where direction is what the label says.
        contrast: share by which contrast is lower or higher, at most.
        brightness: grey levels, of 255, by which it is darker or lighter, at most.
        gaps: stretches of up to ``gap_frames`` frames that are painted over, at most.
        gap_frames: frames of the longest of them.
        patch: how often a rectangle of a sixth to a third of each side is painted over.
        splice: how often a stretch of a clip, 1/15 to 1/2 of it, is that of another one of its
            batch, with its labels.
    """

    speed: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    turn: float = 0.0
    flip: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gaps: int = 0
    gap_frames: int = 4
    patch: float = 0.0
    splice: float = 0.0

    def __post_init__(self) -> None:
        for name in ("speed", "scale", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidOption(
                    f"{name} is {getattr(self, name)}.", hint="A share, from 0 up to 1."
                )
        for name in ("flip", "patch", "splice"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidOption(f"{name} is {getattr(self, name)}.", hint="From 0 to 1.")
        for name in ("shift", "turn", "brightness", "gaps"):
            if getattr(self, name) < 0:
                raise InvalidOption(f"{name} is {getattr(self, name)}.", hint="At least 0.")
        if self.gap_frames < 1:
            raise InvalidOption(f"gap_frames is {self.gap_frames}.", hint="At least 1.")

    @property
    def margin(self) -> int:
        """Pixels that a crop should keep on every side, so that a moved picture has no edge."""
        return math.ceil(self.shift)

    def __call__(
        self,
        example: ClipExample,
        generator: torch.Generator,
        *,
        size: tuple[int, int] | None = None,
    ) -> ClipExample:
        """The clip changed; of its pictures the middle of ``size`` (height, width), or all.

        What is no pixels but features or maps is changed in time alone.
        """
        rows, labels, times = example
        if self.speed and len(rows) > 1:
            picked = self._other_speeds(len(rows), generator)
            rows, labels = rows[picked], labels[picked]
        if rows.dtype != torch.uint8:
            return ClipExample(rows, labels, times)
        pictures = self._moved(rows, size or (rows.shape[2], rows.shape[3]), generator)
        pictures = self._lit(pictures, generator)
        self._paint_over(pictures, generator)
        return ClipExample(pictures.round_().clamp_(0, 255).to(torch.uint8), labels, times)

    def spliced(
        self, examples: Sequence[tuple[int, ClipExample]], generator: torch.Generator
    ) -> list[tuple[int, ClipExample]]:
        """The clips of a batch, numbered, with stretches of each other."""
        others = torch.randperm(len(examples), generator=generator).tolist()
        return [
            (number, _with_stretch_of(examples[other][1], example, generator))
            if _chance(self.splice, generator)
            else (number, example)
            for (number, example), other in zip(examples, others, strict=True)
        ]

    def _other_speeds(self, time: int, generator: torch.Generator) -> Tensor:
        # Of each new frame, the old one. The middle of the clip stays in place.
        knots = 1 + self.speed * (2 * torch.rand(6, generator=generator) - 1)
        speeds = functional.interpolate(
            knots.view(1, 1, -1), size=time, mode="linear", align_corners=True
        ).flatten()
        places = speeds.cumsum(0)
        middle = time // 2
        return (places - places[middle] + middle).round().long().clamp(0, time - 1)

    def _moved(self, rows: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        # (T, C, H, W) -> float (T, C, *size)
        height, width = rows.shape[2:]
        if not (self.shift or self.scale or self.turn):
            cut = middle(rows, size).float()
            return cut.flip(3) if _chance(self.flip, generator) else cut
        angle = math.radians(self.turn) * _between(generator)
        zoom = 1 + self.scale * _between(generator)
        mirror = -1 if _chance(self.flip, generator) else 1
        right, down = self.shift * _between(generator), self.shift * _between(generator)
        y, x = (torch.arange(side) + 0.5 - side / 2 for side in size)
        x, y = mirror * x.unsqueeze(0), y.unsqueeze(1)
        cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
        places = torch.stack(
            [
                (cosine * x - sine * y + right) * 2 / width,
                (sine * x + cosine * y + down) * 2 / height,
            ],
            2,
        )
        # All frames as the channels of one picture: the places are worked out once.
        flat = functional.grid_sample(
            rows.float().flatten(0, 1)[None],
            places[None],
            padding_mode="border",
            align_corners=False,
        )
        return flat.view(*rows.shape[:2], *size)

    def _lit(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        if not (self.contrast or self.brightness):
            return pictures
        mean = pictures.mean()
        contrast = 1 + self.contrast * _between(generator)
        return (pictures - mean) * contrast + (mean + self.brightness * _between(generator))

    def _paint_over(self, pictures: Tensor, generator: torch.Generator) -> None:
        mean = pictures.mean()
        for _ in range(_whole(0, self.gaps, generator)):
            start = _whole(0, len(pictures) - 1, generator)
            pictures[start : start + _whole(1, self.gap_frames, generator)] = mean
        if _chance(self.patch, generator):
            sides = [_whole(side // 6, side // 3, generator) for side in pictures.shape[2:]]
            top, left = (
                _whole(0, side - size, generator)
                for side, size in zip(pictures.shape[2:], sides, strict=True)
            )
            pictures[..., top : top + sides[0], left : left + sides[1]] = mean


def middle(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of ``size`` (height, width) of pictures ``(…, H, W)``."""
    top, left = ((whole - part) // 2 for whole, part in zip(pictures.shape[-2:], size, strict=True))
    return pictures[..., top : top + size[0], left : left + size[1]]


def _with_stretch_of(
    other: ClipExample, example: ClipExample, generator: torch.Generator
) -> ClipExample:
    time = min(len(example.rows), len(other.rows))
    size = _whole(max(1, time // 15), max(1, time // 2), generator)
    stretch = slice(start := _whole(0, time - size, generator), start + size)
    rows, labels = example.rows.clone(), example.labels.clone()
    rows[stretch], labels[stretch] = other.rows[stretch], other.labels[stretch]
    return ClipExample(rows, labels, example.times)


def _between(generator: torch.Generator) -> float:
    return float(2 * torch.rand((), generator=generator) - 1)


def _chance(share: float, generator: torch.Generator) -> bool:
    return share > 0 and float(torch.rand((), generator=generator)) < share


def _whole(least: int, most: int, generator: torch.Generator) -> int:
    return int(torch.randint(least, most + 1, (), generator=generator))
