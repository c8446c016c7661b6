"""A unit held at a value: what does the model then believe? A cause, not only a correlation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.explain.units.recording import RecurrentModel, locate
from captioner.recurrent import LSTM, Cell, Stack, State


@torch.inference_mode()
def believe(
    model: RecurrentModel,
    tokens: Sequence[int],
    held: Mapping[str, float | NDArray[np.floating]] | None = None,
    *,
    streams: int = 1,
) -> NDArray[np.float32]:
    """Log-probabilities ``(T, V)`` of what follows each character, with units held.

    ``held``: unit -> the value that it has after every step, or ``(T,)`` of them, not a number
    where it is let alone. A held cell state ``c`` also changes what the layer gives out:
    ``h = o · tanh(c)``, with the output gate as it was. ``streams`` as in ``record``.
    """
    length = len(tokens) // streams
    rows = torch.as_tensor(np.asarray(tokens, dtype=np.int64)[: length * streams])
    rows = rows.view(streams, length)
    places = {}
    for name, value in (held or {}).items():
        values = np.broadcast_to(np.asarray(value, dtype=np.float32), (length * streams,))
        places[locate(model.cell, name)] = torch.tensor(values.reshape(streams, length))
    state = model.initial_state(streams)
    found = []
    for time in range(length):
        logits, state = model.advance(rows[:, time], state)
        if places:
            state = _hold(model.cell, state, {at: v[:, time] for at, v in places.items()})
            logits = model.logits(model.cell.output(state))  # type: ignore[attr-defined]
        found.append(logits.float().log_softmax(1).numpy())
    return np.stack(found, 1).reshape(length * streams, -1)


def _hold(cell: Cell, state: State, values: Mapping[tuple[int, int], Tensor]) -> State:
    parts = [part.clone() for part in state]
    outputs = _outputs_of_cells(cell)
    for (part, place), value in values.items():
        before = parts[part][:, place]
        after = torch.where(value.isnan(), before, value)
        if part in outputs:
            gate = parts[outputs[part]][:, place] / before.tanh()
            gate = torch.where(before.abs() > 1e-6, gate, torch.full_like(gate, 0.5))
            changed = gate * after.tanh()
            kept = parts[outputs[part]][:, place]
            parts[outputs[part]][:, place] = torch.where(value.isnan(), kept, changed)
        parts[part][:, place] = after
    return tuple(parts)


def _outputs_of_cells(cell: Cell) -> dict[int, int]:
    """Which part of the state is ``c`` of which ``h = o · tanh(c)``: those of LSTM layers."""
    layers = list(cell.cells) if isinstance(cell, Stack) else [cell]
    found, first = {}, 0
    for layer in layers:
        assert isinstance(layer, Cell)
        if isinstance(layer, LSTM):
            found[first + 1] = first
        first += len(layer.state_sizes)
    return found
