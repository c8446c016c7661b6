"""MUT1-3 against their formulas, by hand and in the limits of their gates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.errors import InvalidOption
from captioner.recurrent import MUT1, MUT2, MUT3, build_cell, unroll
from captioner.recurrent.mut import Mutation

KINDS = [MUT1, MUT2, MUT3]


def random_cell(kind: type[Mutation], inputs: int = 4, **options: object) -> Mutation:
    return kind(inputs, 4, 2, **options).double()  # type: ignore[arg-type]


def once(cell: Mutation, x: Tensor, h: Tensor, v: Tensor) -> Tensor:
    return cell.step(cell.project(x.unsqueeze(1), v)[:, 0], (h,))[0]


@pytest.mark.parametrize("width", [4, 3], ids=["as wide", "projected"])
def test_one_step_is_the_papers_box(width: int) -> None:
    """Written out as the box has it, and the context added to each pre-activation."""
    x, h, v = torch.randn(5, width).double(), torch.randn(5, 4).double(), torch.randn(5, 2).double()
    for kind in KINDS:
        cell = random_cell(kind, width)
        b_z, b_r, b_h = cell.bias.chunk(3)
        assert cell.weight_context is not None
        v_z, v_r, v_h = (v @ w.t() for w in cell.weight_context.chunk(3))
        bare = x if cell.weight_input is None else x @ cell.weight_input.t()
        own = [w.t() for w in cell.weight_ih.chunk(cell.input_matrices)]
        candidate = cell.weight_candidate.t()
        if isinstance(cell, MUT1):
            z = torch.sigmoid(x @ own[0] + b_z + v_z)
            r = torch.sigmoid(x @ own[1] + h @ cell.weight_reset.t() + b_r + v_r)
            inside = torch.tanh(bare)
        elif isinstance(cell, MUT2):
            w_hz, w_hr = cell.weight_gates.chunk(2)
            z = torch.sigmoid(x @ own[0] + h @ w_hz.t() + b_z + v_z)
            r = torch.sigmoid(bare + h @ w_hr.t() + b_r + v_r)
            inside = x @ own[1]
        else:
            assert isinstance(cell, MUT3)
            z = torch.sigmoid(x @ own[0] + torch.tanh(h) @ cell.weight_update.t() + b_z + v_z)
            r = torch.sigmoid(x @ own[1] + h @ cell.weight_reset.t() + b_r + v_r)
            inside = x @ own[2]
        expected = torch.tanh((r * h) @ candidate + inside + b_h + v_h) * z + h * (1 - z)
        assert_close(once(cell, x, h, v), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shut_gate_keeps_the_state_exactly(kind: type[Mutation]) -> None:
    cell = random_cell(kind, update_bias=-1e9)
    h = torch.randn(5, 4).double()
    assert torch.equal(once(cell, torch.randn(5, 4).double(), h, torch.zeros(5, 2).double()), h)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_gate_and_a_reset_leave_the_input_alone(kind: type[Mutation]) -> None:
    """z = 1, r = 0: h' = tanh(input part + b_h), whatever h was."""
    cell = random_cell(kind, update_bias=1e9)
    with torch.no_grad():
        cell.bias[4:8] = -1e9
    x, v = torch.randn(5, 4).double(), torch.randn(5, 2).double()
    after = [once(cell, x, torch.randn(5, 4).double(), v) for _ in range(2)]
    assert torch.equal(*after)
    assert_close(after[0], torch.tanh(cell.project(x.unsqueeze(1), v)[:, 0, 8:]))


def test_parameters_are_as_many_as_the_formulas_say() -> None:
    """With I = H: MUT1 4H² + 3H, MUT2 5H² + 3H, MUT3 6H² + 3H; P adds H·I where I != H."""
    for kind, squares in ((MUT1, 4), (MUT2, 5), (MUT3, 6)):
        count = sum(p.numel() for p in kind(6, 6).parameters())
        assert count == squares * 36 + 18
    assert sum(p.numel() for p in MUT1(5, 6).parameters()) == 2 * 30 + 2 * 36 + 18 + 30
    assert MUT3(5, 6).weight_input is None


def test_the_input_is_projected_where_it_is_told() -> None:
    assert MUT1(6, 6).weight_input is None
    assert MUT1(6, 6, project_input=True).weight_input is not None
    assert MUT3(5, 6, project_input=False).weight_input is None
    with pytest.raises(InvalidOption, match="MUT2 with project_input=False reads 5 numbers into 6"):
        MUT2(5, 6, project_input=False)


def test_the_context_of_mut1_stands_beside_the_tanh_of_the_input() -> None:
    cell = MUT1(3, 3, 3).double()
    assert cell.weight_context is not None
    with torch.no_grad():
        cell.weight_context.zero_()
        cell.weight_context[6:].copy_(torch.eye(3))
    x, v = torch.randn(1, 1, 3).double(), 5 * torch.ones(1, 3).double()
    assert_close(cell.project(x, v)[..., 6:], torch.tanh(x) + cell.bias[6:] + 5)


def test_a_negative_bias_of_z_remembers_longer() -> None:
    """After 50 steps of noise the first state still shows through z = σ(-4 + …)."""
    shown = []
    for bias in (-4.0, 0.0):
        torch.manual_seed(1)
        cell = build_cell("mut1", 4, 16, update_bias=bias)
        inputs, start = torch.randn(8, 50, 4), torch.randn(8, 16)
        ends = [unroll(cell, inputs, state=(state,))[0][:, -1] for state in (start, -start)]
        shown.append(((ends[0] - ends[1]).norm() / (2 * start.norm())).item())
    assert shown[0] > 0.2
    assert shown[1] < 0.01
