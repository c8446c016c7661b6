"""The recurrent core against torch.nn: ``python -m benchmarks.recurrent``.

Training: forward and backward of an LSTM over a batch of sequences. Decoding: one step of a beam.
Cells: forward and backward of every cell, with a context that is constant over time, per
multiply-add against ``nn.LSTM``, and against the loop that projects input and context anew at every
step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import in_turns, report
from captioner.recurrent import CELLS, LSTM, Cell, build_cell, prepack, unroll

INPUT, HIDDEN, CONTEXT, TIME = 256, 512, 512, 16


def training(batch: int) -> dict[str, Callable[[], object]]:
    """Forward and backward; the context is constant over time, lengths are 8 to 16."""
    inputs = torch.randn(batch, TIME, INPUT, requires_grad=True)
    context = torch.randn(batch, CONTEXT)
    lengths = torch.randint(TIME // 2, TIME + 1, (batch,))
    bare = nn.LSTM(INPUT, HIDDEN, batch_first=True)
    wide = nn.LSTM(INPUT + CONTEXT, HIDDEN, batch_first=True)
    ours = LSTM(INPUT, HIDDEN, CONTEXT)

    def timed(module: nn.Module, run: Callable[[], tuple[Tensor, object]]) -> Callable[[], None]:
        def step() -> None:
            module.zero_grad()
            inputs.grad = None
            run()[0].sum().backward()

        return step

    def side_by_side() -> tuple[Tensor, object]:
        repeated = context.unsqueeze(1).expand(-1, TIME, -1)
        found: tuple[Tensor, object] = wide(torch.cat([inputs, repeated], 2))
        return found

    return {
        "nn.LSTM": timed(bare, lambda: bare(inputs)),
        "nn.LSTM on [x; v]": timed(wide, side_by_side),
        "unroll": timed(ours, lambda: unroll(ours, inputs)),
        "unroll, context": timed(ours, lambda: unroll(ours, inputs, context=context)),
        "unroll, context, lengths": timed(
            ours, lambda: unroll(ours, inputs, context=context, lengths=lengths)
        ),
    }


def decoding(rows: int) -> dict[str, Callable[[], object]]:
    """One step from an embedded token, the context's term already projected."""
    token, state = torch.randn(rows, INPUT), (torch.randn(rows, HIDDEN), torch.randn(rows, HIDDEN))
    cell, plain, packed = nn.LSTMCell(INPUT, HIDDEN), LSTM(INPUT, HIDDEN), LSTM(INPUT, HIDDEN)
    prepack(packed)

    def step(ours: LSTM) -> object:
        return ours.step(ours.project(token.unsqueeze(1))[:, 0], state)

    return {
        "nn.LSTMCell": lambda: cell(token, state),
        "step": lambda: step(plain),
        "step, prepacked": lambda: step(packed),
    }


def cells() -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """A training step of each cell, unrolled and as a loop, and its multiply-adds forward."""
    batch, steps, width, context_size = 32, 64, 256, 512
    inputs, context = torch.randn(batch, steps, width), torch.randn(batch, context_size)
    bare = nn.LSTM(width, width, batch_first=True)

    def timed(module: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
        def step() -> None:
            module.zero_grad()
            run().sum().backward()

        return step

    def loop(cell: Cell) -> Tensor:
        state, outputs = cell.initial_state(batch, like=inputs), []
        for inputs_t in inputs.unbind(1):
            state = cell.step(cell.project_inputs(inputs_t), state, context)
            outputs.append(cell.output(state))
        return torch.stack(outputs, 1)

    sides: dict[str, Callable[[], object]] = {"nn.LSTM": timed(bare, lambda: bare(inputs)[0])}
    work = {"nn.LSTM": batch * steps * 8 * width**2}
    for name in CELLS:
        cell = build_cell(name, width, width, context_size=context_size)
        sides[name] = timed(cell, lambda cell=cell: unroll(cell, inputs, context=context)[0])  # type: ignore[misc]
        sides[f"{name}, loop"] = timed(cell, lambda cell=cell: loop(cell))  # type: ignore[misc]
        matrices = {key: p.numel() for key, p in cell.named_parameters() if p.dim() == 2}
        once = matrices.pop("weight_context")  # of a context that stays the same
        work[name] = batch * (steps * sum(matrices.values()) + once)
    return sides, work


def compare_cells(rounds: int, threads: int) -> None:
    """Prints a table of every cell; on one thread of its own time, not the machine's."""
    sides, work = cells()
    clock = time.process_time if threads == 1 else time.perf_counter
    timings = in_turns(sides, rounds, clock)
    base = timings["nn.LSTM"].median / work["nn.LSTM"]
    of_cells = []
    for name in CELLS:
        shown = {key: timings[key] for key in ("nn.LSTM", name, f"{name}, loop")}
        each = timings[name].median / work[name] / base
        wanted = "" if name == "elman" else "at most 2.5"
        of_cells.append((f"{name} / nn.LSTM, per multiply-add", each, wanted, shown))
        gain = timings[f"{name}, loop"].median / timings[name].median
        of_cells.append((f"{name}: loop / unroll", gain, "at least 1.8", {}))
    report("Every cell, batch 32, 64 steps, widths 256, context 512: a training step", of_cells)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cells", action="store_true", help="the cells only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    compare_cells(arguments.rounds, arguments.threads)
    if arguments.cells:
        return
    rows = []
    for batch in (64, 320):
        timings = in_turns(training(batch), arguments.rounds)
        base = timings["nn.LSTM"].median
        for name in ("unroll", "unroll, context", "unroll, context, lengths"):
            shown = {key: timings[key] for key in ("nn.LSTM", name)}
            rows.append((f"training, batch {batch}: {name} / nn.LSTM", base, name, shown))
        shown = {key: timings[key] for key in ("nn.LSTM on [x; v]", "unroll, context")}
        base = timings["nn.LSTM on [x; v]"].median
        what = f"training, batch {batch}: unroll, context / nn.LSTM on [x; v]"
        rows.append((what, base, "unroll, context", shown))
    with torch.inference_mode():
        for beam in (1, 3, 5, 160):
            timings = in_turns(decoding(beam), arguments.rounds * 20)
            for name in ("step", "step, prepacked"):
                shown = {key: timings[key] for key in ("nn.LSTMCell", name)}
                base = timings["nn.LSTMCell"].median
                rows.append((f"decoding, {beam} rows: {name} / nn.LSTMCell", base, name, shown))
    report(
        f"LSTM, input {INPUT}, hidden {HIDDEN}, context {CONTEXT}, {TIME} steps: speed ratios",
        [(what, base / shown[name].median, "", shown) for what, base, name, shown in rows],
    )


if __name__ == "__main__":
    main()
