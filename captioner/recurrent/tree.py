"""A cell built from a specification: the search space of Zoph & Le 2017 as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from captioner.recurrent.leaves import LeafCell
from captioner.recurrent.state import State
from captioner.recurrent.tree_specification import (
    ACTIVATIONS,
    OPERATIONS,
    TreeSpecification,
    read_specification,
)


class TreeCell(LeafCell):
    """Leaf i is ``act(op(X_i, M_i))``, an inner node ``act(op(left, right))``, the root is h.

    ``specification``: see :func:`~captioner.recurrent.tree_specification.read_specification`; with
    ``"nas"`` the cell equals :class:`~captioner.recurrent.nas.NASCell`, state dict included. The
    context enters every leaf on the input's side X. The state is ``(h, c)``, or ``(h,)`` where the
    tree has no c. Nothing bounds a tree of sums and products: its state may grow without end.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_size: int = 0,
        *,
        specification: str | Mapping[str, Any] | TreeSpecification = "nas",
    ) -> None:
        tree = read_specification(specification)
        states = 1 if tree.cell_out is None else 2
        super().__init__(input_size, hidden_size, context_size, leaves=tree.leaves, states=states)
        self.specification = tree

    def combine(self, inputs: Tensor, hidden: Tensor, state: State) -> State:
        """Leaves, then level by level to the root."""
        tree = self.specification
        lefts, rights = inputs.chunk(tree.leaves, 1), hidden.chunk(tree.leaves, 1)
        values: list[Tensor] = []
        memory: Tensor | None = None
        for number, (operation, activation) in enumerate(tree.nodes):
            if number < tree.leaves:
                left, right = lefts[number], rights[number]
            else:
                below = 2 * (number - tree.leaves)
                left, right = values[below], values[below + 1]
            value = OPERATIONS[operation](left, right)
            if number == tree.cell_out:
                memory = value
            value = ACTIVATIONS[activation](value)
            if tree.inject is not None and number == tree.inject[0]:
                _, operation, activation = tree.inject
                value = ACTIVATIONS[activation](OPERATIONS[operation](value, state[1]))
            values.append(value)
        return (values[-1],) if memory is None else (values[-1], memory)

    def extra_repr(self) -> str:
        """Sizes and leaves, as printed in a module's summary."""
        return f"{super().extra_repr()}, leaves={self.leaves}"
