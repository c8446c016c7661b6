"""From a picture to the encoder's tensor: the one place where it is done.

The same object serves training, validation and the service, and travels inside a bundle, so
that the three can never disagree about a photo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captioner.errors import BundleError

FITS = ("squeeze", "crop")
LARGEST = 4096  # pixels of a side
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A box average down to three times the wanted side comes first: on a 12-megapixel picture 2.5 times
# as fast as one antialiased step, and the same within one grey level (0.15 in the mean).
REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the pixels that an encoder sees.

    ``size``: side of the square given to the encoder, in pixels. ``fit``: ``"squeeze"`` scales
    the whole picture to the square and gives up its proportions; ``"crop"`` scales the shorter
    side to ``resize`` and takes the square in the middle. ``mean`` and ``std``: per channel, on a
    scale of 0 to 1 (ImageNet's by default); a grey picture has the first of each.

    For frames of videos, all of them of one shape, there are three more. ``height``: with it the
    pixels are ``size`` wide and ``height`` high. ``box``: the part of the picture that is looked
    at, (left, top, right, bottom) as shares of its width and height. ``grey``: one channel.

    Raises ValueError when the values do not go together.
    """

    size: int = 224
    fit: str = "squeeze"
    resize: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    height: int | None = None
    box: tuple[float, float, float, float] | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}; it can be {' or '.join(map(repr, FITS))}")
        for name in ("size", "resize", *(["height"] if self.height is not None else [])):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise ValueError(
                    f"{name} is {value!r}; it must be a whole number from 1 to {LARGEST}"
                )
        if self.fit == "crop" and (self.height is not None or self.box is not None):
            raise ValueError("fit 'crop' takes a square in the middle: without height or box")
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.fit == "crop" and self.resize < self.size:
            raise ValueError(f"resize is {self.resize}, smaller than the crop of {self.size}")
        for name in ("mean", "std"):
            try:
                red, green, blue = getattr(self, name)
                object.__setattr__(self, name, (float(red), float(green), float(blue)))
            except (TypeError, ValueError):
                value = getattr(self, name)
                raise ValueError(f"{name} is {value!r}; it must be three numbers") from None
        if min(self.std) <= 0 or not all(np.isfinite([*self.mean, *self.std])):
            raise ValueError(f"mean {self.mean} and std {self.std} must be finite, std above 0")

    def target_size(self) -> int:
        """The smaller side, in pixels, that decoding has to keep (``decode_image``).

        Twice what is needed: scaling while decoding averages over boxes, and the antialiased step
        that follows hides that only if it has something left to do.
        """
        if self.fit == "crop":
            return 2 * self.resize
        sides = [self.size, self.size if self.height is None else self.height]
        if self.box is not None:
            left, top, right, bottom = self.box
            sides = [math.ceil(sides[0] / (right - left)), math.ceil(sides[1] / (bottom - top))]
        return min(2 * max(sides), LARGEST)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.grey else 3

    def pixels(self, image: Image.Image) -> Tensor:
        """The square as uint8 (channels, size, size), from an RGB picture of any size.

        With ``height`` (channels, height, size).
        """
        if image.mode != "RGB":
            raise ValueError(f"the picture is in mode {image.mode}, not RGB")
        square = image.resize(
            (self.size, self.size if self.height is None else self.height),
            Image.Resampling.BILINEAR,
            box=self._box(*image.size),
            reducing_gap=REDUCING_GAP,
        )
        if self.grey:
            return torch.from_numpy(np.array(square.convert("L"))).unsqueeze(0)
        # The tensor has to own its memory, which numpy's view of a picture does not.
        return torch.from_numpy(np.asarray(square).transpose(2, 0, 1).copy())

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """What is looked at of a picture: left, top, right and bottom, as shares of its sides."""
        left, top, right, bottom = self._box(width, height)
        return left / width, top / height, right / width, bottom / height

    def _box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of the picture that becomes the square, in its own pixels."""
        if self.box is not None:
            left, top, right, bottom = self.box
            return left * width, top * height, right * width, bottom * height
        if self.fit == "squeeze":
            return 0, 0, width, height
        # Scaling only the middle gives the same pixels as scaling everything and cropping then.
        side = min(width, height) * self.size / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float32 (batch, channels, size, size) for the encoder, from uint8 of the same shape."""
        channels = self.channels
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[1] != channels:
            raise ValueError(
                f"pixels are {pixels.dtype} {tuple(pixels.shape)}, not uint8 "
                f"(batch, {channels}, size, size)"
            )
        std = torch.tensor(self.std[:channels], device=pixels.device)
        scale = std.mul(255).reciprocal_()
        shift = torch.tensor(self.mean[:channels], device=pixels.device).div_(std)
        return pixels.float().mul_(scale.view(-1, 1, 1)).sub_(shift.view(-1, 1, 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a bundle's JSON; what only frames of videos have, where it is set."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        unset = [name for name in ("height", "box", "grey") if not values[name]]
        return {key: value for key, value in values.items() if key not in unset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The object that ``to_dict`` described. A BundleError names what does not fit."""
        if not isinstance(values, Mapping):
            raise BundleError(f"the preprocessing is {values!r}, not a table of values.")
        known = {field.name for field in fields(cls)}
        unknown = sorted(str(key) for key in set(values) - known)
        if unknown:
            raise BundleError(
                f"unknown preprocessing key: {', '.join(unknown)}.",
                hint=f"Known are {', '.join(sorted(known))}.",
            )
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise BundleError(f"the preprocessing cannot be used: {error}.") from error


def _checked_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError):
        raise ValueError(f"box is {box!r}; it must be four numbers") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"box is {box!r}; it must be left, top, right and bottom as shares from 0 to 1"
        )
    return left, top, right, bottom
