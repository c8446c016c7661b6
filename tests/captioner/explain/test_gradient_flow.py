"""What the lecture says of gradients through time, measured; and that watching changes nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.explain.flow_figure import flow_figure
from captioner.explain.gates import gate_values, hidden_matrices, highway, spectrum
from captioner.explain.gradient_flow import GradientFlow, Watch, gradient_flow
from captioner.models.decoder import Decoder
from captioner.recurrent import (
    CELLS,
    GRU,
    LSTM,
    MUT1,
    Bidirectional,
    Cell,
    Elman,
    NASCell,
    TreeCell,
    build_cell,
    unroll,
)

UNITS, STEPS = 64, 100


@pytest.fixture(autouse=True)
def one_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def gaussian(radius: float, units: int = UNITS) -> Tensor:
    """Random entries, scaled to a spectral radius."""
    matrix = torch.randn(units, units, dtype=torch.float64)
    return matrix * radius / spectrum(matrix)[1]


def orthogonal(scale: float) -> Tensor:
    return scale * torch.linalg.qr(torch.randn(UNITS, UNITS, dtype=torch.float64))[0]


def of_last_step(cell: Cell, inputs: Tensor) -> GradientFlow:
    """The flow of a loss that only the last step's h is in."""
    with Watch(cell) as watch:
        outputs, _ = unroll(cell, inputs)
        loss = (outputs[:, -1] * torch.randn_like(outputs[:, -1])).sum()
    return gradient_flow(loss, watch.runs[0])


def with_matrix(cell: Cell, matrix: Tensor) -> Cell:
    cell = cell.double()
    with torch.no_grad():
        cell.get_parameter("weight_hh").copy_(matrix)
    return cell


def linear(matrix: Tensor, steps: int = STEPS) -> GradientFlow:
    """``h_t = W_hh h_{t-1} + W_xh x_t + b``."""
    cell = TreeCell(2, len(matrix), specification={"base": 1, "nodes": [["add", "identity"]]})
    return of_last_step(with_matrix(cell, matrix), torch.randn(8, steps, 2).double())


def plain(matrix: Tensor, inputs_size: float = 1.0) -> GradientFlow:
    cell = with_matrix(Elman(2, len(matrix)), matrix)
    return of_last_step(cell, inputs_size * torch.randn(8, STEPS, 2).double())


def slope(norms: list[float]) -> float:
    """Of the logarithm, per step, by least squares."""
    lags = torch.arange(len(norms), dtype=torch.float64)
    logs = torch.tensor(norms, dtype=torch.float64).log()
    lags = lags - lags.mean()
    return float((lags * logs).sum() / lags.square().sum())


@pytest.mark.parametrize("radius", [0.8, 1.0, 1.2])
def test_a_linear_network_tends_to_its_spectral_radius(radius: float) -> None:
    """Over 60 lags, after the first 39; ρ and not σ_max, which is nearly twice as large."""
    matrix = gaussian(radius)
    flow = linear(matrix)
    assert abs(slope(flow.hidden[39:]) - math.log(radius)) < 0.05
    largest, found = spectrum(matrix)
    assert found == pytest.approx(radius)
    assert largest > 1.7 * radius
    assert flow.sigma_max == {"leaf 0": pytest.approx(largest)}


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_a_scaled_orthogonal_matrix_changes_the_norm_by_its_scale_at_every_step(
    scale: float,
) -> None:
    norms = linear(orthogonal(scale)).hidden
    steps = [math.log(after / before) for before, after in itertools.pairwise(norms)]
    assert steps == pytest.approx([math.log(scale)] * (STEPS - 1), abs=1e-9)


def test_no_step_back_gains_more_than_the_largest_singular_value() -> None:
    for matrix in (gaussian(0.9), gaussian(1.1), orthogonal(0.8)):
        norms = linear(matrix).hidden
        gains = [after / before for before, after in itertools.pairwise(norms)]
        assert max(gains) <= spectrum(matrix)[0] + 1e-9


def test_a_matrix_that_is_not_normal_grows_first_and_vanishes_later() -> None:
    """W = [[.9, 5], [0, .9]]: ρ = .9, σ_max = 5.157, ‖W^k‖ = 19.38 at k = 9 and .0148 at 100."""
    matrix = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    assert spectrum(matrix) == (pytest.approx(5.157, abs=1e-3), pytest.approx(0.9))
    norms = linear(matrix, steps=101).hidden
    gains = [norm / norms[0] for norm in norms]
    assert 5 < max(gains) < 19.39
    assert 5 < gains.index(max(gains)) < 15
    assert gains[100] < 0.0149
    for power, expected in ((9, 19.38), (50, 1.43), (100, 0.0148)):
        norm = torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, power), ord=2)
        assert norm.item() == pytest.approx(expected, rel=0.01)


def test_tanh_vanishes_where_a_linear_network_keeps() -> None:
    """Orthogonal: all singular values are 1, and only tanh' shrinks."""
    matrix = orthogonal(1.0)
    kept, shrunk = linear(matrix).hidden, plain(matrix).hidden
    assert kept[-1] == pytest.approx(kept[0])
    assert shrunk[-1] < 1e-3 * shrunk[0]


def test_torchs_start_vanishes() -> None:
    """U(±1/√H): ρ near 1/√3, so that 60 lags leave less than a millionth."""
    cell = Elman(2, UNITS).double()
    flow = of_last_step(cell, torch.randn(8, STEPS, 2).double())
    assert flow.spectral_radius["h"] == pytest.approx(3**-0.5, abs=0.1)
    assert flow.hidden[60] < 1e-6 * flow.hidden[0]


def test_a_scaled_tanh_network_explodes_and_clipping_caps_the_gradient() -> None:
    cell = with_matrix(Elman(2, UNITS), gaussian(3.0))
    inputs = 0.1 * torch.randn(8, STEPS, 2).double()
    with Watch(cell) as watch:
        outputs, _ = unroll(cell, inputs)
        loss = outputs[:, -1].square().sum()
    flow = gradient_flow(loss, watch.runs[0])
    assert flow.hidden[-1] > 1e6 * flow.hidden[0]
    loss.backward()
    parameters = list(cell.parameters())
    before = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    after = [p.grad for p in parameters if p.grad is not None]
    assert norm > 1e6
    assert torch.nn.utils.get_total_norm(after).item() == pytest.approx(1.0, rel=1e-6)
    assert_close(after, [gradient / (norm + 1e-6) for gradient in before])  # the same direction


def test_clipping_does_nothing_for_a_gradient_that_vanished() -> None:
    cell = with_matrix(Elman(2, UNITS), gaussian(0.5))
    inputs = torch.randn(8, STEPS, 2, dtype=torch.float64, requires_grad=True)
    outputs, _ = unroll(cell, inputs)
    outputs[:, -1].sum().backward()
    torch.nn.utils.clip_grad_norm_(cell.parameters(), 1.0)
    assert inputs.grad is not None
    assert inputs.grad[:, 0].norm() < 1e-20


@pytest.mark.parametrize(("bias", "left"), [(1.0, 1e-4), (5.0, 0.1)])
def test_the_highway_of_an_lstm_is_its_forget_gate(bias: float, left: float) -> None:
    """f = σ(1) = .73 or σ(5) = .993 over 99 steps: 3e-14, or .5. The gradient of c follows."""
    cell = LSTM(2, UNITS, forget_bias=bias).double()
    flow = of_last_step(cell, 0.1 * torch.randn(8, STEPS, 2).double())
    assert flow.highway[0] == 1
    if bias == 5:
        assert flow.highway[-1] > left
        assert flow.memory[-1] > left * flow.memory[0]
    else:
        assert flow.highway[-1] < left
        assert flow.memory[-1] < left * flow.memory[0]


@pytest.mark.parametrize("name", [*CELLS, "tree:lstm", "tree:gru", "tree:elman"])
def test_the_highway_is_the_diagonal_of_the_last_states_derivative(name: str) -> None:
    """By autograd for every cell with a c; of gated cells with h alone, by the formula's factor."""
    cell = build_cell(name, 3, 4).double()
    projected = cell.project(torch.randn(2, 1, 3).double())[:, 0]
    state = tuple(torch.randn(2, size).double() for size in cell.state_sizes)
    along = highway(cell, projected, state)
    if isinstance(cell, LSTM):
        expected = gate_values(cell, projected, state)["f"]
    elif isinstance(cell, NASCell):
        *_, memory = cell.step(projected, state)
        x, m = projected.chunk(8, 1), (state[0] @ cell.weight_hh.t() + cell.bias).chunk(8, 1)
        first = torch.tanh(torch.sigmoid(x[0] + m[0]) * torch.relu(x[1] + m[1]))
        injected = torch.tanh(first + state[1])
        expected = memory / injected * (1 - injected**2)
    elif isinstance(cell, GRU):
        expected = gate_values(cell, projected, state)["z"]
    elif isinstance(cell, MUT1):
        expected = 1 - gate_values(cell, projected, state)["z"]
    elif name in ("elman", "tree:elman"):
        assert along is None
        return
    else:
        expected = along
    assert along is not None
    assert_close(along, expected.detach() if expected is not None else along)
    assert along.shape == (2, 4)


@pytest.mark.parametrize("name", [*CELLS, "tree:lstm", "tree:elman"])
def test_gates_and_matrices_are_those_that_the_step_uses(name: str) -> None:
    """Doubling what a gate is named for moves nothing else: shapes, ranges, and one H x H each."""
    cell = build_cell(name, 3, 4).double()
    projected = cell.project(torch.randn(2, 1, 3).double())[:, 0]
    state = tuple(torch.randn(2, size).double() for size in cell.state_sizes)
    for gate in gate_values(cell, projected, state).values():
        assert gate.shape == (2, 4)
        assert gate.min() > 0
        assert gate.max() < 1
    matrices = hidden_matrices(cell)
    assert all(matrix.shape == (4, 4) for matrix in matrices.values())
    hidden_weights = sum(
        p.numel()
        for key, p in cell.named_parameters()
        if p.dim() == 2 and key not in ("weight_ih", "weight_input")
    )
    assert sum(matrix.numel() for matrix in matrices.values()) == hidden_weights


def test_update_gates_of_gru_and_mut_are_opposites() -> None:
    """GRU: h' = n + z (h - n). MUT: h' = h + z (n - h). From h' and the gate, n must be in ±1."""
    for name in ("gru", "gru_reset_before", "mut1", "mut2", "mut3"):
        cell = build_cell(name, 3, 4).double()
        projected = cell.project(torch.randn(5, 1, 3).double())[:, 0]
        state = (3 * torch.randn(5, 4).double(),)
        z = gate_values(cell, projected, state)["z"]
        keep = 1 - z if name.startswith("mut") else z
        candidate = (cell.step(projected, state)[0] - keep * state[0]) / (1 - keep)
        assert candidate.abs().max() <= 1 + 1e-9


@pytest.mark.parametrize("name", [*CELLS, "tree:elman"])
@pytest.mark.parametrize("layers", [1, 2])
def test_watching_changes_no_number_and_leaves_nothing_behind(name: str, layers: int) -> None:
    cell = build_cell(name, 3, 4, num_layers=layers, context_size=2).double()
    inputs, context = torch.randn(4, 6, 3).double(), torch.randn(4, 2).double()
    lengths = torch.tensor([6, 2, 4, 0])
    expected = unroll(cell, inputs, context=context, lengths=lengths)
    with Watch(cell) as watch:
        found = unroll(cell, inputs, context=context, lengths=lengths)
        with torch.no_grad():
            unroll(cell, inputs, context=context)
    assert_close(found, expected)
    assert [len(run.after) for run in watch.runs] == [6] * layers
    assert [run.after[-1][0].shape[0] for run in watch.runs] == [1] * layers
    after = unroll(cell, inputs, context=context, lengths=lengths)
    assert_close(after, expected)
    assert len(watch.runs) == layers
    flow = gradient_flow(found[0].square().sum(), watch.runs[-1])
    assert len(flow.hidden) == 6
    assert all(norm > 0 for norm in flow.hidden)


def test_norms_are_autograds_own() -> None:
    """Against an LSTM stepped by hand, its states kept, the loss in every step."""
    cell = LSTM(3, 4).double()
    inputs = torch.randn(2, 5, 3).double()
    states, state = [], cell.initial_state(2, like=inputs)
    for inputs_t in cell.project(inputs).unbind(1):
        state = cell.step(inputs_t, state)
        states.append(state)
    loss = sum(h.square().sum() for h, _ in states)
    assert isinstance(loss, Tensor)
    by_hand = [torch.autograd.grad(loss, state, retain_graph=True) for state in reversed(states)]
    with Watch(cell) as watch:
        outputs, _ = unroll(cell, inputs)
    flow = gradient_flow(outputs.square().sum(), watch.runs[0])
    for number, (hidden, memory) in enumerate(by_hand):
        assert flow.hidden[number] == pytest.approx(hidden.norm(dim=1).mean().item())
        assert flow.memory[number] == pytest.approx(memory.norm(dim=1).mean().item())


def test_both_directions_and_every_layer_have_a_run_of_their_own() -> None:
    pair = Bidirectional(LSTM(3, 4), GRU(3, 4))
    with Watch(pair) as watch:
        unroll(pair, torch.randn(2, 5, 3))
    assert [run.name for run in watch.runs] == ["ahead", "back"]


def test_a_decoder_with_attention_is_one_run_of_all_its_steps() -> None:
    decoder = Decoder(11, 6, hidden_size=7, embedding_size=5, attention="soft", num_layers=2)
    with Watch(decoder) as watch:
        read, _ = decoder(torch.randn(2, 9, 6), torch.randint(0, 11, (2, 5)))
    assert [(run.name, len(run.after)) for run in watch.runs] == [
        ("cell.cells.0", 5),
        ("cell.cells.1", 5),
    ]
    assert len(gradient_flow(decoder.logits(read).sum(), watch.runs[0]).hidden) == 5


def test_the_figure_shows_every_flow() -> None:
    flows = {
        name: of_last_step(build_cell(name, 2, 5).double(), torch.randn(3, 20, 2).double())
        for name in ("elman", "lstm", "mut1")
    }
    picture = flow_figure(flows)
    assert picture.size == (1500, 460)
    assert len(picture.getcolors(10**6) or []) > 20
    with pytest.raises(ValueError, match="no gradient flow"):
        flow_figure({})
