"""Gradients of unrolled cells, whose matrices are multiplied once, are those of stepping."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.recurrent import CELLS, Cell, build_cell, unroll


def stepped(cell: Cell, inputs: Tensor, context: Tensor) -> Tensor:
    state, outputs = cell.initial_state(len(inputs), like=inputs), []
    for inputs_t in inputs.unbind(1):
        state = cell.step(cell.project_inputs(inputs_t), state, context)
        outputs.append(cell.output(state))
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_stepping(name: str) -> None:
    cell = build_cell(name, 3, 4, context_size=2).double()
    inputs, context = torch.randn(5, 6, 3).double(), torch.randn(5, 2).double()
    weights, parameters = torch.randn(5, 6, 4).double(), list(cell.parameters())
    found = (unroll(cell, inputs, context=context)[0] * weights).sum()
    expected = (stepped(cell, inputs, context) * weights).sum()
    assert_close(torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters))


@pytest.mark.parametrize("name", ["gru", "gru_reset_before", "mut1", "mut2", "mut3", "nas", "tree"])
def test_one_graph_gives_gradients_again_and_in_parts(name: str) -> None:
    """Of the inputs alone, of an early output, of all: none leaves anything behind."""
    cell = build_cell(name, 3, 4).double()
    inputs = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    outputs, _ = unroll(cell, inputs)
    parameters = list(cell.parameters())
    whole = torch.autograd.grad(outputs.sum(), parameters, retain_graph=True)
    torch.autograd.grad(outputs.sum(), inputs, retain_graph=True)
    early = torch.autograd.grad(outputs[:, :2].sum(), parameters, retain_graph=True)
    again = torch.autograd.grad(outputs.sum(), parameters)
    assert_close(again, whole)
    alone, _ = unroll(cell, inputs[:, :2])
    assert_close(early, torch.autograd.grad(alone.sum(), parameters))


@pytest.mark.parametrize("name", ["gru", "mut3", "nas"])
def test_frozen_weights_let_gradients_through_to_the_inputs(name: str) -> None:
    cell = build_cell(name, 3, 4).requires_grad_(False)
    inputs = torch.randn(2, 6, 3, requires_grad=True)
    unroll(cell, inputs)[0].sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.all()


@pytest.mark.parametrize("name", ["gru", "mut3", "nas"])
def test_a_graph_that_nobody_holds_is_freed(name: str) -> None:
    class Held:
        pass

    def run() -> weakref.ref[Held]:
        held = Held()
        inputs = torch.randn(2, 6, 3, requires_grad=True) * 1
        inputs.register_hook(lambda gradient, held=held: None)  # lives as long as the graph
        outputs, _ = unroll(build_cell(name, 3, 4), inputs)
        watched = weakref.ref(held)
        del held
        assert watched() is not None
        outputs.sum().backward()
        return watched

    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()
