"""Sequences of different lengths as one block without padding, as torch's packed sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captioner.recurrent.state import State, select


class Packing:
    """Which rows of a padded batch take part in which step.

    Rows are sorted by length, the longest first, so that those still running at a step are always
    the first ones; then all real steps are laid one after the other: all rows' first steps, all
    second steps, … . ``sizes[t]`` is how many rows take part in step t; it never grows and never is
    zero. ``lengths=None``: every row has ``time`` steps.
    """

    def __init__(self, batch: int, time: int, lengths: Tensor | None, device: torch.device) -> None:
        self.batch, self.time = batch, time
        if lengths is None:
            self.sizes = [batch] * time if batch else []
            self.order: Tensor | None = None
            return
        if lengths.shape != (batch,) or lengths.is_floating_point():
            raise ValueError(
                f"lengths are {lengths.dtype} of shape {tuple(lengths.shape)} where integers "
                f"of shape ({batch},) are expected"
            )
        lengths = lengths.cpu()  # the loop over time needs the sizes as plain numbers
        if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
            raise ValueError(f"lengths {lengths.tolist()} are not all within 0 and {time} steps")
        ordered, order = lengths.sort(descending=True, stable=True)
        active = torch.arange(time).unsqueeze(1) < ordered  # (time, batch)
        self.sizes = [size for size in active.sum(1).tolist() if size]
        places = order * time + torch.arange(time).unsqueeze(1)
        self.order = order.to(device)
        self.inverse = order.argsort().to(device)
        self.rows = active.nonzero()[:, 1].to(device)
        self.places = places[active].to(device)

    def pack(self, sequence: Tensor) -> Tensor:
        """``(batch, time, …)`` -> ``(steps, …)``, the real steps only."""
        if self.order is None:
            return sequence.transpose(0, 1).flatten(0, 1)
        return sequence.flatten(0, 1).index_select(0, self.places)

    def unpack(self, packed: Tensor) -> Tensor:
        """``(steps, …)`` -> ``(batch, time, …)``, zeros past each row's end."""
        shape = packed.shape[1:]
        if self.order is None:
            return packed.view(self.time, self.batch, *shape).transpose(0, 1)
        padded = packed.new_zeros(self.batch * self.time, *shape)
        return padded.index_copy(0, self.places, packed).view(self.batch, self.time, *shape)

    def add_rows(self, packed: Tensor, rows: Tensor) -> Tensor:
        """Adds ``rows (batch, …)``, one a sequence, to each of the sequence's steps."""
        if self.order is None:
            return (packed.view(self.time, *rows.shape) + rows).flatten(0, 1)
        return packed + self.sort((rows,))[0].index_select(0, self.rows)

    def sort(self, state: State) -> State:
        """A state's rows from the batch's order into this one's."""
        return state if self.order is None else select(state, self.order)

    def unsort(self, state: State) -> State:
        """A state's rows back into the batch's order."""
        return state if self.order is None else select(state, self.inverse)


def loop(
    step: Callable[[Tensor, State], State],
    output: Callable[[State], Tensor],
    projected: Tensor,
    state: State,
    sizes: list[int],
) -> tuple[Tensor, State]:
    """``step`` over packed sequences of at least one step, the plain way.

    ``projected (steps, gates)``, ``state`` in the packing's order -> ``output`` of every step's
    state, ``(steps, hidden)``, and the state after each row's last step.
    """
    return loop_parts(lambda parts, state: step(parts[0], state), output, [projected], state, sizes)


def loop_parts(
    step: Callable[[Sequence[Tensor], State], State],
    output: Callable[[State], Tensor],
    parts: Sequence[Tensor],
    state: State,
    sizes: list[int],
) -> tuple[Tensor, State]:
    """:func:`loop` over several tensors side by side, each ``(steps, …)``.

    To cut a projection into its gates once for all steps saves autograd to join them at each.
    """
    outputs: list[Tensor] = []
    ended: list[State] = []
    for pieces in zip(*(torch.split(part, sizes) for part in parts), strict=True):
        rows = pieces[0].shape[0]
        if rows < state[0].shape[0]:
            ended.append(tuple(part[rows:] for part in state))
            state = tuple(part[:rows] for part in state)
        state = step(pieces, state)
        outputs.append(output(state))
    if ended:  # the shortest sequences, which lie last, ended first
        joined = zip(state, *reversed(ended), strict=True)
        state = tuple(torch.cat(pieces) for pieces in joined)
    return torch.cat(outputs), state
