from __future__ import annotations

import torch
from torch.testing import assert_close

from captioner.recurrent import LSTM, blend, detach, select, unroll


def test_select_reorders_and_repeats_rows_of_every_part() -> None:
    state = (torch.arange(3.0).unsqueeze(1), torch.arange(12.0).view(3, 2, 2))
    first, second = select(state, torch.tensor([2, 0, 2, 1]))
    assert first.squeeze(1).tolist() == [2, 0, 2, 1]
    assert_close(second, state[1][[2, 0, 2, 1]])


def test_selected_rows_go_on_as_they_would_have() -> None:
    cell = LSTM(3, 4).double()
    inputs, more = torch.randn(3, 5, 3).double(), torch.randn(3, 2, 3).double()
    _, state = unroll(cell, inputs)
    index = torch.tensor([1, 1, 0])
    continued, _ = unroll(cell, more[index], state=select(state, index))
    assert_close(continued, unroll(cell, more, state=state)[0][index])


def test_blend_takes_new_rows_where_the_mask_is_true() -> None:
    new = (torch.ones(3, 2), torch.ones(3, 2, 2, dtype=torch.int64))
    old = (torch.zeros(3, 2), torch.zeros(3, 2, 2, dtype=torch.int64))
    for part in blend(torch.tensor([True, False, True]), new, old):
        assert part.flatten(1).float().mean(1).tolist() == [1, 0, 1]


def test_only_detach_truncates_backpropagation_through_time() -> None:
    """Chunks with detached states have the same values, and no gradient across the cut."""
    cell = LSTM(3, 4).double()
    inputs = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    whole, _ = unroll(cell, inputs)
    gradients = []
    for cut in (detach, tuple):
        _, state = unroll(cell, inputs[:, :4])
        second, _ = unroll(cell, inputs[:, 4:], state=cut(state))
        assert_close(second, whole[:, 4:])
        gradients.append(torch.autograd.grad(second.sum(), inputs)[0])
    truncated, full = gradients
    assert not truncated[:, :4].any()
    assert_close(full, torch.autograd.grad(whole[:, 4:].sum(), inputs)[0])
    assert full[:, :4].all()
