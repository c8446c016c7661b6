"""When each label of a video is on, as strips of colour over time.

What is drawn comes as the plain form of a result (``FramesResult.to_dict``): ``segments``, and of
``video`` the ``start_s`` and ``end_s``.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Body = Mapping[str, Any]
Colour = tuple[int, int, int]

MOST_LABELS = 12
PAPER, INK, PALE = (255, 255, 255), (34, 34, 34), (238, 238, 238)
MARGIN, ROW, GAP, TEXT = 16, 26, 6, 14  # in pixels
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def strip_picture(body: Body, *, width: int = 1200, most: int = MOST_LABELS) -> Image.Image:
    """A strip for each label under the strip of all, with names and a scale of seconds.

    In the strip of all, each moment has the colour of its likeliest label. A label's own strip is
    the paler, the less sure. Of more than ``most`` labels, those that are on longest are drawn.
    """
    labels = longest_labels(body, most)
    colours = label_colours(labels)
    font = font_of(TEXT)
    names = [_shortened(name, font, width // 3) for name in labels]
    left = MARGIN + ROW + 2 * GAP + max(round(font.getlength(n)) for n in [*names, "likeliest"])
    right = width - MARGIN - TEXT
    rows = 1 + len(labels)
    picture = Image.new("RGB", (width, MARGIN + rows * (ROW + GAP) + 2 * TEXT), PAPER)
    draw = ImageDraw.Draw(picture)
    top = MARGIN
    picture.paste(best_strip(body, colours, right - left, ROW), (left, top))
    for label, name in zip(labels, names, strict=True):
        top += ROW + GAP
        draw.rectangle((MARGIN, top, MARGIN + ROW - 1, top + ROW - 1), fill=colours[label])
        draw.text((MARGIN + ROW + GAP, top + ROW / 2), name, INK, font, anchor="lm")
        picture.paste(label_row(body, label, colours[label], right - left, ROW), (left, top))
    _draw_scale(draw, *span(body), left, right, top + ROW)
    title = "likeliest" if labels else "no label"
    draw.text((MARGIN, MARGIN + ROW / 2), title, INK, font, anchor="lm")
    return picture


def span(body: Body) -> tuple[float, float]:
    """The seconds from which to which a strip goes; never empty."""
    start = float(body["video"].get("start_s") or 0.0)
    ends = [float(body["video"].get("end_s") or start), start + 1e-3]
    return start, max(ends + [float(found["end_s"]) for found in body["segments"]])


def longest_labels(body: Body, most: int) -> list[str]:
    """The ``most`` labels that are on longest, by when they first come."""
    seconds: dict[str, float] = {}
    for found in body["segments"]:
        length = found["end_s"] - found["start_s"]
        seconds[found["label"]] = seconds.get(found["label"], 0.0) + length
    chosen = sorted(seconds, key=lambda label: -seconds[label])[:most]
    return [label for label in seconds if label in chosen]


def label_colours(labels: Sequence[str]) -> dict[str, Colour]:
    """A colour for each, neighbours far apart on the colour circle."""
    found: dict[str, Colour] = {}
    for number, label in enumerate(labels):
        hue = (0.58 + number * 0.618034) % 1.0  # the golden ratio: no hue comes twice
        light, strength = (0.46, 0.62) if number % 2 == 0 else (0.60, 0.55)
        red, green, blue = colorsys.hls_to_rgb(hue, light, strength)
        found[label] = round(red * 255), round(green * 255), round(blue * 255)
    return found


def label_row(
    body: Body, label: str, colour: Colour, width: int, height: int, paper: Colour = PALE
) -> Image.Image:
    """The strip of one label: its colour where it is on, mixed with the paper's by its score."""
    row = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(row)
    for found in body["segments"]:
        if found["label"] == label:
            share = 0.25 + 0.75 * min(1.0, max(0.0, found["score"]))
            draw.rectangle(_box(body, found, width, height), fill=_mixed(paper, colour, share))
    return row


def best_strip(
    body: Body, colours: Mapping[str, Colour], width: int, height: int, paper: Colour = PALE
) -> Image.Image:
    """The strip of all: at each moment the colour of the likeliest of the labels in ``colours``."""
    strip = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(strip)
    for found in sorted(body["segments"], key=lambda segment: float(segment["score"])):
        if found["label"] in colours:
            draw.rectangle(_box(body, found, width, height), fill=colours[found["label"]])
    return strip


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which comes with matplotlib, of this height in pixels."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)


def _box(
    body: Body, found: Mapping[str, Any], width: int, height: int
) -> tuple[int, int, int, int]:
    start, end = span(body)
    first, last = ((found[key] - start) / (end - start) * width for key in ("start_s", "end_s"))
    left = min(max(0, round(first)), width - 1)
    return left, 0, max(left, min(width, round(last)) - 1), height - 1


def _draw_scale(
    draw: ImageDraw.ImageDraw, start: float, end: float, left: int, right: int, top: int
) -> None:
    step = next((s for s in _STEPS if (end - start) / s * 70 <= right - left), 7200)
    moment = -(-start // step) * step
    while moment <= end:
        place = left + (moment - start) / (end - start) * (right - left)
        draw.line((place, top + 2, place, top + 6), fill=INK)
        draw.text((place, top + 8), _seconds(moment, step), INK, font_of(TEXT - 2), anchor="ma")
        moment += step


def _seconds(moment: float, step: float) -> str:
    if step < 1:
        return f"{moment:.1f} s"
    minutes, seconds = divmod(round(moment), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"


def _mixed(paper: Colour, colour: Colour, share: float) -> Colour:
    red, green, blue = (
        round(below + (above - below) * share) for below, above in zip(paper, colour, strict=True)
    )
    return red, green, blue


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = " ".join(text.split()) or "-"
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
