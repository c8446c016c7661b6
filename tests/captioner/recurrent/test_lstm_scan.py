"""The LSTM's three ways over time give one result: torch's kernel, our backward, plain steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.recurrent import LSTM, unroll


def results(cell: LSTM, inputs: Tensor, lengths: Tensor | None, way: str) -> list[Tensor]:
    """Outputs, last state and all gradients, by one of the ways."""
    cell.fused = way == "kernel"
    inputs = inputs.detach().requires_grad_()
    state = tuple(
        torch.full((len(inputs), size), 0.1).requires_grad_() for size in cell.state_sizes
    )
    if way == "steps":
        states, outputs = [state], []
        for projected in cell.project(inputs).unbind(1):
            states.append(cell.step(projected, states[-1]))
            outputs.append(states[-1][0])
        stacked, last = torch.stack(outputs, 1), states[-1]
        if lengths is not None:
            rows = torch.arange(len(inputs))
            last = tuple(torch.stack(part)[lengths, rows] for part in zip(*states, strict=True))
            keep = torch.arange(inputs.shape[1]) < lengths.unsqueeze(1)
            stacked = stacked * keep.unsqueeze(2)
    else:
        stacked, last = unroll(cell, inputs, lengths=lengths, state=state)
    weights = torch.linspace(-1, 1, stacked.numel()).view_as(stacked)
    loss = (stacked * weights).sum() + last[0].square().sum() + last[1].sum()
    gradients = torch.autograd.grad(loss, [inputs, *state, *cell.parameters()])
    return [stacked, *last, *gradients]


@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 7, 7, 0, 2])], ids=["whole", "lengths"])
def test_every_way_gives_the_same_float32_numbers(lengths: Tensor | None) -> None:
    cell, inputs = LSTM(8, 16), torch.randn(5, 7, 8)
    expected = results(cell, inputs, lengths, "steps")
    for way in ("kernel", "scan"):
        assert_close(results(cell, inputs, lengths, way), expected, atol=2e-5, rtol=1e-4)


def test_steps_without_gradients_equal_steps_with_them() -> None:
    """Decoding writes in place; training does not."""
    cell = LSTM(8, 16, context_size=3)
    projected, context = cell.project(torch.randn(5, 1, 8))[:, 0].detach(), torch.randn(5, 3)
    state = (torch.randn(5, 16), torch.randn(5, 16))
    before = [tensor.clone() for tensor in (projected, context, *state)]
    expected = cell.step(projected, state, context)
    with torch.inference_mode():
        assert_close(cell.step(projected, state, context), expected, atol=1e-6, rtol=0)
    assert_close([projected, context, *state], before)  # and leaves what it was given alone


def test_the_kernel_is_left_out_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kernel = torch.lstm
    monkeypatch.setattr(torch, "lstm", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    cell, inputs = LSTM(3, 4, context_size=2), torch.randn(2, 5, 3)
    unroll(cell, inputs, context=torch.randn(2, 2))
    unroll(cell, inputs, lengths=torch.tensor([5, 3]))
    with torch.autocast("cpu", torch.float16):
        unroll(cell, inputs)
    unroll(LSTM(3, 4, fused=False), inputs)
    unroll(LSTM(3, 4).double(), inputs.double())
    assert not calls
    if torch.backends.mkldnn.is_available():
        unroll(cell, inputs)
        assert calls


@pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="no bfloat16 on this processor",
)
def test_under_autocast_the_kernel_gives_what_the_scan_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    kernel = torch.lstm
    monkeypatch.setattr(torch, "lstm", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    cell, inputs, found = LSTM(3, 16), torch.randn(2, 5, 3), []
    for fused in (True, False):
        cell.fused = fused
        with torch.autocast("cpu", torch.bfloat16):
            outputs, state = unroll(cell, inputs)
            outputs, _ = unroll(cell, inputs, state=state)
        gradients = torch.autograd.grad(outputs.float().sum(), list(cell.parameters()))
        found.append((outputs, *gradients))
    assert len(calls) == 2
    for one, other in zip(*found, strict=True):  # bfloat16 has 8 bits
        assert_close(
            one.float(), other.float(), rtol=0.05, atol=0.02 * float(one.detach().abs().max())
        )


def test_backward_may_run_twice() -> None:
    cell, inputs = LSTM(3, 4).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    outputs, _ = unroll(cell, inputs, lengths=torch.tensor([5, 2]))
    first = torch.autograd.grad(outputs.sum(), list(cell.parameters()), retain_graph=True)
    assert_close(torch.autograd.grad(outputs.sum(), list(cell.parameters())), first)


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 5, 0, 3])], ids=["whole", "lengths"])
def test_gradients_that_can_be_derived_again_are_the_same_gradients(lengths: Tensor | None) -> None:
    cell, inputs = LSTM(3, 4, context_size=2).double(), torch.randn(4, 5, 3, dtype=torch.float64)
    state = tuple(torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    context = torch.randn(4, 2, dtype=torch.float64)
    outputs, (hidden, memory) = unroll(cell, inputs, lengths=lengths, state=state, context=context)
    loss = outputs.square().sum() + hidden.sin().sum() + memory.square().sum()
    wanted = [*state, *cell.parameters()]
    plain = torch.autograd.grad(loss, wanted, retain_graph=True)
    again = torch.autograd.grad(loss, wanted, create_graph=True)
    assert all(gradient.requires_grad for gradient in again)
    assert_close(again, plain)


def test_only_what_is_asked_for_gets_a_second_derivative() -> None:
    """A gradient penalty on the inputs of a cell whose weights are frozen."""
    cell = LSTM(3, 4).double().requires_grad_(False)
    inputs = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    outputs, _ = unroll(cell, inputs)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    gradient.square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0
