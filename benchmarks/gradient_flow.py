"""What of a gradient is left 100 steps back, before and after a network has learnt to add.

``python -m benchmarks.gradient_flow --seeds 3 --out runs/gradient_flow.jsonl``. Each kind of cell
is trained on the adding problem of 100 steps (Adam, batch 32, gradients clipped to norm 1). Then
the gradient of the last step's error with respect to the state is followed back, in float64. What
the file already holds is not trained again.

Starts: uniform in ±1/√H, as torch has it; ``elman, orthogonal`` with an orthogonal ``W_hh``; the
forget gate's bias of ``lstm`` at 1, and the update gate's of MUT1 to MUT3 at -1, which keeps as
much.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from captioner.explain.flow_figure import flow_figure
from captioner.explain.gradient_flow import GradientFlow, Watch, gradient_flow
from captioner.models.sequence_network import SequenceNetwork
from training.data.proof_tasks import Adding, Sequences

LENGTH, UNITS, BATCH, HELD_OUT = 100, 32, 32, 500
KINDS: dict[str, dict[str, Any]] = {
    "elman": {"cell": "elman"},
    "elman, orthogonal": {"cell": "elman"},
    "lstm": {"cell": "lstm", "forget_bias": 1.0},
    "gru": {"cell": "gru"},
    "gru_reset_before": {"cell": "gru_reset_before"},
    "mut1": {"cell": "mut1", "update_bias": -1.0},
    "mut2": {"cell": "mut2", "update_bias": -1.0},
    "mut3": {"cell": "mut3", "update_bias": -1.0},
    "nas": {"cell": "nas"},
}
RATES = {"elman": 1e-3, "elman, orthogonal": 1e-3}


def build(kind: str, seed: int) -> SequenceNetwork:
    torch.manual_seed(seed)
    network = SequenceNetwork(2, 1, hidden_size=UNITS, **KINDS[kind])
    if "orthogonal" in kind:
        nn.init.orthogonal_(network.cell.get_parameter("weight_hh"))
    return network


def error(network: SequenceNetwork, batch: Sequences) -> torch.Tensor:
    return functional.mse_loss(network(batch.inputs)[:, -1, 0], batch.targets[:, -1])


def train(network: SequenceNetwork, seed: int, rate: float, steps: int) -> tuple[int, float]:
    """Until the held-out error is below 0.005, or for ``steps``: the steps, and the error."""
    task, generator = Adding(LENGTH), torch.Generator().manual_seed(seed)
    held_out = task.draw(HELD_OUT, torch.Generator().manual_seed(10**6))
    optimiser = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    found = float("nan")
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        error(network, task.draw(BATCH, generator)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            with torch.no_grad():
                found = error(network, held_out).item()
            if found < 0.005:
                break
    return step, found


def flow_of(network: SequenceNetwork) -> GradientFlow:
    """Of the last step's error, over sequences of one step more than the lag of 100."""
    inputs, targets, counted = Adding(LENGTH + 1).draw(
        HELD_OUT, torch.Generator().manual_seed(10**6 + 1)
    )
    network = copy.deepcopy(network).double()
    with Watch(network) as watch:
        loss = error(network, Sequences(inputs.double(), targets.double(), counted))
    return gradient_flow(loss, watch.runs[0])


def measure(network: SequenceNetwork) -> dict[str, Any]:
    """Shares of the last step's norm that reach 100 steps back, of h and of c."""
    flow = flow_of(network)
    *_, last = flow.sigma_max
    opened = {gate: statistics.mean(values) for gate, values in flow.open_share.items()}
    shut = {gate: statistics.mean(values) for gate, values in flow.shut_share.items()}
    return {
        "h": flow.hidden[-1] / flow.hidden[0],
        "c": flow.memory[-1] / flow.memory[0] if flow.memory else None,
        "highway": flow.highway[-1] if flow.highway else None,
        "sigma_max": flow.sigma_max[last],
        "spectral_radius": flow.spectral_radius[last],
        "open": opened,
        "shut": shut,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """A table in Markdown: the median over seeds, and in brackets all of them."""
    print(
        "| cell | seeds | error | steps | h, start | h, trained | c, trained | highway, trained |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue

        def spread(values: list[float | None], form: str = ".0e") -> str:
            numbers = [value for value in values if value is not None]
            if not numbers:
                return "-"
            every = ", ".join(f"{value:{form}}" for value in sorted(numbers))
            return f"{statistics.median(numbers):{form}} ({every})"

        cells = [
            spread([row["error"] for row in own], ".4f"),
            spread([row["steps"] for row in own], ".0f"),
            spread([row["start"]["h"] for row in own]),
            spread([row["trained"]["h"] for row in own]),
            spread([row["trained"]["c"] for row in own]),
            spread([row["trained"]["highway"] for row in own]),
        ]
        print(f"| {kind} | {len(own)} | " + " | ".join(cells) + " |")


def main() -> None:
    """Trains what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("runs/gradient_flow.jsonl"))
    parser.add_argument("--picture", type=Path, help="a PNG of all kinds as they start")
    options = parser.parse_args()
    if options.picture is not None:
        flow_figure({kind: flow_of(build(kind, 0)) for kind in options.kinds}).save(options.picture)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.is_file() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["kind"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for kind in options.kinds:
            if (kind, seed) in done:
                continue
            network = build(kind, seed)
            start = measure(network)
            steps, found = train(network, seed, RATES.get(kind, 1e-2), options.steps)
            row = {"kind": kind, "seed": seed, "steps": steps, "error": found, "start": start}
            rows.append({**row, "trained": measure(network)})
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
