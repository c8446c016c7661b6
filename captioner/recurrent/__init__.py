"""Recurrent cells and how they run over time.

A new cell is a class (see :class:`Cell`) and an entry in :data:`CELLS`; everything that decodes,
labels or encodes takes it by its name from there on.
"""

from __future__ import annotations

from typing import Any

from captioner.errors import InvalidOption
from captioner.recurrent.bidirectional import Bidirectional
from captioner.recurrent.cell import Cell
from captioner.recurrent.elman import Elman
from captioner.recurrent.gru import GRU, GRUResetBefore
from captioner.recurrent.linear import linear, prepack
from captioner.recurrent.lstm import LSTM
from captioner.recurrent.mut import MUT1, MUT2, MUT3
from captioner.recurrent.nas import NASCell
from captioner.recurrent.stack import Stack
from captioner.recurrent.state import State, blend, detach, select
from captioner.recurrent.tree import TreeCell
from captioner.recurrent.tree_specification import TreeSpecification, read_specification
from captioner.recurrent.unroll import reverse, unroll

CELLS: dict[str, type[Cell]] = {
    "elman": Elman,
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": GRUResetBefore,
    "mut1": MUT1,
    "mut2": MUT2,
    "mut3": MUT3,
    "nas": NASCell,
    "tree": TreeCell,
}

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "MUT1",
    "MUT2",
    "MUT3",
    "Bidirectional",
    "Cell",
    "Elman",
    "GRUResetBefore",
    "NASCell",
    "Stack",
    "State",
    "TreeCell",
    "TreeSpecification",
    "blend",
    "build_cell",
    "detach",
    "linear",
    "prepack",
    "read_specification",
    "reverse",
    "select",
    "unroll",
]


def build_cell(
    name: str,
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    context_size: int = 0,
    dropout: float = 0.0,
    **options: Any,
) -> Cell:
    """The cell that :data:`CELLS` lists as ``name``; with ``num_layers > 1`` a stack of it.

    ``tree:SPECIFICATION``, a tree's name or its JSON, is ``tree`` with that specification, so that
    a config says even that in one word. ``context_size`` is the lowest layer's, ``dropout`` falls
    between layers (one layer has none), ``options`` go to every layer. Raises
    :class:`InvalidOption` for a name that is not listed, and for sizes that are none.
    """
    kind, _, specification = name.partition(":")
    if kind not in CELLS or (specification and kind != "tree"):
        raise InvalidOption(f"Cell {name!r} is unknown.", hint=f"One of: {', '.join(CELLS)}.")
    if specification:
        options["specification"] = specification
    if num_layers < 1:
        raise InvalidOption(f"num_layers is {num_layers}.", hint="At least 1.")
    for what, size, least in (
        ("input_size", input_size, 1),
        ("hidden_size", hidden_size, 1),
        ("context_size", context_size, 0),
    ):
        if size < least:
            raise InvalidOption(f"{what} of cell {name!r} is {size}.", hint=f"At least {least}.")
    build: Any = CELLS[kind]
    cells: list[Cell] = [build(input_size, hidden_size, context_size, **options)]
    cells += [build(hidden_size, hidden_size, **options) for _ in range(num_layers - 1)]
    return cells[0] if num_layers == 1 else Stack(cells, dropout)
