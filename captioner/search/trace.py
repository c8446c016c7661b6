"""What a search returns, and the record from which it is read off at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
"""Choices are made on the CPU, a few numbers at a time, and numpy's calls cost the least there."""


@dataclass
class Hypothesis:
    """A token sequence that a search found.

    ``log_prob`` is in nats, by the model as it is: bans, minimum lengths and temperatures restrict
    what is chosen, not what it is worth.
    """

    ids: list[int]
    """Without start and end, with the prefix."""
    log_prob: float
    """The sum of ``token_log_probs``."""
    token_log_probs: list[float]
    """One for each id, and the end's last when finished."""
    finished: bool
    """False: cut off at ``max_tokens``, or nothing was allowed to follow."""
    weights: Tensor | None = None
    """``(len(ids), positions)`` on the CPU: where the model looked for each id."""


class Trace:
    """Every row of every step with the row that it came from, as the leaves of a tree see it.

    Row r of step t is a hypothesis of t tokens. Nothing is copied when beams are reordered or
    images leave: a hypothesis is (step, row), and is read off from there to the root.
    """

    def __init__(self) -> None:
        self.step = 0
        self._tokens: list[Indices] = []
        self._parents: list[Indices] = []
        self._log_probs: list[Numbers] = []
        self._weights: list[Tensor] = []
        self._lists: list[tuple[list[int], list[int], list[float]]] = []

    def grow(self, parents: Indices, tokens: Indices, log_probs: Numbers) -> None:
        """Adds a step: each row's parent among the last step's rows, its token, and its value."""
        self._parents.append(parents)
        self._tokens.append(tokens)
        self._log_probs.append(log_probs)
        self.step += 1

    def look(self, weights: Tensor) -> None:
        """Adds the last step's attention ``(rows, positions)``."""
        self._weights.append(weights)

    def hypothesis(self, step: int, row: int, end_log_prob: float | None) -> Hypothesis:
        """Row ``row`` of ``step``, finished when the end's log-probability is given."""
        for t in range(len(self._lists), self.step):
            part = (self._parents[t], self._tokens[t], self._log_probs[t])
            self._lists.append(tuple(x.tolist() for x in part))
        ids: list[int] = []
        log_probs: list[float] = [] if end_log_prob is None else [end_log_prob]
        weights: list[Tensor] = []
        for t in reversed(range(step)):
            parents, tokens, values = self._lists[t]
            ids.append(tokens[row])
            log_probs.append(values[row])
            row = parents[row]
            if self._weights:
                weights.append(self._weights[t][row])
        for backwards in (ids, log_probs, weights):
            backwards.reverse()
        return Hypothesis(
            ids=ids,
            log_prob=sum(log_probs),
            token_log_probs=log_probs,
            finished=end_log_prob is not None,
            weights=torch.stack(weights).cpu() if weights else self._no_weights(),
        )

    def _no_weights(self) -> Tensor | None:
        return self._weights[0][:0].cpu() if self._weights else None
