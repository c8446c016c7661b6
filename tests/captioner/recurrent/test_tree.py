"""NASCell and TreeCell: each other's equal, other cells in disguise, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torch.testing import assert_close

from captioner.errors import InvalidOption
from captioner.recurrent import (
    GRU,
    LSTM,
    Cell,
    Elman,
    NASCell,
    TreeCell,
    build_cell,
    read_specification,
    unroll,
)
from captioner.recurrent.tree_specification import SPECIFICATIONS

NAS = SPECIFICATIONS["nas"].to_dict()


def leaves_from(tree: TreeCell, cell: Cell, rows: dict[int, tuple[int, float]]) -> None:
    """Gives leaf i the rows of ``cell``'s gate, times a sign; all others zeros."""
    weights = dict(cell.named_parameters())
    size = tree.hidden_size
    pairs = [("weight_ih", "weight_ih"), ("weight_hh", "weight_hh")]
    pairs += [("weight_context", "weight_context")]
    with torch.no_grad():
        for parameter in tree.parameters():
            parameter.zero_()
        for leaf, (gate, sign) in rows.items():
            to, source = (
                slice(leaf * size, (leaf + 1) * size),
                slice(gate * size, (gate + 1) * size),
            )
            for ours, theirs in pairs:
                getattr(tree, ours)[to] = sign * weights[theirs][source]
            tree.bias[to] = sign * (weights["bias_ih"] + weights["bias_hh"])[source]


def both(one: Cell, other: Cell, parts: int = 2) -> None:
    """The same outputs of random sequences with a context, from random states."""
    inputs, context = torch.randn(4, 7, 3).double(), torch.randn(4, 2).double()
    state = tuple(torch.randn(4, 5).double() for _ in range(parts))
    for lengths in (None, torch.tensor([3, 7, 0, 1])):
        found = unroll(
            one, inputs, context=context, state=state[: len(one.state_sizes)], lengths=lengths
        )
        expected = unroll(
            other, inputs, context=context, state=state[: len(other.state_sizes)], lengths=lengths
        )
        assert_close(found[0], expected[0])


def test_the_tree_of_nas_is_nas_to_the_last_bit() -> None:
    tree, nas = TreeCell(3, 5, 2), NASCell(3, 5, 2)
    tree.load_state_dict(nas.state_dict())
    inputs, context = torch.randn(4, 9, 3), torch.randn(4, 2)
    state = (torch.randn(4, 5), torch.randn(4, 5))
    found = unroll(tree, inputs, context=context, state=state)
    expected = unroll(nas, inputs, context=context, state=state)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))
    gradients = [
        torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
        for cell, (outputs, _) in ((tree, found), (nas, expected))
    ]
    assert_close(*gradients, atol=0, rtol=0)


def test_a_step_of_nas_with_numbers_worked_by_hand() -> None:
    """One unit, x = 1, m = 1, c = 0.5, W_x = 0.1 · (1 … 8), W_h = 0.2, b = 0.

    X_i = 0.1 (i + 1), M_i = 0.2. l1: σ(.3), relu(.4), σ(.5), relu(.4 · .2), tanh(.7), σ(.8),
    tanh(.9), σ(1). l2: tanh(0.574443 · .4) = 0.225817; tanh(0.622459 + .08) = 0.605926;
    tanh(0.604368 · 0.689974) = 0.394399; σ(0.716298 + 0.731059) = 0.809591.
    c' = tanh(l2_0 + .5) · l2_1 = 0.375977; h' = tanh(c' · tanh(l2_2 + l2_3)) = 0.303973.
    """
    cell = NASCell(1, 1).double()
    with torch.no_grad():
        cell.weight_ih.copy_(0.1 * torch.arange(1, 9).view(8, 1))
        cell.weight_hh.fill_(0.2)
        cell.bias.zero_()
    x, m, c = torch.ones(1, 1, 1).double(), torch.ones(1, 1).double(), torch.full((1, 1), 0.5)
    hidden, memory = cell.step(cell.project(x)[:, 0], (m, c.double()))
    assert hidden.item() == pytest.approx(0.303973, abs=2e-6)
    assert memory.item() == pytest.approx(0.375977, abs=2e-6)


def test_the_bias_of_nas_is_not_on_the_inputs() -> None:
    """In part 3, X ⊙ M: with x = 0 the bias of M alone changes nothing there."""
    cell = NASCell(2, 3).double()
    zeros = torch.zeros(1, 1, 2).double()
    assert not cell.project(zeros).any()


def test_the_memory_of_nas_stays_within_one() -> None:
    cell = NASCell(3, 5).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(20)
    _, (_, memory) = unroll(cell, 10 * torch.randn(4, 60, 3).double())
    assert memory.abs().max() <= 1


def test_a_tree_can_be_a_plain_network() -> None:
    tree, cell = TreeCell(3, 5, 2, specification="elman").double(), Elman(3, 5, 2).double()
    assert tree.state_sizes == (5,)
    leaves_from(tree, cell, {0: (0, 1.0)})
    both(tree, cell)


def test_a_tree_can_be_an_lstm() -> None:
    tree, cell = TreeCell(3, 5, 2, specification="lstm").double(), LSTM(3, 5, 2).double()
    leaves_from(tree, cell, {0: (1, 1.0), 2: (0, 1.0), 3: (2, 1.0), 4: (3, 1.0)})
    both(tree, cell)


def test_a_tree_can_be_a_gru_with_an_open_reset_gate() -> None:
    """z ⊙ h + σ(-pre_z) ⊙ n; the GRU's r is held at 1 by its bias, and h is also the tree's c."""
    tree, cell = TreeCell(3, 5, 2, specification="gru").double(), GRU(3, 5, 2).double()
    with torch.no_grad():
        cell.bias_ih[:5] = 1e9
    leaves_from(tree, cell, {0: (1, 1.0), 2: (2, 1.0), 3: (1, -1.0)})
    inputs, context = torch.randn(4, 7, 3).double(), torch.randn(4, 2).double()
    hidden = torch.randn(4, 5).double()
    found, _ = unroll(tree, inputs, context=context, state=(hidden, hidden))
    expected, _ = unroll(cell, inputs, context=context, state=(hidden,))
    assert_close(found, expected)


def test_the_papers_example_with_two_leaves() -> None:
    """Figure 5: a0 = relu(tanh(W1 x + W2 h) + c), a1 = relu(W3 x ⊙ W4 h), h' = σ(a0 ⊙ a1).

    c' is a1 before its activation.
    """
    example = {
        "base": 2,
        "nodes": [["add", "tanh"], ["mul", "relu"], ["mul", "sigmoid"]],
        "inject": [0, "add", "relu"],
        "cell_out": 1,
    }
    cell = TreeCell(3, 5, specification=example).double()
    assert read_specification(json.dumps(example)) == cell.specification
    assert cell.specification.to_dict() == example
    x, h, c = (torch.randn(4, size).double() for size in (3, 5, 5))
    first, second = (cell.weight_ih.chunk(2)[i] for i in (0, 1))
    own, gate = (
        h @ w.t() + b for w, b in zip(cell.weight_hh.chunk(2), cell.bias.chunk(2), strict=True)
    )
    product = (x @ second.t()) * gate
    a0 = torch.relu(torch.tanh(x @ first.t() + own) + c)
    hidden, memory = cell.step(cell.project(x.unsqueeze(1))[:, 0], (h, c))
    assert_close(hidden, torch.sigmoid(a0 * torch.relu(product)))
    assert_close(memory, product)


@pytest.mark.parametrize("name", ["tree:elman", "tree:gru", "tree:lstm"])
def test_every_named_tree_is_chosen_by_one_word_and_stacks(name: str) -> None:
    cell = build_cell(name, 3, 4, num_layers=2, context_size=2).double()
    inputs, context = torch.randn(2, 5, 3).double(), torch.randn(2, 2).double()
    outputs, state = unroll(cell, inputs, context=context)
    assert outputs.shape == (2, 5, 4)
    assert [part.shape for part in state] == [(2, size) for size in cell.state_sizes]


def test_a_config_may_hold_a_tree_of_its_own() -> None:
    cell = build_cell("tree:" + json.dumps(NAS), 3, 4)
    assert isinstance(cell, TreeCell)
    assert cell.specification == SPECIFICATIONS["nas"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"base": 3}, "base 3"),
        ({"base": 0}, "base 0"),
        ({"base": 128}, "base 128"),
        ({"base": True}, "base True"),
        ({"base": None}, "base None"),
        ({"nodes": NAS["nodes"][:-1]}, "nodes 14"),
        ({"nodes": "many"}, "nodes 'many'"),
        ({"nodes": [["sub", "tanh"], *NAS["nodes"][1:]]}, "operation 'sub' in node 0"),
        ({"nodes": [["add", "sine"], *NAS["nodes"][1:]]}, "activation 'sine' in node 0"),
        ({"nodes": [*NAS["nodes"][:-1], ["add"]]}, r"node 14 \['add'\]"),
        ({"nodes": [[["add"], "tanh"], *NAS["nodes"][1:]]}, r"operation \['add'\] in node 0"),
        ({"inject": [15, "add", "tanh"]}, "inject 15"),
        ({"inject": [8, "add"]}, "inject"),
        ({"inject": [8, "add", "sine"]}, "activation 'sine' in inject"),
        ({"inject": None}, "injects c nowhere"),
        ({"cell_out": None}, "no cell_out"),
        ({"cell_out": 15}, "cell_out 15"),
        ({"cell_out": -1}, "cell_out -1"),
        ({"cell_in": 3}, "'cell_in'"),
    ],
    ids=str,
)
def test_a_wrong_specification_is_refused_by_what_is_wrong(
    changed: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidOption, match=says):
        TreeCell(3, 4, specification=NAS | changed)


@pytest.mark.parametrize("given", ["oak", "{'base': 8}", "{", 8, None, [NAS]], ids=str)
def test_what_is_no_specification_is_refused(given: object) -> None:
    with pytest.raises(InvalidOption):
        TreeCell(3, 4, specification=given)  # type: ignore[arg-type]


def test_wrong_names_and_sizes_are_refused_with_their_value() -> None:
    for name in ("nas:tanh", "tre", "tree:oak", "mut4", "none"):
        with pytest.raises(InvalidOption, match=name.split(":")[-1]):
            build_cell(name, 3, 4)
    for sizes, says in (((0, 4), "input_size"), ((3, -1), "hidden_size of cell 'mut1' is -1")):
        with pytest.raises(InvalidOption, match=says):
            build_cell("mut1", *sizes)
    with pytest.raises(InvalidOption, match="context_size"):
        build_cell("nas", 3, 4, context_size=-2)
    for name in ("mut1", "nas", "tree"):
        with pytest.raises(ValueError, match=r"\(batch, time, 3\)"):
            unroll(build_cell(name, 3, 4), torch.zeros(2, 5, 4))
