"""Every number of a recurrent network's state after every character of a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.recurrent import Cell, Stack, State

LIKELIEST = 5


class RecurrentModel(Protocol):
    """A model whose state can be looked at, one character at a time."""

    cell: Cell

    def initial_state(self, batch_size: int) -> State:
        """The state before any text."""

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one character each, ``(batch,)``: logits of what follows, and the state."""


@dataclass(frozen=True)
class Recording:
    """What a model's units did over a text of T characters.

    ``states (T, units)``, float16: the whole state *after* each character; ``names``: of its
    columns. ``likeliest (T, 5)``: the characters that are then the likeliest next ones, the best
    first, and ``probabilities (T, 5)``. ``log_probs (T,)``: in nats, of each character given those
    before it; of the first one not a number.
    """

    names: tuple[str, ...]
    states: NDArray[np.float16]
    likeliest: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    log_probs: NDArray[np.float32]

    def __len__(self) -> int:
        """Characters."""
        return len(self.states)

    def column(self, name: str) -> int:
        """The place of a unit. Raises :class:`InvalidOption` for one that is not there."""
        if name not in self.names:
            raise InvalidOption(
                f"There is no unit {name!r}.",
                hint=f"They are {self.names[0]} to {self.names[-1]}, {len(self.names)} in all.",
            )
        return self.names.index(name)

    def shown(self, columns: Sequence[int] | slice = slice(None)) -> NDArray[np.float32]:
        """``(T, n)`` in -1 … 1, as they are coloured: ``tanh(c)`` of a cell state, else as it is.

        A state of a cell without a squashing function is cut off at the ends.
        """
        values = self.states[:, columns].astype(np.float32)
        names = np.array(self.names)[columns]
        cells = np.array([name.startswith("c") for name in names], dtype=bool)
        values[:, cells] = np.tanh(values[:, cells])
        return values.clip(-1, 1)


def unit_names(cell: Cell) -> tuple[str, ...]:
    """A name for every number of a cell's state, in the state's order."""
    layers = list(cell.cells) if isinstance(cell, Stack) else [cell]
    names: list[str] = []
    for number, layer in enumerate(layers, start=1):
        assert isinstance(layer, Cell)
        for part, size in zip("hcdefg", layer.state_sizes, strict=False):
            names += [f"{part}{number}.{place}" for place in range(size)]
    return tuple(names)


def locate(cell: Cell, name: str) -> tuple[int, int]:
    """Which part of a cell's state a unit is in, and where in it.

    Raises :class:`InvalidOption` for a unit that is not there.
    """
    names = unit_names(cell)
    if name not in names:
        raise InvalidOption(
            f"There is no unit {name!r}.",
            hint=f"They are {names[0]} to {names[-1]}, {len(names)} in all.",
        )
    place = names.index(name)
    for part, size in enumerate(cell.state_sizes):
        if place < size:
            return part, place
        place -= size
    raise AssertionError("unreachable: a name for every number")


def watch(state: State, places: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Values of units of one text's state, as they are shown; ``places`` by :func:`locate`."""
    found = {}
    for name, (part, place) in places.items():
        value = float(state[part][0, place])
        found[name] = math.tanh(value) if name.startswith("c") else max(-1.0, min(1.0, value))
    return found


@torch.inference_mode()
def record(model: RecurrentModel, tokens: Sequence[int], *, streams: int = 1) -> Recording:
    """Reads ``tokens`` from an empty state and keeps all states.

    ``streams`` cuts a long text into so many pieces of equal length that are read side by side,
    each from an empty state, which is many times faster; what does not fill them is left out at
    the end. Raises :class:`InvalidOption` if a stream would have no character.
    """
    length = len(tokens) // streams if streams > 0 else 0
    if length < 1:
        raise InvalidOption(
            f"A text of {len(tokens)} characters has no {streams} streams.",
            hint="Give a longer text, or fewer streams.",
        )
    rows = torch.as_tensor(np.asarray(tokens, dtype=np.int64)[: length * streams])
    rows = rows.view(streams, length)
    names = unit_names(model.cell)
    states = np.empty((streams, length, len(names)), dtype=np.float16)
    likeliest = np.empty((streams, length, LIKELIEST), dtype=np.int32)
    probabilities = np.zeros((streams, length, LIKELIEST), dtype=np.float32)
    log_probs = np.full((streams, length), np.nan, dtype=np.float32)
    state = model.initial_state(streams)
    for time in range(length):
        logits, state = model.advance(rows[:, time], state)
        states[:, time] = torch.cat(state, 1).numpy()
        believed = logits.float().log_softmax(1)
        best = believed.topk(min(LIKELIEST, believed.shape[1]), 1)
        count = best.indices.shape[1]
        likeliest[:, time] = -1
        likeliest[:, time, :count] = best.indices.numpy()
        probabilities[:, time, :count] = best.values.exp().numpy()
        if time + 1 < length:
            log_probs[:, time + 1] = believed.gather(1, rows[:, time + 1, None])[:, 0].numpy()
    return Recording(
        names,
        states.reshape(-1, len(names)),
        likeliest.reshape(-1, LIKELIEST),
        probabilities.reshape(-1, LIKELIEST),
        log_probs.reshape(-1),
    )
