"""A few lines of text in the colours of some units, as a picture for print."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from captioner.errors import InvalidOption
from captioner.explain.units.recording import Recording

COLUMNS = 100  # characters in a line; a longer one is broken
TEXT, MARGIN, GAP = 15, 16, 14  # in pixels
RED, BLUE, PAPER, INK, PALE = (
    (220, 50, 40),
    (40, 100, 220),
    (255, 255, 255),
    (25, 25, 25),
    (120,) * 3,
)
_TAB = 8


def unit_strips(
    text: str, recording: Recording, units: Sequence[tuple[str, str]], *, most: int = 1000
) -> Image.Image:
    """The text once for each unit: red where it is +1, blue where it is -1.

    ``units``: names, each with what to write above its strip. At most ``most`` characters.
    Raises :class:`InvalidOption` without a unit, or for one that is not there.
    """
    if not units:
        raise InvalidOption("No unit to draw.", hint="Name one, such as c1.0.")
    columns = [recording.column(name) for name, _ in units]
    text = text[: min(most, len(recording))]
    values = recording.shown(columns)
    cells = _places(text)
    lines = 1 + max((row for row, _, _ in cells), default=0)
    font = _font(TEXT)
    wide, high = _size(font)
    width = 2 * MARGIN + wide * (1 + max((column for _, column, _ in cells), default=0))
    width = max(width, *(2 * MARGIN + wide * (len(t) + len(n) + 2) for n, t in units))
    block = high * (lines + 1) + GAP
    picture = Image.new("RGB", (width, 2 * MARGIN - GAP + block * len(units)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, (name, title) in enumerate(units):
        top = MARGIN + number * block
        draw.text((MARGIN, top), f"{name}  {title}", PALE, font)
        for place, (row, column, shown) in enumerate(cells):
            left, upper = MARGIN + column * wide, top + (row + 1) * high
            colour = _colour(float(values[place, number]))
            draw.rectangle((left, upper, left + wide - 1, upper + high - 1), fill=colour)
            if shown.strip():
                draw.text((left, upper), shown, PALE if shown == "⏎" else INK, font)
    return picture


def _places(text: str) -> list[tuple[int, int, str]]:
    """Row, column and what is drawn, for each character; a tab takes the place it has."""
    found, row, column = [], 0, 0
    for character in text:
        found.append((row, column, "⏎" if character == "\n" else character))
        column += _TAB - column % _TAB if character == "\t" else 1
        if character == "\n" or column >= COLUMNS:
            row, column = row + 1, 0
    return found


def _colour(value: float) -> tuple[int, int, int]:
    end: NDArray[np.float64] = np.array(RED if value > 0 else BLUE, dtype=np.float64)
    mixed = np.array(PAPER) + (end - PAPER) * abs(value) * 0.85  # the ink stays readable
    red, green, blue = (int(part) for part in mixed)
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans Mono, which comes with matplotlib."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return ImageFont.truetype(path, size)


def _size(font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    ascent, descent = font.getmetrics()
    return round(font.getlength("M")), ascent + descent
