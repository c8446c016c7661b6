"""What may not be chosen, and the choice of the best among the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.search.model import TokenModel
from captioner.search.options import SearchOptions

_DEEP = 34  # ids in a column of _largest; about the square root of K * V / count
_MANY = 1 << 16  # numbers from which its detour pays off


class Constraints:
    """Forbidden and banned ids, minimum length, n-gram blocking: probability 0 for a choice."""

    def __init__(self, model: TokenModel, options: SearchOptions, *, device: torch.device) -> None:
        _check(model, options)
        never = {*model.forbidden_ids, *options.banned_ids}
        self._never = torch.tensor(sorted(never), dtype=torch.long, device=device)
        self._too_early = torch.tensor(sorted({*never, model.end_id}), device=device)
        self._min_tokens = options.min_tokens
        self._ngram = options.no_repeat_ngram_size

    def apply(self, log_probs: Tensor, step: int, history: Tensor | None) -> Tensor:
        """``log_probs (rows, V)``, changed in place: minus infinity where not allowed.

        ``step`` tokens are there already, ``history (rows, step)`` if n-grams are blocked.
        """
        never = self._too_early if step < self._min_tokens else self._never
        allowed = log_probs.index_fill_(1, never, float("-inf"))
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


def best_tokens(
    log_probs: Tensor, count: int, totals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of each row of ``(rows, V)``, in order: values and ids.

    ``totals (A, K)``: the largest of an image's K rows together instead, ``(A, count)``, each row
    being worth so much more; ids go on through its rows, ``k * V + id``. Of equal ones the lowest
    id comes first. Minus infinity fills up, with any id.
    """
    if count == 1 and totals is None:
        best = log_probs.max(1, keepdim=True)  # the first of equal ones
        return best.values, best.indices
    table = log_probs.view(
        len(log_probs) if totals is None else len(totals), -1, log_probs.shape[1]
    )
    values, ids = _largest(table, min(count + 1, table[0].numel()), totals)
    # It is open which of equal ones these are: rows that have some are done again.
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > float("-inf"))
    if bool(equal.any()):
        tied = equal.any(1).nonzero().flatten()
        sums = _added(table[tied], None if totals is None else totals[tied])
        again, order = sums.flatten(1).sort(dim=1, descending=True, stable=True)
        values[tied], ids[tied] = again[:, : values.shape[1]], order[:, : values.shape[1]]
    return values[:, :count], ids[:, :count]


def _largest(table: Tensor, count: int, totals: Tensor | None) -> tuple[Tensor, Tensor]:
    """:func:`torch.topk` of ``(A, K, V)`` as ``(A, K * V)``; for many in a quarter of its time.

    The largest lie in the ``count`` columns of ``(A, K, _DEEP, V // _DEEP)`` with the largest
    maxima, or among the few ids at the end that fill no column; maxima are found fast.
    """
    images, rows, size = table.shape
    width = size // _DEEP
    if table.numel() < _MANY or rows * width < 2 * count:
        return _added(table, totals).flatten(1).topk(count, 1)
    maxima = table[:, :, : _DEEP * width].reshape(images, rows, _DEEP, width).amax(2)
    columns = _added(maxima, totals).flatten(1).topk(count, 1, sorted=False).indices
    end = _DEEP * width
    deep, rest = (torch.arange(end, device=table.device) for end in (_DEEP, size - end))
    inside = ((columns % width).unsqueeze(2) + deep * width).flatten(1)
    ids = torch.cat((inside, (rest + end).repeat(rows).expand(images, -1)), 1)
    numbers = torch.arange(rows, device=table.device).repeat_interleave(len(rest))
    row = torch.cat(((columns // width).repeat_interleave(_DEEP, 1), numbers.expand(images, -1)), 1)
    ids = ids.add_(row, alpha=size)
    values = table.flatten(1).gather(1, ids)
    if totals is not None:
        values = values + totals.gather(1, row)
    values, places = values.topk(count, 1)
    return values, ids.gather(1, places)


def _added(table: Tensor, totals: Tensor | None) -> Tensor:
    return table if totals is None else table + totals.unsqueeze(2)
