"""The best finished hypotheses of each image, and what may still beat them."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.search.options import SearchOptions
from captioner.search.trace import Hypothesis, Trace

_NEVER = float("-inf")


class NBest:
    """Keeps the ``num_return`` best for each image, as places in the trace.

    A score is ``log_prob / len ** length_penalty``, the end counted in both. Of equal scores the
    one that was found first is the better.
    """

    def __init__(self, images: int, options: SearchOptions) -> None:
        self._options = options
        size = (images, options.num_return)
        self._scores = torch.full(size, _NEVER, dtype=torch.float64)
        self._ends = torch.zeros(size, dtype=torch.float64)
        self._places = torch.zeros((*size, 2), dtype=torch.int64)  # (step, row)
        self._cut: list[list[tuple[float, int, int]]] = [[] for _ in range(images)]

    def finish(
        self, images: Tensor, step: int, log_probs: Tensor, rows: Tensor, ends: Tensor
    ) -> None:
        """Enters hypotheses of ``step`` tokens, all arguments but the first ``(A, n)``.

        ``log_probs`` with the end, minus infinity where there is none; ``rows`` in the trace's
        step; ``ends``: the end's own log-probability.
        """
        scores = log_probs / float(step + 1) ** self._options.length_penalty
        places = torch.stack((torch.full_like(rows, step), rows), 2)
        scores = torch.cat((self._scores[images], scores), 1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        order = order[:, : self._options.num_return]
        self._scores[images] = scores[:, : self._options.num_return]
        self._ends[images] = torch.cat((self._ends[images], ends), 1).gather(1, order)
        places = torch.cat((self._places[images], places), 1)
        self._places[images] = places.gather(1, order.unsqueeze(2).expand(-1, -1, 2))

    def cut(self, images: Tensor, step: int, log_probs: Tensor) -> None:
        """Enters rows of ``step`` that nothing follows, ``log_probs (A, width)``.

        They are ranked behind all finished ones.
        """
        width = log_probs.shape[1]
        length = float(max(step, 1)) ** self._options.length_penalty
        for position, column in (log_probs > _NEVER).nonzero().tolist():
            score = float(log_probs[position, column]) / length
            self._cut[int(images[position])].append((score, step, position * width + column))

    def beatable(self, images: Tensor, step: int, log_probs: Tensor) -> Tensor:
        """Which beams of ``step`` tokens, ``log_probs (A, width)``, can still enter the list.

        The best that can become of one: all that follows has probability 1, and the length is the
        one that is scored most kindly.
        """
        penalty = self._options.length_penalty
        kindest = float(step + 1)
        if penalty > 0 and self._options.exact:
            kindest = float(self._options.max_tokens + 1)
        return torch.gt(log_probs / kindest**penalty, self._scores[images, -1:])

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
