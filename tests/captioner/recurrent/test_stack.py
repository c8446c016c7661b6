from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioner.recurrent import GRU, LSTM, Elman, Stack, build_cell, unroll


def test_a_stack_reads_the_output_of_the_layer_below() -> None:
    below, above = LSTM(3, 4, context_size=2).double(), GRU(4, 5).double()
    inputs, context = torch.randn(2, 6, 3).double(), torch.randn(2, 2).double()
    lengths = torch.tensor([6, 4])
    outputs, state = unroll(Stack([below, above]), inputs, context=context, lengths=lengths)
    middle, first = unroll(below, inputs, context=context, lengths=lengths)
    expected, second = unroll(above, middle, lengths=lengths)
    assert_close(outputs, expected)
    assert_close(state, first + second)


def test_a_stack_of_stacks_is_their_layers_in_order() -> None:
    cells = [LSTM(3, 4).double(), GRU(4, 5).double(), Elman(5, 2).double()]
    inputs = torch.randn(2, 6, 3).double()
    nested = Stack([Stack(cells[:2]), cells[2]])
    assert nested.state_sizes == (4, 4, 5, 2)
    assert_close(unroll(nested, inputs), unroll(Stack(cells), inputs))
    state = nested.initial_state(2, like=inputs)
    assert_close(nested.step(nested.project(inputs)[:, 0], state), unroll(nested, inputs[:, :1])[1])


def test_dropout_falls_between_layers_in_training_only() -> None:
    stack = build_cell("lstm", 3, 50, num_layers=2, dropout=0.5)
    inputs = torch.randn(2, 6, 3)
    first, second = unroll(stack, inputs), unroll(stack, inputs)
    assert_close(first[1][:2], second[1][:2])  # nothing is dropped below the lowest layer
    assert (first[0] - second[0]).abs().max() > 1e-4
    stack.eval()
    assert_close(unroll(stack, inputs), unroll(stack, inputs))


def test_dropout_is_drawn_anew_at_each_step_and_keeps_the_mean() -> None:
    """An upper layer that copies its input shows what passes: half zeros, the rest doubled."""
    below, above = Elman(1, 64), Elman(64, 64, nonlinearity="relu")
    with torch.no_grad():
        for cell in (below, above):
            for parameter in cell.parameters():
                parameter.zero_()
        below.bias_ih.fill_(1.0)
        above.weight_ih.copy_(torch.eye(64))
    outputs, _ = unroll(Stack([below, above], dropout=0.5), torch.zeros(4, 20, 1))
    passed = outputs > 0
    assert_close(outputs[passed], torch.full_like(outputs[passed], 2 * torch.tensor(1.0).tanh()))
    assert 0.45 < passed.float().mean() < 0.55
    assert (passed[:, 0] != passed[:, 1]).any()


def test_one_layer_is_no_stack() -> None:
    assert isinstance(build_cell("gru", 3, 4, num_layers=1, dropout=0.5), GRU)


def test_cells_that_do_not_fit_on_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads 5 numbers.*gives 4"):
        Stack([LSTM(3, 4), LSTM(5, 4)])
    with pytest.raises(ValueError, match="at least one"):
        Stack([])
