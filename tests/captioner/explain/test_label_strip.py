from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captioner.explain.label_strip import (
    PALE,
    best_strip,
    label_colours,
    label_row,
    longest_labels,
    strip_picture,
)


def body(*segments: tuple[str, float, float, float], end_s: float = 10.0) -> dict[str, Any]:
    """Segments of a label, from, to, and how likely."""
    return {
        "frames": [],
        "segments": [
            {"label": label, "start_s": start, "end_s": end, "score": score}
            for label, start, end, score in segments
        ],
        "video": {"start_s": 0.0, "end_s": end_s},
    }


def test_a_row_has_its_colour_where_the_label_is_on() -> None:
    found = body(("dog", 2.0, 5.0, 1.0), ("cat", 0.0, 10.0, 1.0))
    row = np.asarray(label_row(found, "dog", (200, 0, 0), 100, 4))
    assert (row[:, 20:50] == (200, 0, 0)).all()
    assert (row[:, :20] == PALE).all()
    assert (row[:, 50:] == PALE).all()


def test_the_less_sure_the_paler() -> None:
    found = body(("dog", 0.0, 5.0, 0.9), ("dog", 5.0, 10.0, 0.2))
    row = np.asarray(label_row(found, "dog", (0, 0, 0), 100, 4))
    assert row[0, 10, 0] < row[0, 90, 0] < PALE[0]


def test_the_strip_of_all_shows_the_likeliest() -> None:
    found = body(("dog", 0.0, 10.0, 0.5), ("cat", 2.0, 4.0, 0.8), ("cow", 6.0, 8.0, 0.3))
    colours = label_colours(["dog", "cat", "cow"])
    strip = np.asarray(best_strip(found, colours, 100, 4))
    assert tuple(strip[0, 10]) == colours["dog"]
    assert tuple(strip[0, 30]) == colours["cat"]
    assert tuple(strip[0, 70]) == colours["dog"]


def test_a_moment_that_is_shorter_than_a_pixel_is_still_seen() -> None:
    row = np.asarray(label_row(body(("dog", 9.999, 10.0, 1.0)), "dog", (200, 0, 0), 50, 2))
    assert (row == (200, 0, 0)).all(-1).sum() == 2


def test_of_many_labels_those_that_are_on_longest_are_drawn() -> None:
    found = body(("a", 0.0, 1.0, 0.9), ("b", 1.0, 4.0, 0.5), ("c", 3.0, 9.0, 0.5))
    assert longest_labels(found, 2) == ["b", "c"]
    assert longest_labels(found, 9) == ["a", "b", "c"]


def test_colours_are_different() -> None:
    colours = label_colours([str(number) for number in range(30)])
    assert len(set(colours.values())) == 30


@pytest.mark.parametrize(
    "found",
    [
        body(),
        body(end_s=0.0),
        body(("dog", 0.0, 0.0, 1.0), end_s=0.0),
        body(("", 0.0, 7000.0, 0.1), end_s=7200.0),
        body(("x" * 500 + "\n", 0.0, 0.3, 0.5), ("개", 0.1, 0.2, 0.5), end_s=0.3),
        body(*((str(number), float(number), number + 1.0, 0.5) for number in range(40))),
    ],
    ids=["nothing", "no time", "a moment", "hours", "long names", "many labels"],
)
def test_every_result_becomes_a_picture_of_the_width_asked_for(found: dict[str, Any]) -> None:
    picture = strip_picture(found, width=640)
    assert picture.width == 640
    assert 60 < picture.height < 500
    assert len(np.unique(np.asarray(picture))) > 2
