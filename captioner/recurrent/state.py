"""What a recurrent network carries from step to step, and the three ways to move it.

A state is a tuple of tensors, each batch first. The functions also serve any other tuple of
batch-first tensors that has to move along with a state (a search's memory, scores, histories).
"""

from __future__ import annotations

import torch
from torch import Tensor

State = tuple[Tensor, ...]


def select(state: State, index: Tensor) -> State:
    """The rows ``index (rows,)`` (int64) of every part, in that order; a row may come twice.

    Beam search reorders and repeats hypotheses with it.
    """
    return tuple(part.index_select(0, index) for part in state)


def detach(state: State) -> State:
    """The same values without their history: where truncated backpropagation through time cuts."""
    return tuple(part.detach() for part in state)


def blend(mask: Tensor, new: State, old: State) -> State:
    """``new`` in the rows where ``mask (batch,)`` is true, ``old`` in the others.

    Lengths are honoured with it: a sequence that has ended keeps its old state.
    """
    return tuple(
        torch.where(mask.view(-1, *[1] * (after.dim() - 1)), after, before)
        for after, before in zip(new, old, strict=True)
    )
