"""What a search asks of a model: one step at a time, many rows at once."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from captioner.recurrent import State

Memory = tuple[Tensor, ...]
"""What stays the same over all steps of a search, batch first: keys and values of an attention,
gates of an image, a mask. One row for each image (sentence, prompt) that is searched for."""


class Step(NamedTuple):
    """What one step gives: ``logits (rows, V)``, the state after it, and where it looked."""

    logits: Tensor
    state: State
    weights: Tensor | None = None
    """``(rows, positions)``, or None for a model without attention."""


class TokenModel(Protocol):
    """A model that emits tokens; every search takes any of them.

    A search runs ``K`` rows (beams, samples) for each row of the memory: side by side, equally many
    for all, ``rows = len(memory[0]) * K``. Memory is never repeated, so an attention reads an
    image's keys once for all its beams. ``K`` and the number of images change from step to step,
    as beams open and images are done. A model that wants a row of memory for each row says
    ``memory = repeat(memory, len(tokens))``.

    One that has a true ``shares_states`` is given ``parents (rows,)`` as a fourth argument of
    :meth:`advance` where many rows go on from fewer states: which of them each token goes on from.
    """

    @property
    def vocabulary_size(self) -> int:
        """V; ids are 0 … V - 1."""

    @property
    def start_id(self) -> int:
        """The token before the first."""

    @property
    def end_id(self) -> int:
        """The token after the last."""

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Never emitted: padding, start, unknown."""

    def begin(self, memory: Memory) -> State:
        """The state before the start token, one row for each row of ``memory``."""

    def advance(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        """Reads ``tokens (rows,)`` (int64) and says what may follow."""


def repeat(memory: Memory, rows: int) -> Memory:
    """Every row of ``memory`` as often as needed for ``rows`` in all, its copies side by side."""
    return tuple(
        part if part.shape[0] == rows else part.repeat_interleave(rows // part.shape[0], 0)
        for part in memory
    )
