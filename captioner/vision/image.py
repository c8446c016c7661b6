"""From the bytes of a file to an upright RGB picture, whatever the bytes are.

    sniff     first bytes -> format, or UnsupportedImage with the name of what it looks like
    header    size, orientation, frames; too large or too small ends here, before any decoding
    decode    Pillow's reader for this one format; large JPEGs are scaled down while decoding
    convert   every mode to RGB: transparency on white, 16 bits by 1/257
    turn      by the EXIF orientation

Nothing here needs or changes global state (of Pillow, of ``warnings``), so that any number of
threads may decode at once.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from captioner.errors import ImageError, ImageTooLarge, ImageTooSmall
from captioner.vision.header import Header, damaged, exif_orientation, read_header, truncated
from captioner.vision.sniff import FORMATS, sniff_format

__all__ = ["FORMATS", "ImageLimits", "Picture", "as_picture", "decode_image", "read_image"]

# The readers themselves, not Image.open: it turns every reason into "cannot identify", and warns
# above a number of pixels of its own.
_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Conversion goes strip by strip, so that a large picture stands in memory twice and not four times.
_STRIP_PIXELS = 1_000_000

_8_OF_16_BITS = (np.arange(2**16) / 257).round().astype(np.uint8)


@dataclass(frozen=True)
class ImageLimits:
    """What is decoded at all: at most so many bytes and pixels, no side below ``min_side``."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 8


@dataclass
class Picture:
    """An upright RGB picture.

    ``width`` and ``height`` are those of the file after its orientation was applied; ``image`` is
    smaller where a JPEG was scaled while decoding. ``warnings``: sentences for the user.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    warnings: list[str] = field(default_factory=list)


def decode_image(
    data: bytes, *, target_size: int | None = None, limits: ImageLimits | None = None
) -> Picture:
    """The picture in ``data``, the bytes of a JPEG, PNG, WEBP, GIF or BMP file.

    ``target_size``: the smaller side, in pixels, that is still needed; a JPEG at least twice as
    large is scaled by 1/2, 1/4 or 1/8 while it is decoded. None decodes in full.

    Raises EmptyFile, UnsupportedImage, ImageTooLarge, ImageTooSmall, and ImageError for a file
    that is truncated or damaged. No other exception leaves this function.
    """
    limits = limits or ImageLimits()
    format = sniff_format(data)
    _check_bytes(len(data), limits)
    header = read_header(data, format)
    _check_pixels(header.width, header.height, limits)
    try:
        image = _upright(to_rgb(_decode(header, target_size)), header.orientation)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(
            f"not enough memory for a picture of {header.width} x {header.height} pixels.",
            hint="Send a smaller one.",
        ) from error
    except Exception as error:  # Pillow's readers raise whatever their parsing runs into
        reason = str(error).lower()
        if isinstance(error, EOFError) or "truncated" in reason or "incomplete" in reason:
            raise truncated(format) from error
        raise damaged(format) from error
    width, height = _upright_size(header.width, header.height, header.orientation)
    image.info.clear()  # a WEBP's keeps its orientation, and nobody is to apply it twice
    warnings = [f"animated {format}: only its first frame is used."] if header.animated else []
    return Picture(image, width, height, format, warnings)


def read_image(
    path: str | Path, *, target_size: int | None = None, limits: ImageLimits | None = None
) -> Picture:
    """The picture in the file at ``path``; see ``decode_image``.

    Raises ImageError as well when there is no file there, or it may not be read.
    """
    limits = limits or ImageLimits()
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ImageError(f"{path.name} is not a file.")
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
            size = max(len(data), path.stat().st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot read {path.name}: {reason}.") from error
    if size > limits.max_bytes:
        sniff_format(data)
        _check_bytes(size, limits)
    return decode_image(data, target_size=target_size, limits=limits)


def as_picture(image: Image.Image, *, limits: ImageLimits | None = None) -> Picture:
    """The same for a picture that somebody already opened with Pillow, which is not changed.

    Raises ImageTooLarge, ImageTooSmall, and ImageError when its pixels cannot be loaded.
    """
    limits = limits or ImageLimits()
    format = image.format or "PIL"
    _check_pixels(*image.size, limits)
    exif = image.info.get("exif")
    orientation = 1
    if isinstance(exif, bytes):
        orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))
    width, height = _upright_size(*image.size, orientation)
    try:
        image.load()
        upright = _upright(to_rgb(image), orientation)
    except Exception as error:
        raise damaged(format) from error
    if upright is image:
        upright = image.copy()
    upright.info.clear()
    return Picture(upright, width, height, format)


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in mode RGB, from any mode (the same object when it is plain RGB already).

    Transparency is laid on white. 16-bit grey is scaled by 1/257 (Pillow's own conversion clips
    nearly all of it to white). Of 32-bit modes, which no file format here has: whole numbers up
    to 255 are taken as they are, larger ones as 16 bits; floats up to 1 are scaled by 255.
    """
    if image.mode.startswith("I;16"):
        return _in_strips(image, _from_16_bits)
    if image.mode in ("I", "F"):
        scale = _scale_to_8_bits(image)
        return _in_strips(image, lambda strip: _from_32_bits(strip, scale))
    if image.has_transparency_data:
        return _in_strips(image, _on_white)
    if image.mode == "RGB":
        return image
    return _in_strips(image, lambda strip: strip.convert("RGB"))


def _decode(header: Header, target_size: int | None) -> Image.Image:
    image = _DECODERS[header.format](io.BytesIO(header.data))
    if image.size != (header.width, header.height):
        raise damaged(header.format, "its size is given twice, and differently")
    if target_size:
        image.draft(None, (target_size, target_size))
    image.load()
    return image


def _check_bytes(count: int, limits: ImageLimits) -> None:
    if count > limits.max_bytes:
        raise ImageTooLarge(
            f"the file has {count / 2**20:.1f} MiB; "
            f"at most {limits.max_bytes / 2**20:g} MiB are read.",
            hint="Send a smaller picture.",
        )


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture has {width} x {height} pixels ({width * height / 1e6:.1f} million); "
            f"at most {limits.max_pixels / 1e6:g} million are read.",
            hint="Send a smaller picture.",
        )
    if min(width, height) < limits.min_side:
        raise ImageTooSmall(
            f"the picture has {width} x {height} pixels; "
            f"each side needs at least {limits.min_side}.",
            hint="Send a larger picture.",
        )


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    whole = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        whole.paste(convert(image.crop((0, top, width, min(top + rows, height)))), (0, top))
    return whole


def _on_white(strip: Image.Image) -> Image.Image:
    # The premultiplied modes convert to nothing but their plain forms.
    plain = {"La": "LA", "RGBa": "RGBA"}.get(strip.mode)
    layer = (strip.convert(plain) if plain else strip).convert("RGBA")
    white = Image.new("RGB", strip.size, (255, 255, 255))
    white.paste(layer, mask=layer)
    return white


def _from_16_bits(strip: Image.Image) -> Image.Image:
    values = np.asarray(strip)
    grey = _8_OF_16_BITS[values]
    transparent = strip.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _scale_to_8_bits(image: Image.Image) -> float:
    _, highest = cast("tuple[float, float]", image.getextrema())
    if image.mode == "F" and highest <= 1:
        return 255.0
    return 1.0 if highest <= 255 else 1 / 257


def _from_32_bits(strip: Image.Image, scale: float) -> Image.Image:
    scaled = np.nan_to_num(np.asarray(strip).astype(np.float32) * scale)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert("RGB")
