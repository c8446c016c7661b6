"""MUT1, MUT2 and MUT3: what a search through ten thousand architectures found best.

Jozefowicz, Zaremba & Sutskever 2015, "An Empirical Exploration of Recurrent Network Architectures"
(ICML), the box with the three best. In all of them ``z`` weighs the *candidate*, the opposite of
:class:`~captioner.recurrent.gru.GRU`, and the reset gate acts before the matrix.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from captioner.errors import InvalidOption
from captioner.recurrent.cell import ContextCell
from captioner.recurrent.deferred import Product, product_of, scan_deferred
from captioner.recurrent.linear import linear
from captioner.recurrent.state import State

Gates = tuple[Tensor, Tensor]


class Mutation(ContextCell):
    """What the three share: gates z and r, a candidate n, ``h_t = n ⊙ z + h_{t-1} ⊙ (1 - z)``.

    The context enters each of the three pre-activations: z's, r's, and n's, where it stands inside
    the outer tanh beside ``b_h`` (in MUT1 beside ``tanh(x)``, not inside of it). Rows of the bias,
    of ``weight_context`` and of what :meth:`project_inputs` gives are those of z, r and n.

    MUT1 and MUT2 have x itself in one place, where it must be as wide as h. ``project_input``: None
    puts ``P x``, learned and without bias, into that place where the widths differ; True always;
    False never, and raises :class:`InvalidOption` where they differ. MUT3 has no such place.
    ``update_bias``: what ``b_z`` starts from, negative to keep what is known; None starts it as the
    others. The state is ``(h,)``.
    """

    reads_bare_input: ClassVar[bool] = True
    input_matrices: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_size: int = 0,
        *,
        project_input: bool | None = None,
        update_bias: float | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, context_size, state_sizes=(hidden_size,))
        fits = input_size == hidden_size or not self.reads_bare_input
        if project_input is False and not fits:
            raise InvalidOption(
                f"{type(self).__name__} with project_input=False reads {input_size} numbers into "
                f"{hidden_size} units.",
                hint="Make both equal, or leave project_input out.",
            )
        projects = self.reads_bare_input and (not fits if project_input is None else project_input)
        self.update_bias = update_bias
        self.weight_ih = nn.Parameter(torch.empty(self.input_matrices * hidden_size, input_size))
        self.weight_input: nn.Parameter | None = (
            nn.Parameter(torch.empty(hidden_size, input_size)) if projects else None
        )
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.create_hidden()
        self.weight_candidate = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.create_context(3 * hidden_size)
        self.reset_parameters()

    @abstractmethod
    def create_hidden(self) -> None:
        """Makes the gates' hidden-hidden matrices."""

    @abstractmethod
    def parts(self, projected: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """A projection ``(…, 3 · hidden)``, cut, each part with the matrix that is added to it."""

    @abstractmethod
    def gates(self, parts: Sequence[Tensor], hidden: Tensor, products: Sequence[Product]) -> Gates:
        """z and r from the parts of one step, with a product for each matrix."""

    def reset_parameters(self) -> None:
        """Uniform in ±1/√hidden; the bias of z as the constructor was told."""
        super().reset_parameters()
        if self.update_bias is not None:
            nn.init.constant_(self.bias[: self.hidden_size], self.update_bias)

    def bare(self, inputs: Tensor) -> Tensor:
        """x where it stands without a matrix, or ``P x``."""
        return inputs if self.weight_input is None else linear(inputs, self.weight_input)

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        if context is not None:
            projected = self.add_context(projected, context)
        parts, weights = zip(*self.parts(projected), strict=True)
        products = [product_of(weight) for weight in weights if weight is not None]
        return self._update(parts, state, products)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; each matrix's gradient is one product over all."""
        if not sizes or not torch.is_grad_enabled():
            return super().scan(projected, state, sizes)
        parts, weights = zip(*self.parts(projected), strict=True)
        return scan_deferred(self._update, parts, weights, state, sizes)

    def _update(self, parts: Sequence[Tensor], state: State, products: Sequence[Product]) -> State:
        (hidden,) = state
        update, reset = self.gates(parts, hidden, products)
        new = torch.tanh(products[-1](parts[-1], reset * hidden))
        return (torch.lerp(hidden, new.to(hidden.dtype), update.to(hidden.dtype)),)


class MUT1(Mutation):
    """``z = σ(W_xz x + b_z)``, ``r = σ(W_xr x + W_hr h + b_r)``, no ``W_hz``.

    ``n = tanh(W_hh (r ⊙ h) + tanh(x) + b_h)``.
    """

    input_matrices: ClassVar[int] = 2

    def create_hidden(self) -> None:
        """``W_hr``."""
        self.weight_reset = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))

    def parts(self, projected: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """z has no matrix."""
        z, r, n = projected.chunk(3, -1)
        return [(z, None), (r, self.weight_reset), (n, self.weight_candidate)]

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_xz x + b_z``, ``W_xr x + b_r``, ``tanh(x) + b_h``."""
        gates, candidate = self.bias.split_with_sizes([2 * self.hidden_size, self.hidden_size])
        bare = torch.tanh(self.bare(inputs)) + candidate
        return torch.cat([linear(inputs, self.weight_ih, gates), bare], -1)

    def gates(self, parts: Sequence[Tensor], hidden: Tensor, products: Sequence[Product]) -> Gates:
        """z without a look at the state, and r."""
        return torch.sigmoid(parts[0]), torch.sigmoid(products[0](parts[1], hidden))


class MUT2(Mutation):
    """``z = σ(W_xz x + W_hz h + b_z)``, ``r = σ(x + W_hr h + b_r)``.

    ``n = tanh(W_hh (r ⊙ h) + W_xh x + b_h)``.
    """

    input_matrices: ClassVar[int] = 2

    def create_hidden(self) -> None:
        """``W_hz`` and ``W_hr``, one below the other."""
        self.weight_gates = nn.Parameter(torch.empty(2 * self.hidden_size, self.hidden_size))

    def parts(self, projected: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """z and r as one."""
        gates, n = projected.split_with_sizes([2 * self.hidden_size, self.hidden_size], -1)
        return [(gates, self.weight_gates), (n, self.weight_candidate)]

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_xz x + b_z``, ``x + b_r``, ``W_xh x + b_h``."""
        update, reset, candidate = self.bias.chunk(3)
        first, last = self.weight_ih.chunk(2)
        bare = self.bare(inputs) + reset
        return torch.cat([linear(inputs, first, update), bare, linear(inputs, last, candidate)], -1)

    def gates(self, parts: Sequence[Tensor], hidden: Tensor, products: Sequence[Product]) -> Gates:
        """z and r out of one product."""
        update, reset = torch.sigmoid(products[0](parts[0], hidden)).chunk(2, 1)
        return update, reset


class MUT3(Mutation):
    """``z = σ(W_xz x + W_hz tanh(h) + b_z)``, ``r = σ(W_xr x + W_hr h + b_r)``.

    ``n = tanh(W_hh (r ⊙ h) + W_xh x + b_h)``.
    """

    input_matrices: ClassVar[int] = 3
    reads_bare_input: ClassVar[bool] = False

    def create_hidden(self) -> None:
        """``W_hz`` and ``W_hr``."""
        self.weight_update = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))
        self.weight_reset = nn.Parameter(torch.empty(self.hidden_size, self.hidden_size))

    def parts(self, projected: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """z, r and n."""
        weights = (self.weight_update, self.weight_reset, self.weight_candidate)
        return list(zip(projected.chunk(3, -1), weights, strict=True))

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_x x + b`` of z, r and n."""
        return linear(inputs, self.weight_ih, self.bias)

    def gates(self, parts: Sequence[Tensor], hidden: Tensor, products: Sequence[Product]) -> Gates:
        """z looks at ``tanh(h)``, r at h."""
        z, r = products[0](parts[0], torch.tanh(hidden)), products[1](parts[1], hidden)
        return torch.sigmoid(z), torch.sigmoid(r)
