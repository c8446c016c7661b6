"""The cell that a network found (Zoph & Le 2017, arXiv 1611.01578, figure 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.recurrent.leaves import LeafCell
from captioner.recurrent.state import State


class NASCell(LeafCell):
    """Eight places where inputs and state meet, folded by pairs into one; the state is ``(h, c)``.

    The formulas of TensorFlow's ``contrib.rnn.NASCell``, with its m called h and a bias on the
    state's side only. The context is added to the eight *input* parts X; part 3 multiplies, so
    there it multiplies too. ``|c| <= 1``, and no path of c is a sum alone:
    ``dc_t/dc_{t-1} = l2_1 ⊙ (1 - l2_0²)`` with h fixed.
    """

    def __init__(self, input_size: int, hidden_size: int, context_size: int = 0) -> None:
        super().__init__(input_size, hidden_size, context_size, leaves=8, states=2)

    def combine(self, inputs: Tensor, hidden: Tensor, state: State) -> State:
        """X, M ``(batch, 8 · hidden)`` and ``(h, c)`` -> ``(h, c)``."""
        x, m = inputs.chunk(8, 1), hidden.chunk(8, 1)
        left = torch.tanh(torch.sigmoid(x[0] + m[0]) * torch.relu(x[1] + m[1]))
        right = torch.tanh(torch.sigmoid(x[2] + m[2]) + torch.relu(x[3] * m[3]))
        memory = torch.tanh(left + state[1]) * right
        left = torch.tanh(torch.tanh(x[4] + m[4]) * torch.sigmoid(x[5] + m[5]))
        right = torch.sigmoid(torch.tanh(x[6] + m[6]) + torch.sigmoid(x[7] + m[7]))
        return torch.tanh(memory * torch.tanh(left + right)), memory
