"""Every cell side by side: ``python -m benchmarks.cells --threads 1``.

Parameters and speed at the same sizes (a character model of 256 units on Tiny Shakespeare's 65
characters): training is forward and backward of 32 x 64 characters, generation one character after
the other. ``--train`` also trains each on the text, with as many parameters as an LSTM of 128 units
has and on equally many characters, through the config that ships.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.measure import in_turns, machine
from captioner.models.char_language_model import CharLanguageModel
from captioner.recurrent import CELLS, detach

CHARACTERS, UNITS, BATCH, CHUNK, GENERATED = 65, 256, 32, 64, 200
ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs" / "charlm" / "shakespeare_quick.yaml"
NAMES = [name for name in CELLS if name != "tree"]  # with its default a tree is NASCell


def model(cell: str, units: int) -> CharLanguageModel:
    return CharLanguageModel(
        CHARACTERS, cell=cell, hidden_size=units, num_layers=1, inputs="embedding"
    )


def size(cell: str, units: int) -> int:
    return sum(parameter.numel() for parameter in model(cell, units).parameters())


def as_large(cell: str, wanted: int) -> int:
    """How many units give the number of parameters that is nearest to ``wanted``."""
    units = 8
    while size(cell, units + 1) <= wanted:
        units += 1
    return min(units, units + 1, key=lambda chosen: abs(size(cell, chosen) - wanted))


def training(network: CharLanguageModel) -> Callable[[], None]:
    tokens = torch.randint(CHARACTERS, (BATCH, CHUNK + 1))

    def step() -> None:
        network.zero_grad()
        logits, _ = network(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()

    return step


def generation(network: CharLanguageModel) -> Callable[[], None]:
    network = network.frozen()

    def run() -> None:
        with torch.inference_mode():
            token, state = torch.zeros(1, dtype=torch.int64), network.initial_state(1)
            for _ in range(GENERATED):
                logits, state = network.advance(token, detach(state))
                token = logits.argmax(1)

    return run


def learn(cell: str, units: int, epochs: int, folder: Path) -> float:
    """Held-out nats a character after ``epochs`` of the config that ships."""
    from training.cli import build

    run = folder / cell
    cli = build(
        [
            *("fit", "--config", str(CONFIG)),
            f"--model.init_args.network.cell={cell}",
            f"--model.init_args.network.hidden_size={units}",
            f"--trainer.max_epochs={epochs}",
            f"--trainer.default_root_dir={run}",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu",
        ]
    )
    return float(cli.trainer.callback_metrics["nats"])


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--train", type=Path, help="a folder for runs; what is there is kept")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    networks = {name: model(name, UNITS) for name in NAMES}
    trained = in_turns({n: training(net) for n, net in networks.items()}, options.rounds, clock)
    said = in_turns({n: generation(net) for n, net in networks.items()}, options.rounds, clock)
    found: dict[str, Any] = {}
    if options.train is not None:
        options.train.mkdir(parents=True, exist_ok=True)
        kept = options.train / "nats.json"
        found = json.loads(kept.read_text()) if kept.is_file() else {}
        for name in NAMES:
            if name not in found:
                units = as_large(name, size("lstm", 128))
                nats = learn(name, units, options.epochs, options.train)
                found[name] = {"units": units, "parameters": size(name, units), "nats": nats}
                kept.write_text(json.dumps(found))
    print(f"{machine()}; {UNITS} units\n")
    print(
        "| cell | parameters | training, characters/s | generation, characters/s | nats (units) |"
    )
    print("|---|---|---|---|---|")
    for name in NAMES:
        each = f"{found[name]['nats']:.3f} ({found[name]['units']})" if name in found else ""
        speed = BATCH * CHUNK / trained[name].median * 1000
        says = GENERATED / said[name].median * 1000
        print(f"| {name} | {size(name, UNITS):,} | {speed:,.0f} | {says:,.0f} | {each} |")


if __name__ == "__main__":
    main()
