"""One character through LSTMs whose weights are final: a stream's step on a CPU.

One row costs the reading of the matrices, and each call of torch as much as the arithmetic of many
gates. Matrices are therefore read along their columns, which torch does faster for one vector; what
a layer reads from below and from itself is one vector, met by one matrix; and a step is as few
calls as there can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captioner.recurrent import LSTM, State


class CharacterStep:
    """``advance`` of a character model for one row, ``table (V, gates)`` being what it projects.

    The cells' and the read-out's weights keep their values and are laid out anew; no copy stays.
    Rounding is that of another order of sums.
    """

    def __init__(self, cells: Sequence[LSTM], table: Tensor, read: nn.Linear) -> None:
        self._table = table
        lowest, *above = cells
        self._layers = [(_by_columns(lowest.weight_hh), table[0])]
        for cell in above:
            bias = (cell.bias_ih + cell.bias_hh).detach()
            self._layers.append((_by_columns(cell.weight_ih, cell.weight_hh), bias))
        self._read, self._bias = _by_columns(read.weight), read.bias.detach()

    def __call__(self, token: int, state: State) -> tuple[Tensor, State]:
        """The character's number and a state of one row -> logits ``(1, V)``, the state after."""
        after: list[Tensor] = []
        added = self._table[token]
        entry = hidden = state[0].view(-1)
        for number, (weight, bias) in enumerate(self._layers):
            if number:
                entry, added = torch.cat((hidden, state[2 * number].view(-1))), bias
            gates = torch.addmv(added, weight, entry)
            write, keep, value, read = gates.chunk(4)
            gates[: 2 * len(write)].sigmoid_()
            cell = torch.mul(keep, state[2 * number + 1].view(-1)).addcmul_(write, value.tanh_())
            hidden = torch.tanh(cell).mul_(read.sigmoid_())
            after += (hidden.unsqueeze(0), cell.unsqueeze(0))
        return torch.addmv(self._bias, self._read, hidden).unsqueeze(0), tuple(after)


def _by_columns(*weights: Tensor) -> Tensor:
    """Matrices of equally many rows beside each other, ``(rows, …)``; they become its parts."""
    both = torch.cat([weight.detach().t() for weight in weights]).contiguous()
    sizes = [weight.shape[1] for weight in weights]
    for weight, part in zip(weights, both.split_with_sizes(sizes), strict=True):
        weight.data = part.t()
    return both.t()
