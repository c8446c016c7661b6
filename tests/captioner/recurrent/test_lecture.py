"""The lecture's formula, by hand: h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.recurrent import LSTM, Cell, Elman, build_cell, unroll


def lecture_cell() -> Elman:
    cell = Elman(2, 2, context_size=1).double()
    with torch.no_grad():
        cell.weight_ih.copy_(torch.tensor([[0.5, -1.0], [0.25, 0.0]]))  # W_xh
        cell.weight_hh.copy_(torch.tensor([[0.0, 1.0], [-0.5, 0.5]]))  # W_hh
        assert cell.weight_context is not None
        cell.weight_context.copy_(torch.tensor([[1.0], [-0.5]]))  # W_ih
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
    return cell


def test_the_lecture_formula_with_numbers_worked_by_hand() -> None:
    """x_1 = (1, 0), x_2 = (0, 1), v = 2, h_0 = 0.

    Step 1: W_xh x = (0.5, 0.25), W_ih v = (2, -1): h_1 = tanh(2.5, -0.75).
    Step 2: W_xh x = (-1, 0), W_hh h_1 = (h_1[1], -h_1[0]/2 + h_1[1]/2), W_ih v = (2, -1).
    With tanh 2.5 = 0.986614, tanh -0.75 = -0.635149: h_2 = tanh(0.364851, -1.810882),
    h_2 = (0.349480, -0.947921).
    """
    inputs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    outputs, (last,) = unroll(lecture_cell(), inputs, context=torch.tensor([[2.0]]).double())
    expected = torch.tensor([[[0.986614, -0.635149], [0.349480, -0.947921]]], dtype=torch.float64)
    assert_close(outputs, expected, atol=1e-6, rtol=0)
    assert_close(last, outputs[:, 1])


def test_the_image_term_enters_at_every_step_not_only_the_first() -> None:
    """With x = 0 and W_hh = 0 every step is tanh(W_ih v) = tanh(2, -1)."""
    cell = lecture_cell()
    torch.nn.init.zeros_(cell.weight_hh)
    outputs, _ = unroll(cell, torch.zeros(1, 3, 2).double(), context=torch.tensor([[2.0]]).double())
    expected = torch.tensor([math.tanh(2.0), math.tanh(-1.0)], dtype=torch.float64)
    assert_close(outputs, expected.expand(1, 3, 2))


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "gru_reset_before"])
def test_the_gradient_of_a_shared_weight_is_the_sum_of_its_gradients_per_step(name: str) -> None:
    """dL/dW = Σ_t dL/dW_t, where W_t is W as step t used it."""
    cell = build_cell(name, 3, 4, context_size=2).double()
    inputs = torch.randn(5, 6, 3, dtype=torch.float64)
    context = torch.randn(5, 2, dtype=torch.float64)
    weights = torch.randn(5, 6, 4, dtype=torch.float64)
    outputs, _ = unroll(cell, inputs, context=context)
    shared = torch.autograd.grad((outputs * weights).sum(), list(cell.parameters()))

    copies = [
        {key: value.detach().clone().requires_grad_() for key, value in cell.named_parameters()}
        for _ in range(6)
    ]
    state, loss = cell.initial_state(5, like=inputs), torch.zeros((), dtype=torch.float64)
    for time, own in enumerate(copies):
        state = one_step(cell, own, inputs[:, time], state, context)
        loss = loss + (cell.output(state) * weights[:, time]).sum()
    loss.backward()
    for (key, _), gradient in zip(cell.named_parameters(), shared, strict=True):
        per_step = [own[key].grad for own in copies]
        if name != "elman" or key != "weight_hh":  # h_0 = 0: step 1 has no gradient for W_hh
            assert all(part is not None and part.abs().sum() > 0 for part in per_step[1:])
        assert_close(sum(part for part in per_step if part is not None), gradient)


def one_step(
    cell: Cell,
    parameters: dict[str, Tensor],
    inputs: Tensor,
    state: tuple[Tensor, ...],
    context: Tensor,
) -> tuple[Tensor, ...]:
    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return cell.step(cell.project(inputs.unsqueeze(1), context)[:, 0], state)

    named = {f"cell.{key}": value for key, value in parameters.items()}
    after: tuple[Tensor, ...] = torch.func.functional_call(Step(), named, (inputs, state))
    return after


def test_forget_gate_starts_where_it_is_told() -> None:
    cell = LSTM(3, 4, forget_bias=1.0)
    total = cell.bias_ih + cell.bias_hh
    assert_close(total[4:8], torch.ones(4))
    assert total[:4].abs().max() < 1


def test_gru_variants_are_not_the_same_function() -> None:
    after = build_cell("gru", 3, 4)
    before = build_cell("gru_reset_before", 3, 4)
    before.load_state_dict(after.state_dict())
    inputs = torch.randn(2, 5, 3)
    state = (torch.randn(2, 4),)
    difference = unroll(after, inputs, state=state)[0] - unroll(before, inputs, state=state)[0]
    assert difference.abs().max() > 1e-3


def test_gru_with_the_reset_before_the_matrix_by_hand() -> None:
    """Hidden size 1, weights 1, biases 0, x = 0, h = 1: r = z = σ(1) = 0.731059.

    n = tanh(r · 1) = 0.623713 in both variants. With W_hn = 2 and b_hn = 1 they part:
    before, n = tanh(2 · 0.731059 + 1) = 0.985568; after, n = tanh(0.731059 · (2 + 1)) = 0.975414.
    h' = (1 - z) n + z h.
    """
    for name, bias, expected_new in (
        ("gru_reset_before", 0.0, 0.623713),
        ("gru", 0.0, 0.623713),
        ("gru_reset_before", 1.0, 0.985568),
        ("gru", 1.0, 0.975414),
    ):
        cell = build_cell(name, 1, 1).double()
        for parameter in cell.parameters():
            torch.nn.init.zeros_(parameter)
        with torch.no_grad():
            cell.weight_hh.copy_(torch.tensor([[1.0], [1.0], [1.0 + bias]]))
            cell.bias_hh[2] = bias
        _, (hidden,) = unroll(
            cell, torch.zeros(1, 1, 1).double(), state=(torch.ones(1, 1).double(),)
        )
        z = 0.7310585786
        assert hidden.item() == pytest.approx((1 - z) * expected_new + z, abs=1e-6)
