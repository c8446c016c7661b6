"""What every cell of the registry, and every stack of them, promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils import parameters_to_vector
from torch.testing import assert_close

from captioner.errors import InvalidOption
from captioner.recurrent import CELLS, Cell, build_cell, select, unroll

BATCH, TIME = 5, 6
LENGTHS = torch.tensor([4, 6, 0, 1, 4])


def sequences(cell: Cell, batch: int = BATCH, time: int = TIME) -> Tensor:
    return torch.randn(batch, time, cell.input_size, dtype=torch.float64)


def vectors(cell: Cell, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, cell.context_size, dtype=torch.float64)


def some_state(cell: Cell, batch: int = BATCH) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, size, dtype=torch.float64) for size in cell.state_sizes)


def test_shapes_are_batch_first(cell: Cell) -> None:
    inputs, context = sequences(cell), vectors(cell)
    outputs, state = unroll(cell, inputs, context=context)
    assert outputs.shape == (BATCH, TIME, cell.hidden_size)
    assert [part.shape for part in state] == [(BATCH, size) for size in cell.state_sizes]
    projected = cell.project(inputs, context)
    assert projected.shape[:2] == (BATCH, TIME)
    stepped = cell.step(projected[:, 0], cell.initial_state(BATCH, like=inputs))
    assert cell.output(stepped).shape == (BATCH, cell.hidden_size)


def test_initial_state_follows_device_and_dtype(cell: Cell) -> None:
    for part in cell.initial_state(2, like=torch.zeros(1, dtype=torch.bfloat16)):
        assert part.dtype == torch.bfloat16
        assert not part.any()


def test_unrolling_is_stepping(cell: Cell) -> None:
    inputs, context, state = sequences(cell), vectors(cell), some_state(cell)
    outputs, after = unroll(cell, inputs, state=state, context=context)
    projected = cell.project(inputs, context)
    for time in range(TIME):
        state = cell.step(projected[:, time], state)
        assert_close(cell.output(state), outputs[:, time])
    assert_close(state, after)


def test_context_of_one_step_enters_as_a_projected_one(cell: Cell) -> None:
    inputs, context, state = sequences(cell, time=1), vectors(cell), some_state(cell)
    late = cell.step(cell.project(inputs)[:, 0], state, context)
    early = cell.step(cell.project(inputs, context)[:, 0], state)
    assert_close(late, early)


def test_constant_context_is_the_same_context_at_every_step(cell: Cell) -> None:
    inputs, context = sequences(cell), vectors(cell)
    repeated = context.unsqueeze(1).expand(-1, TIME, -1)
    for lengths in (None, LENGTHS):
        constant = unroll(cell, inputs, context=context, lengths=lengths)
        assert_close(constant, unroll(cell, inputs, context=repeated, lengths=lengths))
    assert_close(cell.project(inputs, context), cell.project(inputs, repeated))


def test_sequences_may_share_a_context(cell: Cell) -> None:
    inputs, rows = sequences(cell, batch=5), torch.tensor([1, 0, 0, 1, 0])
    shared = vectors(cell, batch=2)
    for context in (shared, shared.unsqueeze(1) * torch.ones(TIME, 1, dtype=shared.dtype)):
        together = unroll(cell, inputs, context=context, context_rows=rows)
        assert_close(together, unroll(cell, inputs, context=context[rows]))


def test_context_of_zeros_is_no_context(cell: Cell) -> None:
    inputs, zeros = sequences(cell), torch.zeros_like(vectors(cell))
    assert_close(unroll(cell, inputs, context=zeros), unroll(cell, inputs))


def test_context_matters(cell: Cell) -> None:
    inputs, state = sequences(cell), some_state(cell)
    outputs, _ = unroll(cell, inputs, state=state, context=vectors(cell))
    assert (outputs - unroll(cell, inputs, state=state)[0]).abs().min() > 1e-9


@pytest.mark.parametrize("with_context", [False, True])
def test_lengths_are_rows_run_alone(cell: Cell, with_context: bool) -> None:
    """As with packed sequences: a padded row equals the row cut at its end and run by itself."""
    inputs, state = sequences(cell), some_state(cell)
    context = vectors(cell) if with_context else None
    outputs, after = unroll(cell, inputs, lengths=LENGTHS, state=state, context=context)
    for row, length in enumerate(LENGTHS.tolist()):
        one = torch.tensor([row])
        alone, alone_after = unroll(
            cell,
            inputs[one, :length],
            state=select(state, one),
            context=None if context is None else context[one],
        )
        assert_close(outputs[one, :length], alone)
        assert not outputs[row, length:].any()
        assert_close(select(after, one), alone_after)


def test_what_lies_past_the_end_does_not_matter(cell: Cell) -> None:
    inputs = sequences(cell).requires_grad_()
    past = torch.arange(TIME) >= LENGTHS.unsqueeze(1)
    noise = torch.where(past.unsqueeze(2), float("nan"), inputs)
    outputs, state = unroll(cell, noise, lengths=LENGTHS)
    assert_close((outputs, state), unroll(cell, inputs, lengths=LENGTHS))
    (gradient,) = torch.autograd.grad(outputs.sum() + sum(p.sum() for p in state), inputs)
    assert not gradient[past].any()
    assert gradient[~past].all()


def test_batch_of_one_equals_batch_of_many(cell: Cell) -> None:
    inputs, context = sequences(cell), vectors(cell)
    outputs, _ = unroll(cell, inputs, context=context)
    for row in range(BATCH):
        alone, _ = unroll(cell, inputs[row : row + 1], context=context[row : row + 1])
        assert_close(alone[0], outputs[row])


def test_chunks_with_a_carried_state_equal_the_whole(cell: Cell) -> None:
    inputs, context = sequences(cell), vectors(cell)
    whole, last = unroll(cell, inputs, context=context)
    state, pieces = None, []
    for chunk in inputs.split([1, 3, 2], 1):
        piece, state = unroll(cell, chunk, state=state, context=context)
        pieces.append(piece)
    assert_close(torch.cat(pieces, 1), whole)
    assert_close(state, last)


def test_nothing_in_nothing_out(cell: Cell) -> None:
    state, context = some_state(cell), vectors(cell)
    for lengths, time in ((None, 0), (torch.zeros(BATCH, dtype=torch.int64), TIME)):
        outputs, after = unroll(
            cell, sequences(cell, time=time), lengths=lengths, state=state, context=context
        )
        assert outputs.shape == (BATCH, time, cell.hidden_size)
        assert not outputs.any()
        assert_close(after, state)
    outputs, after = unroll(cell, sequences(cell, batch=0), context=vectors(cell, 0))
    assert outputs.shape == (0, TIME, cell.hidden_size)
    assert all(part.shape[0] == 0 for part in after)


def test_gradients_reach_every_parameter(cell: Cell) -> None:
    outputs, _ = unroll(cell, sequences(cell), context=vectors(cell))
    outputs.square().sum().backward()
    for name, parameter in cell.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def as_function(cell: Cell, lengths: Tensor | None) -> Callable[..., tuple[Tensor, ...]]:
    """The unrolled cell as a function of inputs, context, state and all parameters."""
    names = [name for name, _ in cell.named_parameters()]

    class Unrolled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, inputs: Tensor, context: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            outputs, after = unroll(cell, inputs, lengths=lengths, state=state, context=context)
            return (outputs, *after)

    module, states = Unrolled(), len(cell.state_sizes)

    def function(inputs: Tensor, context: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip((f"cell.{name}" for name in names), rest[states:], strict=True))
        results: tuple[Tensor, ...] = torch.func.functional_call(
            module, parameters, (inputs, context, *rest[:states])
        )
        return results

    return function


@pytest.mark.parametrize("lengths", [None, torch.tensor([1, 3, 0])], ids=["whole", "lengths"])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_gradients_agree_with_differences(
    cell: Cell, lengths: Tensor | None, check: Callable[..., bool]
) -> None:
    parameters = [parameter.detach() for parameter in cell.parameters()]
    values = [sequences(cell, 3, 3), vectors(cell, 3), *some_state(cell, 3), *parameters]
    wanted = [value.clone().requires_grad_() for value in values]
    assert check(as_function(cell, lengths), wanted, fast_mode=True)


def test_state_dict_comes_back(cell: Cell) -> None:
    state = {name: value.clone() for name, value in cell.state_dict().items()}
    for parameter in cell.parameters():
        torch.nn.init.zeros_(parameter)
    cell.load_state_dict(state)
    assert_close(dict(cell.state_dict()), state)


def test_parameters_start_within_the_root_of_the_hidden_size() -> None:
    for name in CELLS:
        values = parameters_to_vector(build_cell(name, 30, 25, context_size=20).parameters())
        assert 0.19 < values.abs().max() <= 0.2


def test_bfloat16_autocast_runs_and_comes_close(cell: Cell) -> None:
    cell = cell.float()
    inputs = sequences(cell).float().requires_grad_()
    context = vectors(cell).float()
    expected, _ = unroll(cell, inputs, context=context, lengths=LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = unroll(cell, inputs, context=context, lengths=LENGTHS)
        cell.step(cell.project(inputs, context)[:, 0], state)
    outputs.float().sum().backward()
    assert_close(outputs.float(), expected, atol=0.03, rtol=0)
    assert all(parameter.grad is not None for parameter in cell.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
def test_gpu_equals_cpu(cell: Cell, lengths: Tensor | None) -> None:
    inputs, context = sequences(cell), vectors(cell)
    found = []
    for device in ("cpu", "cuda"):
        cell = cell.to(device).requires_grad_()
        outputs, state = unroll(
            cell, inputs.to(device), context=context.to(device), lengths=lengths
        )
        gradients = torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
        found.append([value.cpu() for value in (outputs, *state, *gradients)])
    assert_close(*found)


def test_a_cell_without_context_refuses_one() -> None:
    for name in CELLS:
        with pytest.raises(ValueError, match="context_size is 0"):
            unroll(build_cell(name, 3, 4), torch.zeros(2, 1, 3), context=torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("inputs", "lengths"),
    [
        (torch.zeros(2, 3, 4), None),
        (torch.zeros(3, 3), None),
        (torch.zeros(2, 3, 3), torch.tensor([1])),
        (torch.zeros(2, 3, 3), torch.tensor([1.0, 2.0])),
        (torch.zeros(2, 3, 3), torch.tensor([1, 4])),
        (torch.zeros(2, 3, 3), torch.tensor([-1, 3])),
    ],
)
def test_wrong_shapes_and_lengths_are_refused(inputs: Tensor, lengths: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"expected|within"):
        unroll(build_cell("elman", 3, 4), inputs, lengths=lengths)


def test_an_unknown_cell_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match=r"'lstn'.*lstm"):
        build_cell("lstn", 3, 4)
    with pytest.raises(InvalidOption, match="num_layers is 0"):
        build_cell("lstm", 3, 4, num_layers=0)
    with pytest.raises(InvalidOption, match="'sine'"):
        build_cell("elman", 3, 4, nonlinearity="sine")
