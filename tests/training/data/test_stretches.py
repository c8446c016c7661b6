"""Which frames bear which label."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.stretches import Stretch, frame_labels, runs_of_frames

FRAMES = np.arange(10)
TIMES = FRAMES / 15


def labels(*stretches: Stretch, multi_label: bool = False) -> list[object]:
    return frame_labels(stretches, FRAMES, TIMES, ["a", "b"], multi_label=multi_label).tolist()


def test_frames_outside_of_all_stretches_are_unlabelled() -> None:
    assert labels(Stretch("a", 2, 4, True), Stretch("b", 7, 9, True)) == [
        *(-1, -1, 0, 0, -1, -1, -1, 1, 1, -1)
    ]


@pytest.mark.parametrize("border", [2, 4, 7])
def test_rounded_times_hit_the_frame_they_mean(border: int) -> None:
    """Three decimals round a time up or down: 4/15 is 0.26667 and stands as 0.267."""
    written = round(border / 15, 3)
    found = labels(Stretch("a", 0, written), Stretch("b", written))
    assert found == [0] * border + [1] * (10 - border)


def test_sampled_frames_are_told_by_their_own_numbers() -> None:
    found = frame_labels(
        [Stretch("a", 0, 30, True), Stretch("b", 30, 90, True)],
        np.array([0, 15, 29, 30, 45]),
        np.array([0, 0.5, 0.97, 1.0, 1.5]),
        ["a", "b"],
    )
    assert found.tolist() == [0, 0, 0, 1, 1]


def test_independent_labels_are_there_or_not() -> None:
    found = labels(Stretch("a", 0, 3, True), Stretch("b", 2, 5, True), multi_label=True)
    assert found == [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], *[[0, 0]] * 5]


def test_a_video_of_which_nothing_is_said_is_unlabelled_throughout() -> None:
    assert labels(multi_label=True) == [[-1, -1]] * 10
    assert labels() == [-1] * 10


def test_runs_of_two_labels_at_once_are_kept_apart() -> None:
    frames = [(0, "a"), (1, "a"), (1, "b"), (2, "b"), (4, "a")]
    assert set(runs_of_frames(frames, True)) == {
        Stretch("a", 0, 2, True),
        Stretch("b", 1, 3, True),
        Stretch("a", 4, 5, True),
    }
    assert runs_of_frames([], True) == []
