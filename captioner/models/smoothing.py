"""From a network's scores to labels that do not flicker, and from labels to segments with times.

Viterbi and the minimum duration know the whole sequence and give the best one there is under their
rule. Hysteresis decides frame by frame and goes on from chunk to chunk.

Letters: T frames, C classes, L independent labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.metrics.segments import IGNORED, segments


class TimedSegment(NamedTuple):
    """A label over a stretch of video.

    Seconds ``start_s`` to ``end_s``; frames ``start`` to ``end``, the first one after it; ``score``
    is the mean of its frames' scores.
    """

    label: int
    start_s: float
    end_s: float
    start: int
    end: int
    score: float


def viterbi(
    log_probs: Tensor,
    *,
    switch_penalty: float = 0.0,
    min_frames: int = 1,
    transitions: Tensor | None = None,
) -> Tensor:
    """The best sequence of classes: ``(T, C)`` -> ``(T,)`` int64 (rows of them: ``(…, T, C)``).

    The best is the highest sum of ``log_probs`` less ``switch_penalty`` (in nats) for each change
    of class, plus ``transitions (C, C)``, from and to, of each step where they are given (see
    :func:`transition_log_probs`), among all sequences whose every run lasts ``min_frames`` or more;
    a shorter video has one class throughout. Where two are as good, a run goes on rather than that
    the class changes. Without any of the three it is the best class of each frame.

    Takes time ``T · C``, with ``transitions`` ``T · C²``. Raises :class:`InvalidOption` for a
    penalty below 0 or a ``min_frames`` below 1.
    """
    if not switch_penalty >= 0:
        raise InvalidOption(f"switch_penalty is {switch_penalty}.", hint="At least 0 (nats).")
    if min_frames < 1:
        raise InvalidOption(f"min_frames is {min_frames}.", hint="At least 1.")
    *rows, time, classes = log_probs.shape
    scores = (
        log_probs.detach().to("cpu", torch.float64).reshape(math.prod(rows), time, classes).numpy()
    )
    between = None if transitions is None else transitions.detach().cpu().double().numpy()
    if not scores.size:
        return torch.zeros(*rows, time, dtype=torch.int64)
    labels = _best_sequences(scores, switch_penalty, min(min_frames, time), between)
    return torch.from_numpy(labels).view(*rows, time)


def transition_log_probs(
    sequences: Sequence[Sequence[int]], num_classes: int, *, pseudo_count: float = 1.0
) -> Tensor:
    """``log p(to | from)`` of neighbouring frames in training labels, ``(C, C)`` float64.

    ``pseudo_count`` is added to the count of each pair, so that none is impossible. Steps from or
    to an unlabelled frame (-1) are not counted.
    """
    counts = torch.full((num_classes, num_classes), pseudo_count, dtype=torch.float64)
    for sequence in sequences:
        labels = torch.as_tensor(sequence, dtype=torch.int64)
        steps = torch.stack([labels[:-1], labels[1:]])
        known = steps[:, (steps != IGNORED).all(0)]
        counts.index_put_((known[0], known[1]), counts.new_ones(()), accumulate=True)
    return counts.log() - counts.sum(1, keepdim=True).log()


def viterbi_labels(
    logits: Tensor,
    *,
    threshold: float | Tensor = 0.5,
    switch_penalty: float = 0.0,
    min_frames: int = 1,
) -> Tensor:
    """:func:`viterbi` of each label by itself, on or off: ``(T, L)`` logits -> ``(T, L)`` bool.

    ``threshold``, one or one a label ``(L,)``: the probability above which a frame by itself is on.
    """
    level = torch.as_tensor(threshold, dtype=logits.dtype, device=logits.device)
    if not ((level > 0) & (level < 1)).all():
        raise InvalidOption(f"threshold is {threshold}.", hint="Between 0 and 1.")
    logits = (logits - level.logit()).t()
    both = torch.stack([functional.logsigmoid(-logits), functional.logsigmoid(logits)], 2)
    found = viterbi(both, switch_penalty=switch_penalty, min_frames=min_frames)
    return found.t() == 1


def hysteresis(
    scores: Tensor,
    *,
    on: float | Tensor = 0.6,
    off: float | Tensor = 0.4,
    before: Tensor | None = None,
) -> Tensor:
    """Labels that come at a score of ``on`` and go below ``off``: ``(T, L)`` -> ``(T, L)`` bool.

    Between the two a label stays as it was. ``on`` and ``off``: one number, or one a label
    ``(L,)``. ``before (L,)``: the last row of what the chunk before gave; nothing is on at first.
    Raises :class:`InvalidOption` if ``off`` is above ``on``.
    """
    high, low = (
        torch.as_tensor(level, dtype=scores.dtype, device=scores.device) for level in (on, off)
    )
    if (low > high).any():
        raise InvalidOption(f"off is {off}, above on, {on}.", hint="Take on >= off.")
    if before is None:
        before = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
    states = torch.cat([before.bool().unsqueeze(0), scores >= high])
    decided = torch.cat([torch.ones_like(states[:1]), (scores >= high) | (scores < low)])
    frames = torch.arange(len(states), device=scores.device).unsqueeze(1)
    latest = torch.where(decided, frames, 0).cummax(0).values  # the last frame that decided
    return states.gather(0, latest)[1:]


def segments_of(
    labels: Sequence[int] | Tensor,
    scores: Sequence[float] | Tensor,
    times: Sequence[float] | Tensor,
    end_s: float,
) -> list[TimedSegment]:
    """The runs of equal labels, in order of their start.

    ``labels (T,)``: class numbers, -1 for none; or ``(T, L)`` bool, each label's runs by itself.
    ``scores``: ``(T,)`` of the frame's own class, or ``(T, C)`` of every class or label. ``times``:
    seconds of each frame, ascending. A segment lasts until the next frame begins, the last one
    until ``end_s``, the end of the video (or its last frame, should that be later).
    """
    found, table = torch.as_tensor(labels), torch.as_tensor(scores)
    starts = [float(moment) for moment in times]
    if not len(found) == len(table) == len(starts):
        raise ValueError(f"{len(found)} labels, {len(table)} scores and {len(starts)} times")
    if not starts:
        return []
    starts.append(max(end_s, starts[-1]))
    if found.dim() == 1:
        runs = segments(found)
    else:
        runs = [
            run._replace(label=number)
            for number, column in enumerate(found.t())
            for run in segments(column.long(), background=(0,))
        ]
    return [
        TimedSegment(
            label,
            starts[start],
            starts[end],
            start,
            end,
            float((table[start:end] if table.dim() == 1 else table[start:end, label]).mean()),
        )
        for label, start, end in sorted(runs, key=lambda run: (run.start, run.label))
    ]


def _best_sequences(
    scores: NDArray[np.float64],
    penalty: float,
    shortest: int,
    transitions: NDArray[np.float64] | None,
) -> NDArray[np.int64]:
    # best[t] (rows, classes): of the sequences up to frame t that end in a run of `shortest` frames
    # or more of the class. Such a run goes on, or it has just reached that length: a block, after
    # a sequence that ended before it. came[t]: the class before the block; -1 where a run went on.
    rows, time, classes = scores.shape
    stay = np.zeros(classes) if transitions is None else np.diagonal(transitions)
    blocks = np.lib.stride_tricks.sliding_window_view(scores, shortest, axis=1).sum(3)
    if shortest > 1:
        blocks = blocks + (shortest - 1) * stay
    came = np.full((time, rows, classes), -1, dtype=np.int32)
    best = [blocks[:, 0]]  # the last `shortest` of them
    for now in range(shortest, time):
        going = best[-1] + stay + scores[:, now]
        if now >= 2 * shortest - 1:
            from_class, entering = _enter(best.pop(0), penalty, transitions)
            entering = entering + blocks[:, now - shortest + 1]
            switched = entering > going
            came[now] = np.where(switched, from_class, -1)
            going = np.where(switched, entering, going)
        best.append(going)
    labels = np.empty((rows, time), dtype=np.int64)
    for row, label in enumerate(best[-1].argmax(1)):
        _walk_back(labels[row], came[:, row], int(label), shortest)
    return labels


def _enter(
    before: NDArray[np.float64], penalty: float, transitions: NDArray[np.float64] | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    # The best class to come from. That it may be the class itself does no harm: it then scores no
    # better than staying, which wins.
    if transitions is None:
        return before.argmax(1)[:, np.newaxis], before.max(1)[:, np.newaxis] - penalty
    total: Any = before[:, :, np.newaxis] + transitions
    return total.argmax(1), total.max(1) - penalty


def _walk_back(
    labels: NDArray[np.int64], came: NDArray[np.int32], label: int, shortest: int
) -> None:
    now = len(labels) - 1
    while now >= shortest:
        if came[now, label] < 0:
            labels[now] = label
            now -= 1
        else:
            before = int(came[now, label])
            labels[now - shortest + 1 : now + 1] = label
            label, now = before, now - shortest
    labels[: now + 1] = label
