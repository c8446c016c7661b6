"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078), in both orders of reset and matrix."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from captioner.recurrent.cell import PackedCell
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
        """``W_xh x + b_ih``; ``b_hh`` waits for the step, where r scales its last part."""
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        (hidden,) = state
        if context is not None:
            projected = self.add_context(projected, context)
        both = 2 * self.hidden_size
        recurrent = linear(hidden, self.weight_hh, self.bias_hh)
        gates = torch.sigmoid(projected[:, :both] + recurrent[:, :both])
        reset, update = gates.chunk(2, 1)
        new = torch.tanh(torch.addcmul(projected[:, both:], reset, recurrent[:, both:]))
        return (new + update * (hidden - new),)


class GRUResetBefore(PackedCell):
    """The GRU as first published: ``n = tanh(n_x + W_hn (r ⊙ h_{t-1}))``, the rest as in GRU.

    The reset gate acts before the matrix: a second matrix product that waits for the first, and
    not the same function as torch's. Parameters in torch's layout.
    """

    gates: ClassVar[int] = 3

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h,)``."""
        (hidden,) = state
        if context is not None:
            projected = self.add_context(projected, context)
        both = 2 * self.hidden_size
        gates = torch.addmm(projected[:, :both], hidden, self.weight_hh[:both].t())
        reset, update = torch.sigmoid(gates).chunk(2, 1)
        new = torch.tanh(
            torch.addmm(projected[:, both:], reset * hidden, self.weight_hh[both:].t())
        )
        return (new + update * (hidden - new),)
