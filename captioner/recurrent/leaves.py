"""What cells share whose inputs and hidden state meet in many places, to be added or multiplied."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from captioner.recurrent.cell import ContextCell
from captioner.recurrent.deferred import scan_deferred
from captioner.recurrent.linear import linear
from captioner.recurrent.state import State


class LeafCell(ContextCell):
    """Leaf i has ``X_i = W_x^i x + W_ih^i v`` and ``M_i = W_h^i h + b^i``; a cell combines them.

    Where X_i and M_i are multiplied, the context multiplies too; there is no bias on X, which would
    change that product. ``weight_ih (leaves · hidden, input)``, ``weight_hh (leaves · hidden,
    hidden)``, ``bias``, and ``weight_context`` where there is a context. The state's first part is
    h.
    """

    def __init__(
        self, input_size: int, hidden_size: int, context_size: int, *, leaves: int, states: int
    ) -> None:
        super().__init__(input_size, hidden_size, context_size, state_sizes=(hidden_size,) * states)
        self.leaves = leaves
        self.weight_ih = nn.Parameter(torch.empty(leaves * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(leaves * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(leaves * hidden_size))
        self.create_context(leaves * hidden_size)
        self.reset_parameters()

    @abstractmethod
    def combine(self, inputs: Tensor, hidden: Tensor, state: State) -> State:
        """All X and all M, ``(batch, leaves · hidden)`` each, and the state before -> after."""

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_x x`` of all leaves; the bias is on the state's side."""
        return linear(inputs, self.weight_ih)

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step."""
        if context is not None:
            projected = self.add_context(projected, context)
        return self.combine(projected, linear(state[0], self.weight_hh, self.bias), state)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; the gradient of ``weight_hh`` is one product over all."""
        if not sizes or not torch.is_grad_enabled():
            return super().scan(projected, state, sizes)
        biases = self.bias.expand(len(projected), -1)
        return scan_deferred(
            lambda parts, state, products: self.combine(
                parts[0], products[0](parts[1], state[0]), state
            ),
            [projected, biases],
            [None, self.weight_hh],
            state,
            sizes,
        )
