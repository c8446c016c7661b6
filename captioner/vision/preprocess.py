"""From a picture to the encoder's tensor: the one place where it is done.

The same object serves training, validation and the service, and travels inside a bundle, so
that the three can never disagree about a photo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captioner.errors import BundleError

FITS = ("squeeze", "crop")
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
    scale of 0 to 1 (ImageNet's by default).

    Raises ValueError when the values do not go together.
    """

    size: int = 224
    fit: str = "squeeze"
    resize: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}; it can be {' or '.join(map(repr, FITS))}")
        for name in ("size", "resize"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to 4096")
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
        return 2 * (self.size if self.fit == "squeeze" else self.resize)

    def pixels(self, image: Image.Image) -> Tensor:
        """The square as uint8 (3, size, size), from an RGB picture of any size."""
        if image.mode != "RGB":
            raise ValueError(f"the picture is in mode {image.mode}, not RGB")
        square = image.resize(
            (self.size, self.size),
            Image.Resampling.BILINEAR,
            box=self._box(*image.size),
            reducing_gap=REDUCING_GAP,
        )
        # The tensor has to own its memory, which numpy's view of a picture does not.
        return torch.from_numpy(np.asarray(square).transpose(2, 0, 1).copy())

    def _box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of the picture that becomes the square, in its own pixels."""
        if self.fit == "squeeze":
            return 0, 0, width, height
        # Scaling only the middle gives the same pixels as scaling everything and cropping then.
        side = min(width, height) * self.size / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float32 (batch, 3, size, size) for the encoder, from uint8 of the same shape."""
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[1] != 3:
            raise ValueError(
                f"pixels are {pixels.dtype} {tuple(pixels.shape)}, not uint8 (batch, 3, size, size)"
            )
        scale = torch.tensor(self.std, device=pixels.device).mul_(255).reciprocal_()
        shift = torch.tensor(self.mean, device=pixels.device).div_(
            torch.tensor(self.std, device=pixels.device)
        )
        return pixels.float().mul_(scale.view(3, 1, 1)).sub_(shift.view(3, 1, 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a bundle's JSON."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

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
