"""An LSTM over packed sequences, with backpropagation through time written out by hand.

Two things make it faster than the same loop under autograd. The gradient of the shared ``W_hh``,
the sum over time of ``δ_tᵀ h_{t-1}``, becomes one matrix product over all steps instead of one
product and one addition of the whole matrix at each; and all arithmetic on gates writes into
buffers that exist already. ``tanh(x)`` of float32 on a CPU is computed as
``2σ(2x) - 1``, right to 1e-7: torch's tanh costs as much as six of its sigmoids there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from captioner.recurrent.linear import add_linear
from captioner.recurrent.packing import loop

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # dy · y · (1 - y)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # dy · (1 - y²)


def lstm_step(
    projected: Tensor, hidden: Tensor, cell: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """One step: ``projected (batch, 4 · hidden)`` and the state before -> ``h``, ``c``."""
    gates = add_linear(projected, hidden, weight_hh)
    if torch.is_grad_enabled() or gates.dtype != cell.dtype:
        write, keep, value, read = gates.chunk(4, 1)
        cell = torch.addcmul(torch.sigmoid(keep) * cell, torch.sigmoid(write), torch.tanh(value))
        return torch.sigmoid(read) * torch.tanh(cell), cell
    return lstm_update(gates, cell)


def lstm_update(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """``h``, ``c`` after a step from its pre-activations ``(batch, 4 · hidden)``, which it uses up.

    Without gradients only.
    """
    after, squashed, hidden = (torch.empty_like(cell) for _ in range(3))
    _step(gates, cell, after, squashed, hidden)
    return hidden, after


def _step(gates: Tensor, before: Tensor, after: Tensor, squashed: Tensor, hidden: Tensor) -> None:
    """Applies the nonlinearities to ``gates`` in place; writes ``c``, ``tanh(c)`` and ``h``."""
    write, keep, value, read = gates.chunk(4, 1)
    gates[:, : 2 * before.shape[1]].sigmoid_()
    _tanh(value, out=value)
    read.sigmoid_()
    torch.mul(keep, before, out=after).addcmul_(write, value)
    torch.mul(read, _tanh(after, out=squashed), out=hidden)


def _tanh(numbers: Tensor, *, out: Tensor) -> Tensor:
    if numbers.device.type != "cpu" or numbers.dtype != torch.float32:
        return torch.tanh(numbers, out=out)
    return torch.mul(numbers, 2, out=out).sigmoid_().mul_(2).sub_(1)


def lstm_scan(
    projected: Tensor, hidden: Tensor, cell: Tensor, weight_hh: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps of packed sequences (see :class:`Packing`), all tensors of one dtype.

    ``projected (steps, 4 · hidden)``, the state before ``(batch, hidden)`` twice -> outputs
    ``(steps, hidden)`` and ``h``, ``c`` after each row's last step. Second derivatives are had by
    running the plain loop instead; they cost what that costs.
    """
    outputs, hidden, cell = _Scan.apply(projected, hidden, cell, weight_hh, sizes)
    return outputs, hidden, cell


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_hh: Tensor,
        sizes: list[int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        (batch, size), steps = hidden.shape, projected.shape[0]
        gates = torch.empty_like(projected)  # i, f, g, o after their nonlinearities
        hiddens = projected.new_empty(batch + steps, size)  # the state before, then every step's
        cells = torch.empty_like(hiddens)
        squashed = projected.new_empty(steps, size)  # tanh(c_t)
        hiddens[:batch], cells[:batch] = hidden, cell
        with torch.autocast(projected.device.type, enabled=False):
            for now, before, after in _blocks(sizes, batch):
                torch.addmm(projected[now], hiddens[before], weight_hh.t(), out=gates[now])
                _step(gates[now], cells[before], cells[after], squashed[now], hiddens[after])
        ctx.save_for_backward(projected, hidden, cell, weight_hh, gates, hiddens, cells, squashed)
        ctx.sizes = sizes
        last = _last(sizes, batch)
        return (
            hiddens[batch:],
            torch.cat([hiddens[rows] for rows in last]),
            torch.cat([cells[rows] for rows in last]),
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        projected, hidden, cell, weight_hh, gates, hiddens, cells, squashed = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_backward(
                (projected, hidden, cell, weight_hh), ctx.sizes, ctx.needs_input_grad, grads
            )
        d_outputs, d_hidden, d_cell = grads[0], grads[1].clone(), grads[2].clone()
        d_gates = torch.empty_like(gates)
        blocks = list(_blocks(ctx.sizes, hidden.shape[0]))
        buffer = torch.empty_like(d_hidden)
        with torch.autocast(projected.device.type, enabled=False):
            for now, before, _ in reversed(blocks):
                rows = before.stop - before.start
                dh, dc, product = d_hidden[:rows], d_cell[:rows], buffer[:rows]
                write, keep, value, read = gates[now].chunk(4, 1)
                d_write, d_keep, d_value, d_read = d_gates[now].chunk(4, 1)
                dh += d_outputs[now]
                torch.mul(dh, squashed[now], out=product)
                _sigmoid_backward(product, read, grad_input=d_read)
                dh *= read
                dc += _tanh_backward(dh, squashed[now], grad_input=product)
                torch.mul(dc, value, out=product)
                _sigmoid_backward(product, write, grad_input=d_write)
                torch.mul(dc, cells[before], out=product)
                _sigmoid_backward(product, keep, grad_input=d_keep)
                torch.mul(dc, write, out=product)
                _tanh_backward(product, value, grad_input=d_value)
                dc *= keep
                torch.mm(d_gates[now], weight_hh, out=dh)
            if ctx.sizes[-1] == hidden.shape[0]:  # no row ended early: no gaps between the steps
                previous = hiddens[: len(d_gates)]
            else:
                previous = torch.cat([hiddens[before] for _, before, _ in blocks])
            d_weight = d_gates.t() @ previous if ctx.needs_input_grad[3] else None
        return d_gates, d_hidden, d_cell, d_weight, None


def _blocks(sizes: list[int], batch: int) -> Iterator[tuple[slice, slice, slice]]:
    """Each step's rows: among the steps; in the buffers of states, the ones before and after."""
    start, previous = 0, 0
    for rows in sizes:
        after = batch + start
        yield (
            slice(start, start + rows),
            slice(previous, previous + rows),
            slice(after, after + rows),
        )
        start, previous = start + rows, after


def _last(sizes: list[int], batch: int) -> list[slice]:
    """Where the rows' last states lie in the buffers of states, in the order of the rows."""
    pieces: list[slice] = []
    previous, running = 0, batch
    for _, before, after in _blocks(sizes, batch):
        rows = before.stop - before.start
        if rows < running:
            pieces.append(slice(before.stop, before.start + running))
        previous, running = after.start, rows
    return [slice(previous, previous + running), *reversed(pieces)]


def _differentiable_backward(
    inputs: tuple[Tensor, ...],
    sizes: list[int],
    needed: tuple[bool, ...],
    grads: tuple[Tensor, ...],
) -> tuple[Tensor | None, ...]:
    projected, hidden, cell, weight_hh = inputs
    outputs, state = loop(
        lambda projected_t, state: lstm_step(projected_t, state[0], state[1], weight_hh),
        lambda state: state[0],
        projected,
        (hidden, cell),
        sizes,
    )
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=False) if need]
    found = iter(torch.autograd.grad((outputs, *state), wanted, grads, create_graph=True))
    return (*(next(found) if need else None for need in needed[:4]), None)
