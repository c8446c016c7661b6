"""What the labels of a video's frames are worth: frame by frame, segment by segment, over time.

Accuracy, edit score and F1@k are those of MS-TCN (Abu Farha & Gall 2019, arXiv 1903.01945; first
in Lea et al. 2017, arXiv 1611.05267), with two cases settled that its code leaves undefined. All
scores are in percent. What is scored comes as a list of videos, each a sequence of class numbers,
one a frame. Frames whose truth is :data:`IGNORED` are cut out of truth and prediction before
anything is counted: the frames around them become neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from captioner.errors import DataError

IGNORED = -1
"""The label of a frame that nobody labelled."""

THRESHOLDS = (10, 25, 50)
"""The overlaps, in percent, at which papers print F1."""

Labels = Sequence[int] | Tensor
"""A class number for each frame of one video: ``(time,)``."""


class Segment(NamedTuple):
    """A longest run of one label: frames ``start`` to ``end``, which is the first one after it."""

    label: int
    start: int
    end: int


def segments(labels: Labels, *, background: Collection[int] = ()) -> list[Segment]:
    """The runs of equal labels in order, without unlabelled ones and those of ``background``."""
    runs, start = [], 0
    for label, frames in groupby(_plain(labels)):
        end = start + sum(1 for _ in frames)
        if label != IGNORED and label not in background:
            runs.append(Segment(label, start, end))
        start = end
    return runs


def frame_accuracy(
    predictions: Sequence[Labels], truths: Sequence[Labels], *, background: Collection[int] = ()
) -> float:
    """The share of labelled frames that are right, over the frames of all videos together.

    Frames whose true label is of ``background`` are left out; by default they count as any others.
    Raises ``DataError`` where truth and prediction do not fit together, or nothing is labelled; so
    do the other scores. 0 where all is background.
    """
    videos = _labelled(predictions, truths)
    hits = [
        guess == label
        for video in videos
        for guess, label in zip(*video, strict=True)
        if label not in background
    ]
    return 100 * sum(hits) / max(1, len(hits))


def class_f1(predictions: Sequence[Labels], truths: Sequence[Labels]) -> dict[int, float]:
    """F1 over frames of each class that is true or predicted anywhere, by class number."""
    hits: dict[int, int] = {}
    sizes: dict[int, int] = {}  # frames predicted so, plus frames that are so
    for video in _labelled(predictions, truths):
        for guess, label in zip(*video, strict=True):
            sizes[guess] = sizes.get(guess, 0) + 1
            sizes[label] = sizes.get(label, 0) + 1
            hits[label] = hits.get(label, 0) + (guess == label)
    return {
        label: 100 * 2 * hits.get(label, 0) / size
        for label, size in sorted(sizes.items())
        if label != IGNORED
    }


def edit_score(
    predictions: Sequence[Labels], truths: Sequence[Labels], *, background: Collection[int]
) -> float:
    """How alike the orders of the segments' labels are, the mean over videos.

    ``100 · (1 - D / max(P, Y))`` with the Levenshtein distance D between the P predicted and the Y
    true labels, durations left out. ``background``: classes that make no segments, ``()`` for none.
    Two empty sequences are alike: 100 (the public code divides by zero).
    """
    scores = []
    for guess, truth in _segmented(predictions, truths, background):
        longest = max(len(guess), len(truth))
        distance = levenshtein([run.label for run in guess], [run.label for run in truth])
        scores.append(100 * (1 - distance / longest) if longest else 100.0)
    return sum(scores) / len(scores)


def segment_f1(
    predictions: Sequence[Labels],
    truths: Sequence[Labels],
    *,
    background: Collection[int],
    thresholds: Sequence[int] = THRESHOLDS,
) -> dict[int, float]:
    """F1@k by k, the overlap in percent that makes a predicted segment a hit.

    Hits and misses are summed over the videos first: this is no mean over videos. ``background``:
    classes that make no segments, ``()`` for none. No segment anywhere gives 0.
    """
    videos = _segmented(predictions, truths, background)
    found = {}
    for threshold in thresholds:
        counts = [match_segments(guess, truth, threshold) for guess, truth in videos]
        hits, extra, missed = (sum(column) for column in zip(*counts, strict=True))
        found[threshold] = 100 * 2 * hits / max(1, 2 * hits + extra + missed)
    return found


def match_segments(
    predicted: Sequence[Segment], true: Sequence[Segment], threshold: int
) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of one video.

    Each predicted segment, in order, looks at the true one of its label that it overlaps most (the
    intersection over the union of frames; the first of equals). It is a hit if that is at least
    ``threshold`` percent and no earlier one hit the same segment; there is no second choice.
    """
    used: set[Segment] = set()
    for guess in predicted:
        same = [truth for truth in true if truth.label == guess.label]
        best = max(same, key=lambda truth: _overlap(guess, truth), default=None)
        if best is not None and _overlap(guess, best) >= threshold / 100:
            used.add(best)
    return len(used), len(predicted) - len(used), len(true) - len(used)


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """The mean of :func:`average_precisions`. Raises ``DataError`` if no class has a positive."""
    found = average_precisions(scores, targets)
    if not found:
        raise DataError("No class has a positive frame to rank.", hint="Give labelled frames.")
    return sum(found.values()) / len(found)


def average_precisions(scores: Tensor, targets: Tensor) -> dict[int, float]:
    """The average precision of each class that has a positive frame, by class number.

    ``scores`` and ``targets (frames, classes)`` hold the frames of all videos together; targets are
    1, 0, or :data:`IGNORED`, which leaves out that frame for that class. ``Σ (R_n - R_{n-1}) P_n``
    over the thresholds from the highest score down, without interpolation. Equal scores are one
    threshold, so that the order of frames never matters: with all scores equal it is the share of
    positives.
    """
    if scores.shape != targets.shape or scores.dim() != 2:
        raise DataError(
            f"Scores of shape {tuple(scores.shape)} do not fit targets of {tuple(targets.shape)}.",
            hint="Both are (frames, classes).",
        )
    if scores.isnan().any():
        raise DataError("There are scores that are not numbers.", hint="Did training diverge?")
    found = {}
    for number, (score, target) in enumerate(zip(scores.t(), targets.t(), strict=True)):
        counted = target != IGNORED
        positive = target[counted] > 0
        if positive.any():
            found[number] = 100 * _average_precision(score[counted], positive)
    return found


def changes_per_second(
    labels: Sequence[Labels | Sequence[Sequence[int]]], times: Sequence[Sequence[float] | Tensor]
) -> float:
    """How often a label changes in a second of video, over all videos together.

    ``labels``: for each video ``(time,)``, where each change of class is one, or of 0 and 1
    ``(time, labels)``, where each label that comes or goes is one. Unlabelled frames are passed
    over. ``times``: the frames' times in seconds; a video lasts from its first to its last frame.
    """
    changes, seconds = 0, 0.0
    for video, moments in zip(labels, times, strict=True):
        columns = torch.as_tensor(video).to(torch.int64)
        if len(columns) != len(moments):
            raise DataError(
                f"A video has {len(columns)} labels, but {len(moments)} times.",
                hint="Give a time for each frame.",
            )
        if len(moments) > 1:
            seconds += float(moments[-1]) - float(moments[0])
        for column in (columns.unsqueeze(1) if columns.dim() == 1 else columns).t():
            changes += int(column[column != IGNORED].diff().count_nonzero())
    return changes / seconds if seconds > 0 else 0.0


def levenshtein(one: Sequence[object], other: Sequence[object]) -> int:
    """How many insertions, deletions and substitutions make one sequence the other."""
    row = list(range(len(other) + 1))
    for number, label in enumerate(one, 1):
        diagonal, row[0] = row[0], number
        for place, its_label in enumerate(other, 1):
            changed = diagonal + (label != its_label)
            diagonal, row[place] = row[place], min(changed, row[place] + 1, row[place - 1] + 1)
    return row[-1]


def _plain(labels: Labels) -> list[int]:
    return labels.tolist() if isinstance(labels, Tensor) else list(labels)


def _labelled(
    predictions: Sequence[Labels], truths: Sequence[Labels]
) -> list[tuple[list[int], list[int]]]:
    # Predicted and true labels of each video's labelled frames; a video without any is left out.
    if len(predictions) != len(truths):
        raise DataError(
            f"There are labels for {len(predictions)} videos, but truths for {len(truths)}.",
            hint="Give one sequence for each video, in the same order.",
        )
    videos = []
    for number, pair in enumerate(zip(predictions, truths, strict=True)):
        guess, truth = map(_plain, pair)
        if len(guess) != len(truth):
            raise DataError(
                f"Video number {number} (counted from 0) has {len(guess)} labels, but "
                f"{len(truth)} true ones.",
                hint="Give one for each frame; frames that nobody labelled are -1.",
            )
        kept = [frame for frame, label in enumerate(truth) if label != IGNORED]
        if kept:
            videos.append(([guess[frame] for frame in kept], [truth[frame] for frame in kept]))
    if not videos:
        raise DataError("There is no labelled frame to score.", hint="Give at least one.")
    return videos


def _segmented(
    predictions: Sequence[Labels], truths: Sequence[Labels], background: Collection[int]
) -> list[tuple[list[Segment], list[Segment]]]:
    return [
        (segments(guess, background=background), segments(truth, background=background))
        for guess, truth in _labelled(predictions, truths)
    ]


def _overlap(one: Segment, other: Segment) -> float:
    # Below zero for segments apart, where the longest span is not the union: no hit either way.
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared / (max(one.end, other.end) - min(one.start, other.start))


def _average_precision(scores: Tensor, positive: Tensor) -> float:
    ordered, order = scores.sort(descending=True)
    last = torch.ones_like(positive)  # of its score: where a threshold can lie
    last[:-1] = ordered[1:] != ordered[:-1]
    ranks = torch.arange(1, len(ordered) + 1, device=scores.device)[last]
    hits = positive[order].cumsum(0)[last].double()
    gained = hits.diff(prepend=hits.new_zeros(1))
    return float((gained * hits / ranks).sum() / hits[-1])
