"""Recurrent matrices whose gradient is one product over all steps.

Backpropagation through time sums ``δ_tᵀ u_t`` over the steps, with ``δ_t`` the gradient of the
pre-activation and ``u_t`` what the matrix met. Under plain autograd that is a product and an
addition of the whole matrix at each step; here ``δ`` of all steps lies stacked already, as the
gradient of what was projected, and is multiplied once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.recurrent.linear import add_linear
from captioner.recurrent.packing import loop_parts
from captioner.recurrent.state import State

Product = Callable[[Tensor, Tensor], Tensor]
"""``(added, inputs)`` -> ``added + inputs Wᵀ`` for one step: ``(rows, out)``, ``(rows, in)``."""


def product_of(weight: Tensor) -> Product:
    """The plain one."""
    return lambda added, inputs: add_linear(added, inputs, weight)


class DeferredWeight:
    """``weight (out, in)`` over the steps of one run; an instance is a :data:`Product`.

    :meth:`over` goes first: it takes what the products of all steps are added to, ``(steps, out)``,
    and gives the same numbers. Then the instance takes these step by step, all in order and each
    once. The matrix's first derivative comes out of :meth:`over`, higher ones out of the steps, as
    plain autograd has it.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.met: list[Tensor] = []  # values only: a graph in here would hold itself

    def over(self, added: Tensor) -> Tensor:
        """``added (steps, out)``, from whose gradient the matrix's is made."""
        found: Tensor = _Over.apply(added, self.weight, self.met)
        return found

    def __call__(self, added: Tensor, inputs: Tensor) -> Tensor:
        """``added (rows, out) + inputs (rows, in) Wᵀ``."""
        self.met.append(inputs.detach())
        product: Tensor = _At.apply(added, inputs, self.weight)
        return product


def scan_deferred(
    step: Callable[[Sequence[Tensor], State, Sequence[Product]], State],
    parts: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    state: State,
    sizes: list[int],
) -> tuple[Tensor, State]:
    """A cell's ``scan`` with all its matrices deferred; its h is the state's first part.

    ``parts``: what was projected, cut into what each matrix's product is added to, ``(steps, …)``,
    with the matrix at the same place of ``weights``, or None. ``step`` gets a step's parts, the
    state, and a product for each matrix there is. Under autocast all follow the first part's dtype.
    """
    dtype = parts[0].dtype
    parts = [part.to(dtype) for part in parts]
    products: list[Product] = []
    for place, weight in enumerate(weights):
        if weight is not None:
            deferred = DeferredWeight(weight.to(dtype))
            parts[place] = deferred.over(parts[place])
            products.append(deferred)
    with torch.autocast(parts[0].device.type, enabled=False):
        return loop_parts(
            lambda pieces, state: step(pieces, state, products),
            lambda state: state[0],
            parts,
            tuple(part.to(dtype) for part in state),
            sizes,
        )


class _Over(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, added: Tensor, weight: Tensor, met: list[Tensor]) -> Tensor:
        ctx.met = met
        return added.view_as(added)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = grads
        if torch.is_grad_enabled() or not ctx.needs_input_grad[1]:
            return delta, None, None
        return delta, delta.t() @ torch.cat(ctx.met), None


class _At(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, added: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return torch.addmm(added, inputs, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (delta,), (inputs, weight) = grads, ctx.saved_tensors
        back = delta @ weight if ctx.needs_input_grad[1] else None
        if torch.is_grad_enabled() and ctx.needs_input_grad[2]:
            return delta, back, delta.t() @ inputs
        return delta, back, None
