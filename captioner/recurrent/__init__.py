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
from captioner.recurrent.stack import Stack
from captioner.recurrent.state import State, blend, detach, select
from captioner.recurrent.unroll import reverse, unroll

CELLS: dict[str, type[Cell]] = {
    "elman": Elman,
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": GRUResetBefore,
}

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "Bidirectional",
    "Cell",
    "Elman",
    "GRUResetBefore",
    "Stack",
    "State",
    "blend",
    "build_cell",
    "detach",
    "linear",
    "prepack",
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

    ``context_size`` is the lowest layer's, ``dropout`` falls between layers (one layer has none),
    ``options`` go to every layer. Raises :class:`InvalidOption` for a name that is not listed.
    """
    if name not in CELLS:
        raise InvalidOption(f"Cell {name!r} is unknown.", hint=f"One of: {', '.join(CELLS)}.")
    if num_layers < 1:
        raise InvalidOption(f"num_layers is {num_layers}.", hint="At least 1.")
    kind: Any = CELLS[name]
    cells: list[Cell] = [kind(input_size, hidden_size, context_size, **options)]
    cells += [kind(hidden_size, hidden_size, **options) for _ in range(num_layers - 1)]
    return cells[0] if num_layers == 1 else Stack(cells, dropout)
