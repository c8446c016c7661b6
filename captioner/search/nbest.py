"""The best finished hypotheses of each image, and what may still beat them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captioner.search.options import SearchOptions
from captioner.search.trace import Hypothesis, Indices, Numbers, Trace

_NEVER = float("-inf")


class NBest:
    """Keeps the ``num_return`` best for each image, as places in the trace.

    A score is ``log_prob / len ** length_penalty``, the end counted in both. Of equal scores the
    one that was found first is the better.
    """

    def __init__(self, images: int, options: SearchOptions) -> None:
        self._options = options
        size = (images, options.num_return)
        self._scores = np.full(size, _NEVER)
        self._ends = np.zeros(size)
        self._places = np.zeros((*size, 2), dtype=np.int64)  # (step, row)
        self._cut: list[list[tuple[float, int, int]]] = [[] for _ in range(images)]

    def finish(
        self, images: Indices, step: int, log_probs: Numbers, rows: Indices, ends: Numbers
    ) -> None:
        """Enters hypotheses of ``step`` tokens, all arguments but the first ``(A, n)``.

        ``log_probs`` with the end, minus infinity where there is none; ``rows`` in the trace's
        step; ``ends``: the end's own log-probability.
        """
        scores = log_probs / float(step + 1) ** self._options.length_penalty
        places = np.stack((np.full_like(rows, step), rows), 2)
        scores = np.concatenate((self._scores[images], scores), 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._options.num_return]
        each = np.arange(len(images))[:, None]
        self._scores[images] = scores[each, order]
        self._ends[images] = np.concatenate((self._ends[images], ends), 1)[each, order]
        self._places[images] = np.concatenate((self._places[images], places), 1)[each, order]

    def cut(self, images: Indices, step: int, log_probs: Numbers) -> None:
        """Enters rows of ``step`` that nothing follows, ``log_probs (A, width)``.

        They are ranked behind all finished ones.
        """
        width = log_probs.shape[1]
        length = float(max(step, 1)) ** self._options.length_penalty
        for position, column in np.argwhere(log_probs > _NEVER).tolist():
            score = float(log_probs[position, column]) / length
            self._cut[int(images[position])].append((score, step, position * width + column))

    def beatable(self, images: Indices, step: int, log_probs: Numbers) -> NDArray[np.bool_]:
        """Which beams of ``step`` tokens, ``log_probs (A, width)``, can still enter the list.

        The best that can become of one: all that follows has probability 1, and the length is the
        one that is scored most kindly.
        """
        penalty = self._options.length_penalty
        kindest = float(step + 1)
        if penalty > 0 and self._options.exact:
            kindest = float(self._options.max_tokens + 1)
        best: NDArray[np.bool_] = log_probs / kindest**penalty > self._scores[images, -1:]
        return best

    def hypotheses(self, trace: Trace) -> list[list[Hypothesis]]:
        """For each image at most ``num_return``, the best first, finished ones before others."""
        lists = zip(
            self._scores.tolist(), self._places.tolist(), self._ends.tolist(), self._cut,
            strict=True,
        )  # fmt: skip
        return [self._ranked(trace, *parts) for parts in lists]

    def _ranked(
        self,
        trace: Trace,
        scores: list[float],
        places: list[list[int]],
        ends: list[float],
        cut: list[tuple[float, int, int]],
    ) -> list[Hypothesis]:
        ranked = [
            trace.hypothesis(step, row, end)
            for score, (step, row), end in zip(scores, places, ends, strict=True)
            if score > _NEVER
        ]
        known = {tuple(hypothesis.ids) for hypothesis in ranked}
        for _, step, row in sorted(cut, key=lambda entry: -entry[0]):
            if len(ranked) == self._options.num_return:
                break
            hypothesis = trace.hypothesis(step, row, None)
            if tuple(hypothesis.ids) not in known:
                ranked.append(hypothesis)
        return ranked
