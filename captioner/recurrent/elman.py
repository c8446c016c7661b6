"""The plain recurrent network of the lecture (Elman 1990, "Finding Structure in Time")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.recurrent.cell import PackedCell
from captioner.recurrent.deferred import Product, product_of, scan_deferred
from captioner.recurrent.state import State

Nonlinearity = Literal["tanh", "relu"]


class Elman(PackedCell):
    """``h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v + b)``, or with ``relu`` in tanh's place.

    Equal to ``torch.nn.RNN``, whose two biases it keeps. Raises :class:`InvalidOption` for another
    nonlinearity.
    """

    gates: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_size: int = 0,
        *,
        nonlinearity: Nonlinearity = "tanh",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise InvalidOption(f"Nonlinearity {nonlinearity!r} is unknown.", hint="tanh or relu.")
        super().__init__(input_size, hidden_size, context_size)
        self.nonlinearity = nonlinearity

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        if context is not None:
            projected = self.add_context(projected, context)
        return self._update([projected], state, [product_of(self.weight_hh)])

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; the gradient of ``weight_hh`` is one product over all."""
        if not sizes or not torch.is_grad_enabled():
            return super().scan(projected, state, sizes)
        return scan_deferred(self._update, [projected], [self.weight_hh], state, sizes)

    def _update(self, parts: Sequence[Tensor], state: State, products: Sequence[Product]) -> State:
        total = products[0](parts[0], state[0])
        return (torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total),)
