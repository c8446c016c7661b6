from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioner.recurrent import GRU, LSTM, Bidirectional, Elman, Stack, reverse, unroll


def test_each_row_is_reversed_by_its_own_length() -> None:
    sequence = torch.arange(1, 9).view(2, 4, 1)
    assert reverse(sequence).squeeze(2).tolist() == [[4, 3, 2, 1], [8, 7, 6, 5]]
    lengths = torch.tensor([3, 0])
    assert reverse(sequence, lengths).squeeze(2).tolist() == [[3, 2, 1, 4], [5, 6, 7, 8]]


def test_reversing_twice_is_nothing() -> None:
    sequence, lengths = torch.randn(4, 6, 2, 3), torch.tensor([6, 3, 0, 1])
    assert_close(reverse(reverse(sequence, lengths), lengths), sequence)


@pytest.mark.parametrize("per_step", [False, True])
def test_padding_changes_nothing_in_either_direction(per_step: bool) -> None:
    pair = Bidirectional(
        Stack([LSTM(3, 4, 2), GRU(4, 4)]).double(), Elman(3, 5, context_size=2).double()
    )
    inputs, lengths = torch.randn(3, 6, 3).double(), torch.tensor([6, 2, 4])
    context = torch.randn(3, 6, 2).double() if per_step else torch.randn(3, 2).double()
    outputs, state = unroll(pair, inputs, lengths=lengths, context=context)
    assert outputs.shape == (3, 6, pair.hidden_size) == (3, 6, 9)
    for row, length in enumerate(lengths.tolist()):
        own = context[row : row + 1, :length] if per_step else context[row : row + 1]
        alone, alone_state = unroll(pair, inputs[row : row + 1, :length], context=own)
        assert_close(outputs[row : row + 1, :length], alone)
        assert not outputs[row, length:].any()
        assert_close(tuple(part[row : row + 1] for part in state), alone_state)


def test_the_mirrored_pair_on_mirrored_sequences_gives_mirrored_outputs() -> None:
    one, other = LSTM(3, 4, 2).double(), GRU(3, 5, 2).double()
    inputs, context = torch.randn(3, 6, 3).double(), torch.randn(3, 6, 2).double()
    lengths = torch.tensor([6, 2, 4])
    outputs, state = unroll(Bidirectional(one, other), inputs, lengths=lengths, context=context)
    mirrored, mirrored_state = unroll(
        Bidirectional(other, one),
        reverse(inputs, lengths),
        lengths=lengths,
        context=reverse(context, lengths),
    )
    first, second = reverse(mirrored, lengths).split([5, 4], 2)
    assert_close(outputs, torch.cat([second, first], 2))
    assert_close(state, mirrored_state[1:] + mirrored_state[:1])


def test_every_output_depends_on_every_input() -> None:
    pair = Bidirectional(LSTM(3, 4), LSTM(3, 4)).double()
    inputs = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    outputs, _ = unroll(pair, inputs)
    for time in range(5):
        (gradient,) = torch.autograd.grad(outputs[0, time].sum(), inputs, retain_graph=True)
        assert gradient.abs().sum(2).all()


def test_a_given_state_is_where_both_directions_start() -> None:
    pair = Bidirectional(LSTM(3, 4), GRU(3, 4)).double()
    inputs = torch.randn(2, 5, 3).double()
    zeros = pair.initial_state(2, like=inputs)
    assert [part.shape for part in zeros] == [(2, 4)] * 3
    assert_close(unroll(pair, inputs, state=zeros), unroll(pair, inputs))
    ones = tuple(torch.ones_like(part) for part in zeros)
    assert (unroll(pair, inputs, state=ones)[0] - unroll(pair, inputs)[0]).abs().min() > 0


def test_cells_that_read_different_things_are_refused() -> None:
    with pytest.raises(ValueError, match="different"):
        Bidirectional(LSTM(3, 4), LSTM(2, 4))
