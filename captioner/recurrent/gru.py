"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078), in both orders of reset and matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from captioner.recurrent.cell import PackedCell
from captioner.recurrent.deferred import Product, product_of, scan_deferred
from captioner.recurrent.linear import linear
from captioner.recurrent.state import State


class GRU(PackedCell):
    """``h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}``, ``n = tanh(n_x + r ⊙ (W_hn h_{t-1} + b_hn))``.

    torch's variant: the reset gate acts after the matrix. Gates r, z, n in torch's order;
    ``r = σ(·)``, ``z = σ(·)`` of ``W_xh x_t + W_hh h_{t-1} + W_ih v + b``. The context enters n on
    the input's side, ``n_x``, outside of the reset gate. The state is ``(h,)``.
    """

    gates: ClassVar[int] = 3

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """``W_xh x + b``; of ``b_hh`` the last part, which r scales, waits for the step."""
        early = self.bias_hh[: 2 * self.hidden_size]
        bias = self.bias_ih + functional.pad(early, (0, self.hidden_size))
        return linear(inputs, self.weight_ih, bias)

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        (hidden,) = state
        if context is not None:
            projected = self.add_context(projected, context)
        both = 2 * self.hidden_size
        recurrent = linear(hidden, self.weight_hh)
        gates = torch.sigmoid(projected[:, :both] + recurrent[:, :both])
        new = recurrent[:, both:] + self.bias_hh[both:]
        return _reset_after(gates, projected[:, both:], new, hidden)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; the gradient of ``weight_hh`` is two products over all."""
        if not sizes or not torch.is_grad_enabled():
            return super().scan(projected, state, sizes)
        both = [2 * self.hidden_size, self.hidden_size]
        gates, new = projected.split_with_sizes(both, 1)
        weights = self.weight_hh.split_with_sizes(both)
        parts = [gates, self.bias_hh[both[0] :].expand(len(projected), -1), new]
        return scan_deferred(_update_after, parts, [*weights, None], state, sizes)


def _update_after(parts: Sequence[Tensor], state: State, products: Sequence[Product]) -> State:
    (hidden,) = state
    gates = torch.sigmoid(products[0](parts[0], hidden))
    return _reset_after(gates, parts[2], products[1](parts[1], hidden), hidden)


def _reset_after(gates: Tensor, new: Tensor, recurrent: Tensor, hidden: Tensor) -> State:
    reset, update = gates.chunk(2, 1)
    new = torch.tanh(torch.addcmul(new, reset, recurrent))
    return (new + update * (hidden - new),)


def gru_update(gates: Tensor, recurrent: Tensor, hidden: Tensor) -> State:
    """``(h,)`` after a :class:`GRU`'s step; without gradients only.

    ``gates (batch, 3 · hidden)``, which it uses up: all that is added in r and z, and of n what the
    reset gate does not scale; ``recurrent (batch, hidden)``: what it scales.
    """
    size = hidden.shape[1]
    reset, update = gates[:, : 2 * size].sigmoid_().chunk(2, 1)
    new = gates[:, 2 * size :].addcmul_(reset, recurrent).tanh_()
    return (torch.lerp(new, hidden, update),)


class GRUResetBefore(PackedCell):
    """The GRU as first published: ``n = tanh(n_x + W_hn (r ⊙ h_{t-1}))``, the rest as in GRU.

    The reset gate acts before the matrix: a second matrix product that waits for the first, and
    not the same function as torch's. Parameters in torch's layout.
    """

    gates: ClassVar[int] = 3

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        if context is not None:
            projected = self.add_context(projected, context)
        sizes = [2 * self.hidden_size, self.hidden_size]
        products = [product_of(weight) for weight in self.weight_hh.split_with_sizes(sizes)]
        return _update_before(projected.split_with_sizes(sizes, 1), state, products)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; the gradient of ``weight_hh`` is two products over all."""
        if not sizes or not torch.is_grad_enabled():
            return super().scan(projected, state, sizes)
        both = [2 * self.hidden_size, self.hidden_size]
        parts, weights = projected.split_with_sizes(both, 1), self.weight_hh.split_with_sizes(both)
        return scan_deferred(_update_before, parts, weights, state, sizes)


def _update_before(parts: Sequence[Tensor], state: State, products: Sequence[Product]) -> State:
    (hidden,) = state
    reset, update = torch.sigmoid(products[0](parts[0], hidden)).chunk(2, 1)
    new = torch.tanh(products[1](parts[1], reset * hidden))
    return (new + update * (hidden - new),)
