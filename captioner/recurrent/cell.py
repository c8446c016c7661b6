"""One step of a recurrent network, and how it runs over time.

Letters: ``x`` input, ``h`` hidden state, ``v`` context, ``W_xh`` input-hidden, ``W_hh``
hidden-hidden, ``W_ih`` context-hidden: the lecture's image-hidden matrix. torch's
``weight_ih`` is *input*-hidden; the lecture's ``W_ih`` is therefore called ``weight_context``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from captioner.recurrent.linear import add_linear, linear
from captioner.recurrent.packing import loop
from captioner.recurrent.state import State


class Cell(nn.Module, ABC):
    """One step of a recurrent network; what takes a cell takes a stack of them too.

    ``context_size = 0`` means a cell without the ``W_ih · v`` term. ``state_sizes`` are the widths
    of the state's parts; the first part of a single cell's state is what others read, its ``h``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_size: int = 0,
        *,
        state_sizes: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.context_size = context_size
        self.state_sizes = state_sizes

    def initial_state(self, batch_size: int, *, like: Tensor) -> State:
        """Zeros, each part ``(batch, size)``, on the device and with the dtype of ``like``."""
        return tuple(like.new_zeros(batch_size, size) for size in self.state_sizes)

    def project(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """``W_xh x + W_ih v + b`` for all steps at once: all of a step that needs no state.

        ``inputs (batch, time, input)``; ``context (batch, context)``, constant over time, or
        ``(batch, time, context)``; none is the same as zeros. Returns ``(batch, time, gates)``.
        """
        projected = self.project_inputs(inputs)
        if context is None:
            return projected
        term = self.project_context(context)
        return projected + (term.unsqueeze(1) if term.dim() == 2 else term)

    @abstractmethod
    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_xh x + b``: ``(…, input)`` -> ``(…, gates)``."""

    @abstractmethod
    def project_context(self, context: Tensor) -> Tensor:
        """The lecture's ``W_ih v``: ``(…, context)`` -> ``(…, gates)``."""

    @abstractmethod
    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One time step: ``projected (batch, gates)`` and the state before -> the state after.

        ``context (batch, context)`` is one that only this step has, such as what attention read:
        ``W_ih z_t`` is added to what was projected.
        """

    def add_context(self, projected: Tensor, context: Tensor) -> Tensor:
        """``projected + W_ih v``, both ``(rows, …)``."""
        return projected + self.project_context(context)

    def output(self, state: State) -> Tensor:
        """What others read of a state: ``(batch, hidden)``."""
        return state[0]

    def run(self, inputs: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """:meth:`scan` from the inputs, ``(steps, input)``, of a sequence without context."""
        return self.scan(self.project_inputs(inputs), state, sizes)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; :func:`unroll` is the door to it.

        ``projected (steps, gates)`` and ``sizes`` as :class:`Packing` lays them out, ``state`` with
        its rows in that order. Returns outputs ``(steps, hidden)`` and the state after each row's
        last step. A cell that knows a faster way to the same numbers overrides this.
        """
        if not sizes:
            return projected.new_zeros(0, self.hidden_size), state
        return loop(self.step, self.output, projected, state, sizes)


class ContextCell(Cell):
    """A cell with one matrix for the context: ``weight_context (gates, context)``, or None.

    ``gates`` are as many as :meth:`project_inputs` gives. All parameters start uniform in
    ±1/√hidden, as those of torch's recurrent modules do.
    """

    weight_context: nn.Parameter | None

    def create_context(self, gates: int) -> None:
        """Makes ``weight_context``; once, in the constructor."""
        self.weight_context = (
            nn.Parameter(torch.empty(gates, self.context_size)) if self.context_size else None
        )

    def reset_parameters(self) -> None:
        """Uniform in ±1/√hidden."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def project_context(self, context: Tensor) -> Tensor:
        """``W_ih v`` for every gate: ``(…, context)`` -> ``(…, gates)``."""
        if self.weight_context is None:
            raise ValueError(f"this {type(self).__name__} has no context: context_size is 0")
        return linear(context, self.weight_context)

    def add_context(self, projected: Tensor, context: Tensor) -> Tensor:
        """``projected + W_ih v`` of one step, ``(batch, …)``, in one call."""
        if self.weight_context is None or projected.dim() != 2:
            return super().add_context(projected, context)
        return add_linear(projected, context, self.weight_context)

    def extra_repr(self) -> str:
        """Sizes, as printed in a module's summary."""
        context = f", context_size={self.context_size}" if self.context_size else ""
        return f"{self.input_size}, {self.hidden_size}{context}"


class PackedCell(ContextCell):
    """A cell whose gates lie side by side in torch's layout, so that torch's weights load.

    ``weight_ih (gates · hidden, input)``, ``weight_hh (gates · hidden, hidden)``, ``bias_ih``,
    ``bias_hh`` and, where there is a context, ``weight_context (gates · hidden, context)``.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def __init__(self, input_size: int, hidden_size: int, context_size: int = 0) -> None:
        super().__init__(
            input_size, hidden_size, context_size, state_sizes=(hidden_size,) * self.states
        )
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        self.create_context(rows)
        self.reset_parameters()
        self.register_load_state_dict_pre_hook(_accept_layer_suffix)  # type: ignore[no-untyped-call]

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_xh x + b_ih + b_hh``: ``(…, input)`` -> ``(…, gates · hidden)``."""
        return linear(inputs, self.weight_ih, self.bias_ih + self.bias_hh)


def _accept_layer_suffix(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_rest: object
) -> None:
    for name in [name for name, _ in module.named_parameters(recurse=False)]:
        if f"{prefix}{name}_l0" in state_dict:
            state_dict[prefix + name] = state_dict.pop(f"{prefix}{name}_l0")
