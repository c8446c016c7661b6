"""The part of a video's frames that a model looks at: a fixed box, or one around the lips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption

# The rule that finds lips, in pixels of the video: lips and what surrounds them (width, height).
LIPS = (40, 14)
AROUND = (60, 36)
DARK = 90  # of 255 in red: hair, shadow, beard
LOOKED_AT = 16  # frames of a clip, evenly spaced


@dataclass(frozen=True)
class Crop:
    """A box of ``width`` by ``height`` pixels of the video, the same for all frames of a clip.

    ``centre``: its middle ``(x, y)``, or ``"lips"``, found for each clip by :func:`find_lips`. What
    lies outside the picture repeats its edge. ``enlarge``: how many times larger the picture is
    made, bilinearly.
    """

    width: int
    height: int
    centre: tuple[int, int] | Literal["lips"]
    enlarge: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.enlarge) < 1:
            raise InvalidOption(
                f"A crop of {self.width} by {self.height} pixels, {self.enlarge} times enlarged, "
                "has no pixel.",
                hint="Each of the three is at least 1.",
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what it gives."""
        return self.enlarge * self.height, self.enlarge * self.width

    def widened(self, margin: int) -> Crop:
        """With so many pixels of the video more on each side."""
        return replace(self, width=self.width + 2 * margin, height=self.height + 2 * margin)

    def __call__(self, frames: Tensor) -> Tensor:
        """``(T, 3, H, W)`` uint8 -> ``(T, 3, *size)`` uint8."""
        x, y = find_lips(frames) if self.centre == "lips" else self.centre
        columns = torch.arange(self.width) + x - self.width // 2
        rows = torch.arange(self.height) + y - self.height // 2
        cut = frames[..., rows.clamp(0, frames.shape[2] - 1), :]
        cut = cut[..., columns.clamp(0, frames.shape[3] - 1)]
        if self.enlarge == 1:
            return cut
        return functional.interpolate(cut, self.size, mode="bilinear", align_corners=False)


def grey(frames: Tensor) -> Tensor:
    """The brightness of ``(T, 3, H, W)`` uint8, ``(T, 1, H, W)``, weighted as ITU-R BT.601 does."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (frames * weights).sum(1, keepdim=True).round().to(torch.uint8)


def find_lips(frames: Tensor) -> tuple[int, int]:
    """The middle ``(x, y)`` of the lips in frames ``(T, 3, H, W)`` of one face, mouth 45 px wide.

    In the mean picture of the clip lips are the place of their size that is redder than what
    surrounds it by most: the mean of ``(R - G) / (R + G + B + 30)`` over :data:`LIPS` less that
    over :data:`AROUND`, with zero where it is dark. It knows nothing of faces: a red shirt that
    shows would be found instead. Raises :class:`InvalidOption` for frames smaller than that.
    """
    height, width = frames.shape[2:]
    if width < AROUND[0] or height < AROUND[1] or not len(frames):
        raise InvalidOption(
            f"Lips cannot be looked for in {len(frames)} frames of {width} x {height} pixels.",
            hint=f"At least one of {AROUND[0]} x {AROUND[1]}; or give the box's centre.",
        )
    chosen = torch.linspace(0, len(frames) - 1, min(LOOKED_AT, len(frames))).round().long()
    red, green, blue = frames[chosen].float().mean(0)
    redness = ((red - green) / (red + green + blue + 30)).masked_fill(red <= DARK, 0.0)[None]
    inner, outer = (functional.avg_pool2d(redness, (h, w), 1)[0] for w, h in (LIPS, AROUND))
    left, top = (AROUND[0] - LIPS[0]) // 2, (AROUND[1] - LIPS[1]) // 2
    inner = inner[top : top + outer.shape[0], left : left + outer.shape[1]]
    place = int((inner - outer).argmax())
    row, column = divmod(place, outer.shape[1])
    return column + AROUND[0] // 2, row + AROUND[1] // 2
