"""What is inside a cell's step: its gates, its additive path, its hidden-hidden matrices.

Everything is recomputed from what the step was given, so that cells need not keep it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.recurrent import GRU, LSTM, Cell, Elman, GRUResetBefore, State
from captioner.recurrent.cell import PackedCell
from captioner.recurrent.deferred import product_of
from captioner.recurrent.leaves import LeafCell
from captioner.recurrent.mut import MUT1, MUT2, MUT3, Mutation
from captioner.recurrent.nas import NASCell
from captioner.recurrent.tree import TreeCell

_GATES: dict[type[Cell], tuple[str, ...]] = {
    Elman: ("h",),
    LSTM: ("i", "f", "g", "o"),
    GRU: ("r", "z", "n"),
    GRUResetBefore: ("r", "z", "n"),
}
_NAS_SIGMOIDS = (0, 2, 5, 7)


def gate_values(cell: Cell, projected: Tensor, state: State) -> dict[str, Tensor]:
    """The sigmoid gates of one step by name, ``(batch, hidden)`` each, from 0 to 1.

    ``projected (batch, gates)`` with the context in it, ``state`` before the step. None of an
    Elman, of leaves 0 to B - 1 of a tree those that are sigmoids.
    """
    hidden = state[0]
    if isinstance(cell, LSTM):
        i, f, _, o = (projected + hidden @ cell.weight_hh.t()).chunk(4, 1)
        return {"i": torch.sigmoid(i), "f": torch.sigmoid(f), "o": torch.sigmoid(o)}
    if isinstance(cell, GRU | GRUResetBefore):
        r, z, _ = (projected + hidden @ cell.weight_hh.t()).chunk(3, 1)
        return {"r": torch.sigmoid(r), "z": torch.sigmoid(z)}
    if isinstance(cell, Mutation):
        parts, weights = zip(*cell.parts(projected), strict=True)
        products = [product_of(weight) for weight in weights if weight is not None]
        z, r = cell.gates(parts, hidden, products)
        return {"r": r, "z": z}
    if isinstance(cell, LeafCell):
        inputs, own = projected.chunk(cell.leaves, 1), hidden @ cell.weight_hh.t() + cell.bias
        pieces = own.chunk(cell.leaves, 1)
        chosen: Sequence[int] = _NAS_SIGMOIDS if isinstance(cell, NASCell) else ()
        if isinstance(cell, TreeCell):
            nodes = cell.specification.nodes[: cell.leaves]
            chosen = [n for n, node in enumerate(nodes) if node == ("add", "sigmoid")]
        return {f"leaf {n}": torch.sigmoid(inputs[n] + pieces[n]) for n in chosen}
    return {}


def highway(cell: Cell, projected: Tensor, state: State) -> Tensor | None:
    """``∂c_t / ∂c_{t-1}`` of each unit along the additive path, ``(batch, hidden)``.

    An LSTM's f with h held fixed, of NASCell ``l2_1 (1 - l2_0²)``; in general the derivative of the
    state's last part by itself, with h fixed. Of GRU and MUT1 to MUT3, which have no c, it is what
    h_{t-1} is multiplied with on its straight way to h_t: z, or 1 - z. None for an Elman.
    """
    if len(state) == 1:
        gates = gate_values(cell, projected, state)
        if isinstance(cell, Mutation):
            return 1 - gates["z"]
        return gates["z"] if isinstance(cell, GRU | GRUResetBefore) else None
    with torch.enable_grad():
        memory = state[-1].detach().requires_grad_()
        after = cell.step(projected.detach(), (*(part.detach() for part in state[:-1]), memory))
        # Every unit's c depends on its own c alone: the sum's gradient is the diagonal.
        (diagonal,) = torch.autograd.grad(after[-1].sum(), memory)
    return diagonal


def hidden_matrices(cell: Cell) -> dict[str, Tensor]:
    """``W_hh`` of every gate and candidate by its letter, ``(hidden, hidden)`` each."""
    if isinstance(cell, PackedCell):
        names = _GATES[type(cell)]
        return dict(zip(names, cell.weight_hh.detach().chunk(len(names)), strict=True))
    if isinstance(cell, LeafCell):
        pieces = cell.weight_hh.detach().chunk(cell.leaves)
        return {f"leaf {n}": piece for n, piece in enumerate(pieces)}
    found: dict[str, Tensor] = {}
    if isinstance(cell, MUT1):
        found = {"r": cell.weight_reset}
    elif isinstance(cell, MUT2):
        found = dict(zip("zr", cell.weight_gates.chunk(2), strict=True))
    elif isinstance(cell, MUT3):
        found = {"z": cell.weight_update, "r": cell.weight_reset}
    if isinstance(cell, Mutation):
        found["n"] = cell.weight_candidate
    return {name: weight.detach() for name, weight in found.items()}


def spectrum(matrix: Tensor) -> tuple[float, float]:
    """``(σ_max, ρ)``: the largest singular value and the largest absolute eigenvalue."""
    values = matrix.detach().double().cpu()
    largest = torch.linalg.matrix_norm(values, ord=2)
    return float(largest), float(torch.linalg.eigvals(values).abs().max())
