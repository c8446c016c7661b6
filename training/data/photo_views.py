"""Views of a photo as a camera would see them that zooms in on a part of it and pans from there.

What a sequence is made of where there are photos and no videos: the views of one photo are the
frames of one shot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, overload

import torch
from torch import Tensor

from training.data.disturbances import disturbances, disturbed
from training.data.pictures import Pictures


class Box(NamedTuple):
    """A part of a photo, its edges as shares of width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def share(self) -> float:
        """The share of the photo's area that is seen."""
        return (self.right - self.left) * (self.bottom - self.top)


WHOLE = Box(0.0, 0.0, 1.0, 1.0)
SIDES = 0.6, 0.9  # of the part that the camera zooms in on, as a share of the photo's


def camera_path(photo: int, views: int, *, seed: int = 0) -> list[Box]:
    """The boxes of one photo's views: the whole, half of them zooming in, the rest panning.

    The part that is zoomed in on and where the pan goes are drawn by photo and seed.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + photo)
    side, *corners = torch.rand(5, generator=generator).tolist()
    side = SIDES[0] + side * (SIDES[1] - SIDES[0])
    first, last = (_square(side, *corners[place : place + 2]) for place in (0, 2))
    zoom = views // 2
    found = [_between(WHOLE, first, step / max(1, zoom)) for step in range(zoom + 1)]
    pan = views - len(found)
    return (found + [_between(first, last, step / pan) for step in range(1, pan + 1)])[:views]


class PhotoViews(Sequence[Tensor]):
    """``views[photo * count + view]``: uint8 pixels ``(3, size, size)``, as an encoder's input.

    With ``disturbed`` as a hand-held camera would have recorded them. ``fingerprint`` identifies
    the photos, the paths and what disturbs them, see ``training.features``.
    """

    def __init__(
        self, pictures: Pictures, count: int, *, seed: int = 0, disturbed: bool = False
    ) -> None:
        self.pictures, self.count, self.seed, self.disturbed = pictures, count, seed, disturbed

    def __len__(self) -> int:
        return len(self.pictures) * self.count

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """The pixels of one view, or of several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        photo, view = divmod(index, self.count)
        box = camera_path(photo, self.count, seed=self.seed)[view]
        preprocessing = replace(self.pictures.preprocessing, box=None if box == WHOLE else box)
        pixels = preprocessing.pixels(self.pictures.image(photo))
        if not self.disturbed:
            return pixels
        return disturbed(pixels, disturbances(photo, self.count, seed=self.seed)[view])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    @property
    def fingerprint(self) -> str:
        """A hash of the pictures and of every box."""
        digest = hashlib.sha256(self.pictures.fingerprint.encode())
        for photo in range(len(self.pictures)):
            digest.update(repr(camera_path(photo, self.count, seed=self.seed)).encode())
            if self.disturbed:
                digest.update(repr(disturbances(photo, self.count, seed=self.seed)).encode())
        return digest.hexdigest()


def _square(side: float, across: float, down: float) -> Box:
    left, top = across * (1 - side), down * (1 - side)
    return Box(left, top, left + side, top + side)


def _between(one: Box, other: Box, share: float) -> Box:
    return Box(*((1 - share) * a + share * b for a, b in zip(one, other, strict=True)))
