"""The plain recurrent network of the lecture (Elman 1990, "Finding Structure in Time")."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.recurrent.cell import PackedCell
from captioner.recurrent.linear import add_linear
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
        total = add_linear(projected, state[0], self.weight_hh)
        return (torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total),)
