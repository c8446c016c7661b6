"""From a decoded frame to an upright RGB picture with square pixels, of the size that is needed.

Everything is done in one place because the order matters: scaling comes first, while the frame is
still in the two colour planes of half the size that cameras store (scaling RGB takes three times
as long), then the conversion to RGB, and turning comes last, on the fewest pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
from av.sidedata.sidedata import SideData
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from captioner.vision.image import to_rgb

Turn = Image.Transpose | None

# A display matrix turns (x, y) into (a x + c y, b x + d y). By the signs of (a, b, c, d):
_TURNS: dict[tuple[int, int, int, int], Turn] = {
    (1, 0, 0, 1): None,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,  # clockwise by 90 degrees
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
_SWAPS_SIDES = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)

# By how many quarters counter-clockwise
_QUARTERS = (None, *(Image.Transpose[f"ROTATE_{degrees}"] for degrees in (90, 180, 270)))

# Shapes of pixels beyond these are damage, or were never looked at by anybody.
_PIXEL_SHAPES = (Fraction(1, 4), Fraction(4))

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_LINES = 720


class FramePictures:
    """Makes pictures of the frames of one video.

    ``pixel_shape``: width of a stored pixel by its height. ``turn``: what makes a stored frame
    upright. ``target_size``: the smaller side of the pictures, in pixels; they are never enlarged.
    None keeps every pixel.
    """

    def __init__(
        self, *, pixel_shape: Fraction | None, turn: Turn, target_size: int | None
    ) -> None:
        low, high = _PIXEL_SHAPES
        self._pixel_shape = pixel_shape if pixel_shape and low <= pixel_shape <= high else 1
        self._turn = turn
        self._target_size = target_size
        # Each keeps its tables for one pair of sizes and formats.
        self._scale, self._convert = VideoReformatter(), VideoReformatter()

    def full_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the upright picture for a frame stored at this size."""
        width = max(1, round(width * self._pixel_shape))
        return (height, width) if self._turn in _SWAPS_SIDES else (width, height)

    def picture(self, frame: av.VideoFrame) -> Image.Image:
        """The upright RGB picture of ``frame``; transparency is laid on white, as in photos.

        Raises what FFmpeg raises for a pixel format that it cannot convert.
        """
        width, height = max(1, round(frame.width * self._pixel_shape)), frame.height
        if self._target_size and min(width, height) > self._target_size:
            scale = Fraction(self._target_size, min(width, height))
            width, height = round(width * scale), round(height * scale)
        colorspace = None
        if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_LINES:
            colorspace = Colorspace.ITU709  # what players take for HD; FFmpeg takes BT.601
        if (width, height) != (frame.width, frame.height) and frame.format.name.startswith("yuv"):
            frame = self._scale.reformat(frame, width=width, height=height, threads=1)
        transparent = any(component.is_alpha for component in frame.format.components)
        frame = self._convert.reformat(
            frame,
            width=width,
            height=height,
            format="rgba" if transparent else "rgb24",
            src_colorspace=colorspace,
            threads=1,
        )
        mode, plane = "RGBA" if transparent else "RGB", frame.planes[0]
        image = Image.frombytes(
            mode, (width, height), memoryview(plane), "raw", mode, plane.line_size, 1
        )
        image = to_rgb(image)
        return image if self._turn is None else image.transpose(self._turn)


def turn_of(frame: av.VideoFrame) -> Turn:
    """What makes ``frame`` upright, by its display matrix: to the nearest quarter turn."""
    try:
        matrix = cast("Mapping[str, SideData]", frame.side_data)["DISPLAYMATRIX"]
    except KeyError:
        return None
    except ValueError:  # the frame also carries something that this PyAV has no name for
        return _QUARTERS[round(frame.rotation / 90) % 4]
    a, b, _, c, d = struct.unpack_from("<5i", bytes(matrix))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    return _TURNS.get((_sign(a), _sign(b), _sign(c), _sign(d)))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
