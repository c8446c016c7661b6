"""What may not be chosen, and the choice of the best among the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.search.model import TokenModel
from captioner.search.options import SearchOptions


class Constraints:
    """Forbidden and banned ids, minimum length, n-gram blocking: probability 0 for a choice."""

    def __init__(self, model: TokenModel, options: SearchOptions, *, device: torch.device) -> None:
        _check(model, options)
        never = sorted({*model.forbidden_ids, *options.banned_ids})
        self._never = torch.zeros(model.vocabulary_size, device=device)
        self._never[never] = float("-inf")
        self._too_early = self._never.clone()
        self._too_early[model.end_id] = float("-inf")
        self._min_tokens = options.min_tokens
        self._ngram = options.no_repeat_ngram_size

    def apply(self, log_probs: Tensor, step: int, history: Tensor | None) -> Tensor:
        """``log_probs (rows, V)``, changed in place: minus infinity where not allowed.

        ``step`` tokens are there already, ``history (rows, step)`` if n-grams are blocked.
        """
        allowed = log_probs.add_(self._too_early if step < self._min_tokens else self._never)
        if history is not None and step >= self._ngram:
            windows = history.unfold(1, self._ngram, 1)  # (rows, windows, n)
            tail = history[:, step - self._ngram + 1 :]
            repeats = (windows[:, :, :-1] == tail[:, None]).all(2)
            rows, where = repeats.nonzero(as_tuple=True)
            ids = windows[rows, where, -1]
            allowed[rows.to(allowed.device), ids.to(allowed.device)] = float("-inf")
        return allowed


def _check(model: TokenModel, options: SearchOptions) -> None:
    size = model.vocabulary_size
    for name, ids in (("banned_ids", options.banned_ids), ("prefix", options.prefix)):
        for token in ids:
            if token >= size:
                raise InvalidOption(
                    f"{name} has the id {token}.", hint=f"The vocabulary ends at {size - 1}."
                )
    if model.end_id in options.prefix:
        raise InvalidOption(f"The prefix has the end token (id {model.end_id}).")


def best_tokens(log_probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of each row of ``(rows, V)``, in order: values and ids.

    Of equal ones the lowest id comes first. Minus infinity fills up, with any id.
    """
    if count == 1:
        best = log_probs.max(1, keepdim=True)  # the first of equal ones
        return best.values, best.indices
    size = log_probs.shape[1]
    values, ids = log_probs.topk(min(count + 1, size), 1)
    # topk leaves open which of equal ones it takes: rows that have some are done again.
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > float("-inf"))
    if bool(equal.any()):
        tied = equal.any(1).nonzero().flatten()
        again, order = log_probs[tied].sort(dim=1, descending=True, stable=True)
        values[tied], ids[tied] = again[:, : values.shape[1]], order[:, : values.shape[1]]
    return values[:, :count], ids[:, :count]
