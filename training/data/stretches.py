"""Which frames of a video bear which label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captioner.metrics.segments import IGNORED

# Tables give times with two or three decimals, and a frame's own time is seldom one of them.
ROUNDING_S = 0.002


@dataclass(frozen=True)
class Stretch:
    """A label from ``start`` up to ``end``: seconds from the first frame, or numbers of frames."""

    label: str
    start: float = 0.0
    end: float = math.inf
    in_frames: bool = False

    def of(self, frames: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Which of the frames it covers, by their numbers and times ``(T,)`` -> bool ``(T,)``."""
        if self.in_frames:
            return (frames >= self.start) & (frames < self.end)
        return (times >= self.start - ROUNDING_S) & (times < self.end - ROUNDING_S)


def frame_labels(
    stretches: Sequence[Stretch],
    frames: np.ndarray,
    times: np.ndarray,
    classes: Sequence[str],
    *,
    multi_label: bool = False,
) -> np.ndarray:
    """The labels of frames, int64: ``(T,)``, -1 where there is none; the later stretch wins.

    With ``multi_label`` 0 or 1 of each class, ``(T, C)``: what a table does not say is not there;
    but a video of which it says nothing at all is unlabelled, -1 throughout.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    if multi_label:
        labels = np.full((len(frames), len(classes)), 0 if stretches else IGNORED, dtype=np.int64)
    else:
        labels = np.full(len(frames), IGNORED, dtype=np.int64)
    for stretch in stretches:
        covered = stretch.of(frames, times)
        if multi_label:
            labels[covered, numbers[stretch.label]] = 1
        else:
            labels[covered] = numbers[stretch.label]
    return labels


def runs_of_frames(frames: Sequence[tuple[float, str]], in_frames: bool) -> list[Stretch]:
    """Labels of single frames, by number or time, as stretches: neighbours of a label are one.

    A frame lasts until the next one that the table has; the last one to the end of the video.
    """
    moments = sorted({moment for moment, _ in frames})
    if not moments:
        return []
    if in_frames:
        after = {moment: moment + 1 for moment in moments}
    else:
        after = dict(zip(moments, [*moments[1:], math.inf], strict=True))
    open_runs: dict[str, Stretch] = {}
    found: list[Stretch] = []
    for moment, label in sorted(frames):
        run = open_runs.get(label)
        if run is not None and run.end == moment:
            open_runs[label] = Stretch(label, run.start, after[moment], in_frames)
            continue
        if run is not None:
            found.append(run)
        open_runs[label] = Stretch(label, moment, after[moment], in_frames)
    return found + list(open_runs.values())
