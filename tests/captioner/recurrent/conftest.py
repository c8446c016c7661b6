"""One thread, a fixed seed, and the cells that every contract is held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from captioner.recurrent import CELLS, Cell, build_cell

INPUT, HIDDEN, CONTEXT = 3, 4, 2


@pytest.fixture(autouse=True)
def one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=[(name, layers) for name in CELLS for layers in (1, 2)], ids=str)
def cell(request: pytest.FixtureRequest) -> Cell:
    """Every registered cell, alone and as a stack of two, in float64, with a context."""
    name, layers = request.param
    cell = build_cell(name, INPUT, HIDDEN, num_layers=layers, context_size=CONTEXT)
    return cell.double()
