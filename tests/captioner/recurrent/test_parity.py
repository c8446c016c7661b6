"""Equality with torch.nn, whose state dicts load."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from captioner.recurrent import LSTM, Bidirectional, build_cell, unroll

PAIRS = {
    "elman": (nn.RNN, {}, {}),
    "elman-relu": (nn.RNN, {"nonlinearity": "relu"}, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}, {}),
    "gru": (nn.GRU, {}, {}),
}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 7]], ids=["whole", "packed"])
def test_equals_torch_and_loads_its_state_dict(
    name: str, layers: int, lengths: list[int] | None
) -> None:
    kind, options, ours_options = PAIRS[name]
    theirs = kind(5, 6, layers, batch_first=True, **options).double()
    ours = build_cell(name.split("-")[0], 5, 6, num_layers=layers, **ours_options).double()
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)

    outputs, state = unroll(
        ours, inputs, lengths=None if lengths is None else torch.tensor(lengths)
    )
    if lengths is None:
        expected, expected_state = theirs(inputs)
    else:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        packed_outputs, expected_state = theirs(packed)
        expected, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=7)
    parts = expected_state if isinstance(expected_state, tuple) else (expected_state,)
    flat = tuple(part[layer] for layer in range(layers) for part in parts)
    assert_close(outputs, expected)
    assert_close(state, flat)

    weights = torch.randn_like(expected)
    gradients = []
    for result, last, module in ((outputs, state, ours), (expected, flat, theirs)):
        loss = (result * weights).sum() + sum(part.square().sum() for part in last)
        gradients.append(torch.autograd.grad(loss, [inputs, *module.parameters()]))
    assert_close(*gradients)


def test_a_cell_loads_torch_cells_too() -> None:
    theirs = nn.LSTMCell(5, 6)
    ours = LSTM(5, 6)
    ours.load_state_dict(theirs.state_dict())
    x, h, c = torch.randn(2, 5), torch.randn(2, 6), torch.randn(2, 6)
    assert_close(ours.step(ours.project(x.unsqueeze(1))[:, 0], (h, c)), theirs(x, (h, c)))


def test_a_state_dict_of_other_sizes_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        LSTM(5, 6).load_state_dict(nn.LSTM(5, 7).state_dict())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        LSTM(5, 6).load_state_dict(nn.LSTM(5, 6, num_layers=2).state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        LSTM(5, 6, context_size=2).load_state_dict(nn.LSTM(5, 6).state_dict())


def test_constant_context_equals_lstm_on_inputs_and_context_side_by_side() -> None:
    """``[x; v]`` with ``weight_ih = [W_x | W_ih]``, values and gradients."""
    ours = LSTM(5, 6, context_size=3).double()
    theirs = nn.LSTM(8, 6, batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.cat([ours.weight_ih, ours.weight_context], 1))
        theirs.weight_hh_l0.copy_(ours.weight_hh)
        theirs.bias_ih_l0.copy_(ours.bias_ih)
        theirs.bias_hh_l0.copy_(ours.bias_hh)
    inputs = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)
    context = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    outputs, (hidden, cell) = unroll(ours, inputs, context=context)
    both = torch.cat([inputs, context.unsqueeze(1).expand(-1, 7, -1)], 2)
    expected, (their_hidden, their_cell) = theirs(both)
    assert_close((outputs, hidden, cell), (expected, their_hidden[0], their_cell[0]))

    found = torch.autograd.grad(outputs.sum(), [inputs, context])
    assert_close(found, torch.autograd.grad(expected.sum(), [inputs, context], retain_graph=True))
    (side_by_side,) = torch.autograd.grad(expected.sum(), theirs.weight_ih_l0)
    outputs, _ = unroll(ours, inputs, context=context)
    split = torch.autograd.grad(outputs.sum(), [ours.weight_ih, ours.weight_context])
    assert_close(torch.cat(split, 1), side_by_side)


def test_both_directions_equal_torch_bidirectional() -> None:
    theirs = nn.LSTM(5, 6, batch_first=True, bidirectional=True).double()
    ours = Bidirectional(LSTM(5, 6), LSTM(5, 6)).double()
    weights = theirs.state_dict()
    ahead = {name: value for name, value in weights.items() if not name.endswith("_reverse")}
    ours.ahead.load_state_dict(ahead)
    ours.back.load_state_dict({name: weights[f"{name}_reverse"] for name in ahead})
    inputs, lengths = torch.randn(4, 7, 5, dtype=torch.float64), torch.tensor([3, 7, 1, 5])

    outputs, state = unroll(ours, inputs, lengths=lengths)
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed_outputs, (hidden, cell) = theirs(packed)
    expected, _ = pad_packed_sequence(packed_outputs, batch_first=True)
    assert_close(outputs, expected)
    assert_close(state, (hidden[0], cell[0], hidden[1], cell[1]))
