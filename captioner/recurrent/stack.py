"""Cells on top of each other: a deep cell that is used like a single one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from captioner.recurrent.cell import Cell
from captioner.recurrent.state import State


class Stack(Cell):
    """Each cell reads the output of the one below; the lowest reads the inputs and the context.

    ``dropout`` falls on what passes from one layer to the next, newly drawn at each step, never on
    the inputs or the top. The state is all of the cells' states in order, the lowest first;
    :meth:`output` is the top's. The state dict of a ``torch.nn`` network of as many layers loads.
    """

    def __init__(self, cells: Sequence[Cell], dropout: float = 0.0) -> None:
        if not cells:
            raise ValueError("a stack needs at least one cell")
        for below, above in itertools.pairwise(cells):
            if above.input_size != below.hidden_size:
                raise ValueError(
                    f"a cell that reads {above.input_size} numbers cannot stand on one "
                    f"that gives {below.hidden_size}"
                )
        super().__init__(
            cells[0].input_size,
            cells[-1].hidden_size,
            cells[0].context_size,
            state_sizes=tuple(size for cell in cells for size in cell.state_sizes),
        )
        self.cells = nn.ModuleList(cells)
        self.dropout = dropout
        self.register_load_state_dict_pre_hook(_accept_torch_layers)  # type: ignore[no-untyped-call]

    def initial_state(self, batch_size: int, *, like: Tensor) -> State:
        """The initial states of all cells, the lowest first."""
        layers = (cell.initial_state(batch_size, like=like) for cell in self._layers())
        return tuple(part for layer in layers for part in layer)

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """The lowest cell's projection."""
        return self._layers()[0].project_inputs(inputs)

    def project_context(self, context: Tensor) -> Tensor:
        """The lowest cell's projection."""
        return self._layers()[0].project_context(context)

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step of every layer; ``projected`` and ``context`` are the lowest's."""
        (lowest, first), *above = zip(self._layers(), self._split(state), strict=True)
        below, after = lowest, lowest.step(projected, first, context)
        layer = after
        for cell, part in above:
            layer = cell.step(cell.project_inputs(self._drop(below.output(layer))), part)
            below, after = cell, after + layer
        return after

    def output(self, state: State) -> Tensor:
        """The top layer's: ``(batch, hidden)``."""
        return self._layers()[-1].output(self._split(state)[-1])

    def run(self, inputs: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences from their inputs, one layer after the other."""
        outputs, after = self._layers()[0].run(inputs, self._split(state)[0], sizes)
        return self._run_above(outputs, after, state, sizes)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences; ``projected`` is the lowest layer's."""
        outputs, after = self._layers()[0].scan(projected, self._split(state)[0], sizes)
        return self._run_above(outputs, after, state, sizes)

    def _run_above(
        self, outputs: Tensor, after: State, state: State, sizes: list[int]
    ) -> tuple[Tensor, State]:
        for cell, part in zip(self._layers()[1:], self._split(state)[1:], strict=True):
            outputs, layer = cell.run(self._drop(outputs), part, sizes)
            after += layer
        return outputs, after

    def _layers(self) -> list[Cell]:
        return list(self.cells)  # type: ignore[arg-type]

    def _split(self, state: State) -> list[State]:
        parts = iter(state)
        return [tuple(next(parts) for _ in cell.state_sizes) for cell in self._layers()]

    def _drop(self, outputs: Tensor) -> Tensor:
        return functional.dropout(outputs, self.dropout, self.training) if self.dropout else outputs


_LAYER = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)")


def _accept_torch_layers(
    _module: nn.Module, state_dict: dict[str, Any], prefix: str, *_rest: object
) -> None:
    for key in list(state_dict):
        match = _LAYER.fullmatch(key.removeprefix(prefix)) if key.startswith(prefix) else None
        if match:
            state_dict[f"{prefix}cells.{match[2]}.{match[1]}"] = state_dict.pop(key)
