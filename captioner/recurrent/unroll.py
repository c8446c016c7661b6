"""A cell over time."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.recurrent.bidirectional import Bidirectional
from captioner.recurrent.cell import Cell
from captioner.recurrent.packing import Packing
from captioner.recurrent.state import State


def unroll(
    cell: Cell | Bidirectional,
    inputs: Tensor,
    *,
    lengths: Tensor | None = None,
    state: State | None = None,
    context: Tensor | None = None,
    context_rows: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Runs ``inputs (batch, time, input)`` through ``cell``.

    ``lengths (batch,)`` (integers, at most time): past its end a row's state stands still and its
    outputs are zero, as with torch's packed sequences; zero leaves a row's state as it came.
    ``state``: before the first step, default :meth:`Cell.initial_state`. ``context``:
    ``(batch, context)``, constant over time, or ``(batch, time, context)``. ``context_rows
    (batch,)``: sequences share contexts, and this says whose ``context[i]`` each has; one that is
    constant over time is projected once for all of them.

    Returns outputs ``(batch, time, hidden)`` and each row's state after its last step.
    """
    if inputs.dim() != 3 or inputs.shape[2] != cell.input_size:
        expected = f"(batch, time, {cell.input_size})"
        raise ValueError(f"inputs of shape {tuple(inputs.shape)} where {expected} is expected")
    if state is None:
        state = cell.initial_state(inputs.shape[0], like=inputs)
    if isinstance(cell, Bidirectional):
        if context is not None and context_rows is not None:
            context = context.index_select(0, context_rows)
        return _unroll_both(cell, inputs, lengths, state, context)
    packing = Packing(inputs.shape[0], inputs.shape[1], lengths, inputs.device)
    packed, state = packing.pack(inputs), packing.sort(state)
    if context is None:
        outputs, state = cell.run(packed, state, packing.sizes)
    else:
        projected = cell.project_inputs(packed)
        if context.dim() == 2:
            term = cell.project_context(context)
            if context_rows is not None:
                term = term.index_select(0, context_rows)
            projected = packing.add_rows(projected, term)
        else:
            if context_rows is not None:
                context = context.index_select(0, context_rows)
            projected = cell.add_context(projected, packing.pack(context))
        outputs, state = cell.scan(projected, state, packing.sizes)
    return packing.unpack(outputs), packing.unsort(state)


def reverse(sequence: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Each row of ``(batch, time, …)`` backwards over its own length; what follows stays there."""
    if lengths is None:
        return sequence.flip(1)
    time = torch.arange(sequence.shape[1], device=sequence.device).unsqueeze(0)
    ends = lengths.to(sequence.device).unsqueeze(1)
    index = torch.where(time < ends, ends - 1 - time, time)
    index = index.view(*index.shape, *[1] * (sequence.dim() - 2))
    return sequence.gather(1, index.expand_as(sequence))


def _unroll_both(
    cell: Bidirectional,
    inputs: Tensor,
    lengths: Tensor | None,
    state: State,
    context: Tensor | None,
) -> tuple[Tensor, State]:
    split = len(cell.ahead.state_sizes)
    ahead, ahead_state = unroll(
        cell.ahead, inputs, lengths=lengths, state=state[:split], context=context
    )
    if context is not None and context.dim() == 3:
        context = reverse(context, lengths)
    back, back_state = unroll(
        cell.back, reverse(inputs, lengths), lengths=lengths, state=state[split:], context=context
    )
    return torch.cat([ahead, reverse(back, lengths)], 2), ahead_state + back_state
