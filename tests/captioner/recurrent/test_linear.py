from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from captioner.recurrent import CELLS, build_cell, linear, prepack
from captioner.recurrent.linear import PackedLinear


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("rows", [0, 1, 3, 40])
def test_a_prepacked_cell_steps_as_before(name: str, rows: int) -> None:
    cell = build_cell(name, 8, 16, num_layers=2, context_size=5)
    inputs, context = torch.randn(rows, 1, 8), torch.randn(rows, 5)
    state = tuple(torch.randn(rows, size) for size in cell.state_sizes)
    with torch.inference_mode():
        expected = cell.step(cell.project(inputs)[:, 0], state, context)
        prepack(cell)
        found = cell.step(cell.project(inputs)[:, 0], state, context)
    assert_close(found, expected, atol=1e-5, rtol=0)


def test_gradients_flow_through_a_prepacked_cell() -> None:
    cell = build_cell("lstm", 3, 4)
    prepack(cell)
    state = (torch.randn(2, 4), torch.randn(2, 4))
    cell.step(cell.project(torch.randn(2, 1, 3))[:, 0], state)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in cell.parameters())


def test_a_weight_that_changed_is_not_used_as_it_was() -> None:
    layer, inputs = nn.Linear(4, 6), torch.randn(3, 4)
    changes = [
        lambda: layer.load_state_dict(nn.Linear(4, 6).state_dict()),
        lambda: torch.optim.SGD(layer.parameters(), lr=0.5).step(),
        lambda: setattr(layer.weight, "data", torch.randn(6, 4)),
        lambda: layer.to(torch.bfloat16).to(torch.float32),
    ]
    for change in changes:
        prepack(layer)
        layer.weight.grad = torch.ones(6, 4)
        change()
        with torch.no_grad():
            expected = functional.linear(inputs, layer.weight, layer.bias)
            assert_close(linear(inputs, layer.weight, layer.bias), expected)


def test_other_dtypes_and_shapes_are_plain() -> None:
    layer = nn.Linear(4, 6)
    prepack(layer)
    with torch.no_grad():
        inputs = torch.randn(2, 3, 4)
        assert_close(linear(inputs, layer.weight, layer.bias), layer(inputs))
        double = layer.double()
        prepack(double)
        assert_close(
            linear(inputs.double(), double.weight),
            functional.linear(inputs.double(), double.weight),
        )


def test_prepacking_leaves_copies_and_state_dicts_as_they_are() -> None:
    cell = build_cell("gru", 3, 4)
    before = copy.deepcopy(cell.state_dict())
    prepack(cell)
    assert_close(dict(cell.state_dict()), dict(before))
    twin = copy.deepcopy(cell)
    with torch.no_grad():
        twin.weight_hh.zero_()
        state, projected = (torch.randn(2, 4),), cell.project(torch.randn(2, 1, 3))[:, 0]
        assert (twin.step(projected, state)[0] - cell.step(projected, state)[0]).abs().max() > 1e-4


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_packed_layer_is_the_layer(rows: int, dtype: torch.dtype, bias: bool) -> None:
    layer = nn.Linear(4, 6, bias=bias, dtype=dtype)
    inputs = torch.randn(rows, 4, dtype=dtype)
    with torch.no_grad():
        assert_close(PackedLinear(layer.weight, layer.bias)(inputs), layer(inputs))
