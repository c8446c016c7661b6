"""How the paths of hands differ from one epoch to the next: in time, in shape and by mistakes.

Nothing is mirrored and nothing runs backwards: which way a gesture goes is what it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.vision.hand_path import COLUMNS
from training.data.video_examples import ClipExample

PLACES = ((0, 1), (3, 4))  # columns of x and y, of the tip and of the fist
KNOTS = 6  # of speed over a clip
SHORTEST = 10  # frames
AT_ONCE = 5  # frames for which a place is lost, at most


@dataclass(frozen=True)
class PathAugmentation:
    """What chance does to a training clip's path; zeros do nothing. See vision.hand_path.

    Args:
        speed: share by which the whole is faster or slower, at most.
        warp: share by which sixths of it are faster or slower, at most.
        trim: share that is cut off at the beginning and at the end, at most.
        turn: degrees by which it is turned, at most.
        shear: share by which a line upwards leans to a side, at most.
        scale: share by which it is wider or narrower, at most.
        noise: standard deviation of a wandering of the places, as a share of the path's extent.
        lost: how often a place is lost for up to five frames, and lies anywhere instead.
    """

    speed: float = 0.0
    warp: float = 0.0
    trim: float = 0.0
    turn: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    noise: float = 0.0
    lost: float = 0.0

    def __post_init__(self) -> None:
        for name in ("speed", "warp", "scale"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidOption(f"{name} is {getattr(self, name)}.", hint="From 0 up to 1.")
        if not 0 <= self.trim < 0.5:
            raise InvalidOption(f"trim is {self.trim}.", hint="From 0 up to a half.")
        if not 0 <= self.lost <= 1:
            raise InvalidOption(f"lost is {self.lost}.", hint="From 0 to 1.")
        for name in ("turn", "shear", "noise"):
            if getattr(self, name) < 0:
                raise InvalidOption(f"{name} is {getattr(self, name)}.", hint="At least 0.")

    def __call__(self, example: ClipExample, generator: torch.Generator) -> ClipExample:
        """The clip with another path, of another number of frames."""
        if len(example.rows) < 2:
            return example
        at = self._moments(len(example.rows), generator)
        before = at.floor().long().clamp(max=len(example.rows) - 2)
        share = (at - before).unsqueeze(1)
        rows = example.rows[before] * (1 - share) + example.rows[before + 1] * share
        rows[:, -1] = 0.0
        rows[0, -1] = 1.0
        shape = self._shape(generator)
        for place in PLACES:
            rows[:, place] = self._redrawn(rows[:, place], shape, generator)
        nearest = at.round().long()
        times = example.times[: len(at)]
        if len(at) > len(example.rows):
            step = float(example.times.diff().median())
            times = example.times[0] + step * torch.arange(len(at), dtype=example.times.dtype)
        return ClipExample(rows, example.labels[nearest], times)

    def _moments(self, time: int, generator: torch.Generator) -> Tensor:
        # Where each new frame lies between the old ones.
        count = max(min(SHORTEST, time), round(time * (1 + self.speed * _between(generator))))
        knots = 1 + self.warp * (2 * torch.rand(KNOTS, generator=generator) - 1)
        speeds = functional.interpolate(
            knots.view(1, 1, -1), size=max(2, count), mode="linear", align_corners=True
        ).flatten()
        run = speeds.cumsum(0) - speeds[0]
        first, last = (self.trim * torch.rand(2, generator=generator)).tolist()
        return (first + run / run[-1] * (1 - first - last)) * (time - 1)

    def _shape(self, generator: torch.Generator) -> Tensor:
        angle = math.radians(self.turn) * _between(generator)
        wide = 1 + self.scale * _between(generator)
        lean = self.shear * _between(generator)
        return torch.tensor(
            [
                [wide * math.cos(angle), lean - math.sin(angle)],
                [wide * math.sin(angle), math.cos(angle)],
            ]
        )

    def _redrawn(self, places: Tensor, shape: Tensor, generator: torch.Generator) -> Tensor:
        middle = places.mean(0)
        places = (places - middle) @ shape.t() + middle
        extent = (places.amax(0) - places.amin(0)).amax()
        if self.noise:
            # A mean over seven frames has 1 / sqrt(7) of a single one's deviation.
            noise = torch.randn(len(places) + 6, 2, generator=generator).t()[None]
            wander = math.sqrt(7) * functional.avg_pool1d(noise, 7, 1)[0].t()
            places = places + self.noise * extent * wander
        if self.lost and float(torch.rand((), generator=generator)) < self.lost:
            count = int(torch.randint(1, AT_ONCE + 1, (), generator=generator))
            start = int(torch.randint(max(1, len(places) - count), (), generator=generator))
            away = 0.5 * extent * torch.randn(2, generator=generator)
            places[start : start + count] = places.mean(0) + away
        return places


def is_path(example: ClipExample) -> bool:
    """Whether a clip's rows are paths, not pixels, maps or features."""
    rows = example.rows
    return rows.dtype == torch.float32 and rows.dim() == 2 and rows.shape[1] == COLUMNS


def _between(generator: torch.Generator) -> float:
    return float(2 * torch.rand((), generator=generator) - 1)
