"""Where the model looked when it wrote each word, drawn over the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

PANEL_SIDE = 240  # longer side of a panel in pixels
GAP = 14  # between panels, and around all of them
LABEL_HEIGHT = 30  # above each panel, for its word
LABEL_SIZE = 13.0  # in points; long words are set smaller
COLUMNS = (6, 5, 4)  # whichever leaves the fewest places empty
DPI = 100
DARKEST = 0.15  # what is left of the photo's brightness where no attention fell


def attention_figure(image: Image.Image, words: Sequence[str], weights: ArrayLike) -> Image.Image:
    """The photo, and after it one panel a word: bright where the model looked.

    ``image``: what the encoder saw, at any size; the grid of positions spreads over all of it.
    ``weights``: (len(words), positions), not negative; positions is a square number (49 is a grid
    of 7 x 7, row by row). Each panel is as bright as the photo at its word's own maximum, so that
    attention which is the same everywhere leaves the photo as it is.

    Raises ValueError when the weights do not fit the words or form no grid.
    """
    grids = _grids(np.asarray(weights, dtype=np.float64), len(words))
    shrink = PANEL_SIDE / max(image.size)
    size = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
    photo = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    panels = [("", np.asarray(photo))]
    panels += [(word, _lit(photo, grid)) for word, grid in zip(words, grids, strict=True)]
    return _draw(panels, photo.width, photo.height)


def _grids(weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    if count == 0:
        return np.empty((0, 1, 1))
    if weights.ndim != 2 or len(weights) != count:
        raise ValueError(f"weights are {weights.shape}, not ({count} words, positions)")
    side = math.isqrt(weights.shape[1])
    if side == 0 or side * side != weights.shape[1]:
        raise ValueError(f"{weights.shape[1]} positions form no square grid")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")
    return weights.reshape(count, side, side)


def _lit(photo: Image.Image, grid: NDArray[np.float64]) -> NDArray[np.uint8]:
    share = grid / grid.max() if grid.max() > 0 else grid
    smooth = Image.fromarray(share.astype(np.float32)).resize(photo.size, Image.Resampling.BICUBIC)
    # Cubic interpolation swings a little beyond what it interpolates.
    light = DARKEST + (1 - DARKEST) * np.asarray(smooth).clip(0, 1)
    return (np.asarray(photo) * light[..., None]).round().astype(np.uint8)


def _draw(panels: Sequence[tuple[str, NDArray[np.uint8]]], width: int, height: int) -> Image.Image:
    columns = min(len(panels), COLUMNS[0])
    if len(panels) > columns:
        columns = min(COLUMNS, key=lambda number: -len(panels) % number)
    rows = math.ceil(len(panels) / columns)
    total_width = columns * (width + GAP) + GAP
    total_height = rows * (height + LABEL_HEIGHT + GAP) + GAP
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for place, (word, pixels) in enumerate(panels):
        row, column = divmod(place, columns)
        left = GAP + column * (width + GAP)
        top = GAP + row * (height + LABEL_HEIGHT + GAP)
        bottom = total_height - top - LABEL_HEIGHT - height
        figure.figimage(pixels, xo=left, yo=bottom, origin="upper")
        label = figure.text(
            (left + width / 2) / total_width,
            (bottom + height + LABEL_HEIGHT * 0.38) / total_height,
            word,
            ha="center",
            va="baseline",
            fontsize=LABEL_SIZE,
            color="#222222",
            parse_math=False,
        )
        label_width = label.get_window_extent(canvas.get_renderer()).width
        if label_width > width:
            label.set_fontsize(LABEL_SIZE * width / label_width)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
