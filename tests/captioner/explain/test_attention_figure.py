from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from captioner.explain.attention import (
    DARKEST,
    GAP,
    LABEL_HEIGHT,
    PANEL_SIDE,
    attention_figure,
)

PHOTO = Image.fromarray(
    np.random.default_rng(0).integers(120, 256, (PANEL_SIDE // 2, PANEL_SIDE, 3), dtype=np.uint8)
)
HEIGHT = PANEL_SIDE // 2


def panel(figure: Image.Image, column: int, row: int = 0) -> np.ndarray:
    left = GAP + column * (PANEL_SIDE + GAP)
    top = GAP + LABEL_HEIGHT + row * (HEIGHT + LABEL_HEIGHT + GAP)
    box = (left, top, left + PANEL_SIDE, top + HEIGHT)
    return np.asarray(figure.crop(box)).astype(float)


def label(figure: Image.Image, column: int) -> np.ndarray:
    left = GAP + column * (PANEL_SIDE + GAP)
    return np.asarray(figure.crop((left, GAP, left + PANEL_SIDE, GAP + LABEL_HEIGHT)))


def on_one(position: int, positions: int = 49) -> np.ndarray:
    return np.eye(positions)[[position]]


def test_the_photo_comes_first_and_then_a_panel_for_each_word() -> None:
    figure = attention_figure(PHOTO, ["a", "cat"], np.full((2, 49), 1 / 49))
    assert figure.mode == "RGB"
    assert figure.size == (3 * (PANEL_SIDE + GAP) + GAP, HEIGHT + LABEL_HEIGHT + 2 * GAP)
    assert (panel(figure, 0) == np.asarray(PHOTO)).all()
    assert (label(figure, 0) == 255).all()
    assert (label(figure, 1) < 128).any()
    assert (label(figure, 2) < 128).sum() > (label(figure, 1) < 128).sum()


def test_attention_that_is_the_same_everywhere_leaves_the_photo_as_it_is() -> None:
    figure = attention_figure(PHOTO, ["a"], np.full((1, 49), 1 / 49))
    assert np.abs(panel(figure, 1) - np.asarray(PHOTO)).max() <= 1


@pytest.mark.parametrize("position", [0, 6, 24, 42, 48, 10])
def test_the_light_falls_where_the_weight_is_counted_row_by_row(position: int) -> None:
    figure = attention_figure(PHOTO, ["a"], on_one(position))
    light = (panel(figure, 1) / np.asarray(PHOTO)).mean(-1)
    row, column = divmod(position, 7)
    centre = int((row + 0.5) * HEIGHT / 7), int((column + 0.5) * PANEL_SIDE / 7)
    assert light[centre] > 0.9
    far = HEIGHT - 1 - centre[0] if row != 3 else 0, PANEL_SIDE - 1 - centre[1]
    if position != 24:
        assert light[far] == pytest.approx(DARKEST, abs=0.02)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert abs(y - centre[0]) <= HEIGHT / 14
    assert abs(x - centre[1]) <= PANEL_SIDE / 14


def test_the_light_is_smooth() -> None:
    plain = Image.new("RGB", (PANEL_SIDE, HEIGHT), "white")
    light = panel(attention_figure(plain, ["a"], on_one(24)), 1)[..., 0]
    # From dark to bright takes a cell of the grid at least: 17 and 34 pixels.
    assert np.abs(np.diff(light, axis=0)).max() < 255 * 2 / 17
    assert np.abs(np.diff(light, axis=1)).max() < 255 * 2 / 34


def test_only_the_proportions_of_a_word_s_weights_count() -> None:
    weights = np.random.default_rng(1).random((2, 196))
    figures = [attention_figure(PHOTO, ["a", "b"], weights * scale) for scale in (1, 1e-4)]
    assert (np.asarray(figures[0]) == np.asarray(figures[1])).all()


def test_long_captions_go_on_in_further_rows_with_few_places_left_empty() -> None:
    for count in range(1, 31):
        figure = attention_figure(PHOTO, ["word"] * count, np.ones((count, 4)))
        columns = (figure.width - GAP) // (PANEL_SIDE + GAP)
        rows = (figure.height - GAP) // (HEIGHT + LABEL_HEIGHT + GAP)
        assert 0 <= columns * rows - (count + 1) <= 3
        assert columns <= 6
    assert (panel(figure, 0, row=1) == panel(figure, 1)).all()


def test_a_long_word_stays_above_its_own_panel() -> None:
    figure = attention_figure(PHOTO, ["a", "w" * 60, "b"], np.ones((3, 1)))
    gap_left = GAP + 2 * (PANEL_SIDE + GAP) - GAP
    gap = np.asarray(figure.crop((gap_left, 0, gap_left + GAP, GAP + LABEL_HEIGHT)))
    assert (gap == 255).all()
    assert (label(figure, 2) < 200).any()


def test_no_words_leave_the_photo_alone_and_signs_are_no_formulas() -> None:
    assert attention_figure(PHOTO, [], np.empty((0, 49))).width == PANEL_SIDE + 2 * GAP
    attention_figure(PHOTO, [r"$\frac$", "5$", "a_b^c"], np.ones((3, 49)))


@pytest.mark.parametrize("size", [(8, 8), (4000, 20), (20, 4000), (224, 224)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_of_any_size_are_drawn_as_large(size: tuple[int, int], mode: str) -> None:
    figure = attention_figure(Image.new(mode, size), ["a"], np.ones((1, 49)))
    assert max(figure.width, figure.height) >= PANEL_SIDE


def test_a_word_without_any_weight_is_dark() -> None:
    figure = attention_figure(PHOTO, ["a"], np.zeros((1, 49)))
    assert np.abs(panel(figure, 1) - np.asarray(PHOTO) * DARKEST).max() <= 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 49)), "1 words"),
        (np.ones(49), "1 words"),
        (np.ones((1, 48)), "48 positions"),
        (np.ones((1, 0)), "0 positions"),
        (np.full((1, 49), np.nan), "finite"),
        (np.full((1, 49), -1.0), "not negative"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention_figure(PHOTO, ["a"], weights)


def test_many_threads_draw_what_one_draws() -> None:
    weights = np.random.default_rng(2).random((4, 49))
    words = ["a", "small", "brown", "dog"]
    alone = np.asarray(attention_figure(PHOTO, words, weights))
    with ThreadPoolExecutor(4) as pool:
        figures = list(pool.map(lambda _: attention_figure(PHOTO, words, weights), range(12)))
    assert all((np.asarray(figure) == alone).all() for figure in figures)


def test_drawing_does_not_touch_pyplot() -> None:
    code = "import sys, captioner.explain.attention; print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
