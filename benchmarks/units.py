"""What hidden units learn of a language whose hidden variables are known.

    python -m benchmarks.units [--seeds 1 2]

Trains ``configs/charlm/quoted.yaml`` on a made-up text, ranks its units on another one, and holds
the quote unit to see whether it is a cause. Units are chosen on one half of the text and scored on
the other; the columns beside the score are what comes without learning.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import machine
from captioner.explain.units.intervention import believe
from captioner.explain.units.ranking import Finding, rank
from captioner.explain.units.recording import Recording, record
from captioner.models.char_language_model import CharLanguageModel
from captioner.text.characters import Characters
from training import cli
from training.data.quoted_language import LETTERS, LONGEST_LINE, WINDOW, QuotedText, quoted_text

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "charlm" / "quoted.yaml"
WANTED = {"quote": 0.99, "column": 0.9, "depth": 0.7}
STREAMS = 8


def trained(seed: int, arguments: Sequence[str] = ()) -> tuple[CharLanguageModel, Characters]:
    """The config's model, trained on a text of a million characters."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "quoted.txt"
        source.write_text(quoted_text(1_000_000, 100).text, encoding="utf-8")
        module: Any = cli.build([
            "fit", "--config", str(CONFIG), "--seed_everything", str(seed),
            "--data.init_args.source", str(source),
            "--trainer.default_root_dir", folder, "--trainer.logger", "false",
            "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
            *arguments,
        ]).model  # fmt: skip
    return module.model.frozen(), module.alphabet


def labels(made: QuotedText) -> dict[str, NDArray[np.float64]]:
    """What the language hides. The column counts where it is not about to be reset."""
    column = made.column.copy()
    column[(column < 1) | (column > LONGEST_LINE - WINDOW)] = np.nan
    return {"quote": made.in_quotes, "column": column, "depth": made.depth}


class Direction:
    """Which way letters are expected to run: ``log p(next forwards) - log p(next backwards)``."""

    def __init__(self, made: QuotedText, characters: Characters) -> None:
        places = np.array([LETTERS.find(character) for character in made.text])
        known = np.flatnonzero((places >= 0) & (made.column > 5))
        ids = np.array(characters.encode(LETTERS))
        self._known, self._inside = known, made.in_quotes[known] == 1
        self._up = ids[(places[known] + 1) % len(LETTERS)]
        self._down = ids[(places[known] - 1) % len(LETTERS)]

    def __call__(self, log_probs: NDArray[np.float32]) -> tuple[float, float]:
        """Its mean outside quotes and inside."""
        found = log_probs[self._known, self._up] - log_probs[self._known, self._down]
        return float(found[~self._inside].mean()), float(found[self._inside].mean())


def causes(
    model: CharLanguageModel,
    recording: Recording,
    made: QuotedText,
    tokens: Sequence[int],
    characters: Characters,
    units: Sequence[str],
) -> dict[str, tuple[float, float]]:
    """The direction outside with ``units`` held at their mean inside, and the other way round.

    Beside it: free, and the largest change that one of five other units brings when it is moved by
    as many of its own standard deviations.
    """
    direction = Direction(made, characters)
    free = direction(believe(model, tokens, streams=STREAMS))
    inside, outside, moves = {}, {}, []
    for unit in units:
        values = recording.states[:, recording.column(unit)].astype(np.float64)
        inside[unit] = float(values[made.in_quotes == 1].mean())
        outside[unit] = float(values[made.in_quotes == 0].mean())
        moves.append(abs(inside[unit] - outside[unit]) / values.std())
    held = (
        direction(believe(model, tokens, inside, streams=STREAMS))[0],
        direction(believe(model, tokens, outside, streams=STREAMS))[1],
    )
    others = [name for name in recording.names if name.startswith("c") and name not in units]
    changes = []
    for unit in np.random.default_rng(0).choice(others, 5, replace=False):
        values = recording.states[:, recording.column(unit)].astype(np.float64)
        moved = {str(unit): float(values.mean() + np.mean(moves) * values.std())}
        found = direction(believe(model, tokens, moved, streams=STREAMS))
        changes.append((abs(found[0] - free[0]), abs(found[1] - free[1])))
    return {
        "free": free,
        "held": held,
        "others": (max(c[0] for c in changes), max(c[1] for c in changes)),
    }


def study(seed: int, arguments: Sequence[str] = ()) -> tuple[list[Finding], dict[str, Any]]:
    """One seed: its findings, and what was measured beside them."""
    began = time.process_time()
    model, characters = trained(seed, arguments)
    seconds = time.process_time() - began
    torch.manual_seed(seed + 1000)
    plain = CharLanguageModel(
        len(characters), hidden_size=model.cell.hidden_size, num_layers=1, forget_bias=1.0
    ).frozen()
    made = quoted_text(60_000, 200)
    tokens = characters.encode_array(made.text)
    recording = record(model, tokens.tolist(), streams=STREAMS)
    untrained = record(plain, tokens.tolist(), streams=STREAMS)
    findings = rank(recording, labels(made), tokens, untrained=untrained)
    quote = next(finding for finding in findings if finding.hypothesis == "quote")
    cells = [fit.unit for fit in quote.fits if fit.unit.startswith("c")]
    return findings, {
        "cpu_s": seconds,
        "nats": -float(np.nanmean(recording.log_probs)),
        "one": causes(model, recording, made, tokens.tolist(), characters, cells[:1]),
        "three": causes(model, recording, made, tokens.tolist(), characters, cells[:3]),
    }


def main() -> None:
    """Prints a table for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    sys.argv = sys.argv[:1]  # LightningCLI warns of arguments that are not for it
    print(f"benchmarks/units.py\n{machine()}")
    for seed in chosen.seeds:
        findings, extra = study(seed)
        print(f"\nseed {seed}: {extra['nats']:.4f} nats, {extra['cpu_s']:.0f} s of CPU to train")
        for finding in findings:
            print(
                f"{finding.hypothesis:<8} {finding.measure:<4} {finding.best.score:.3f}"
                f" (wanted {WANTED[finding.hypothesis]})  {finding.best.unit:<7}"
                f" untrained {finding.untrained:.3f}  shuffled {finding.shuffled:+.3f}"
                f"  character {finding.character:.3f}"
            )
        for name in ("one", "three"):
            cause = extra[name]
            print(
                f"{name} quote unit(s) held: outside {cause['free'][0]:+.2f} ->"
                f" {cause['held'][0]:+.2f}, inside {cause['free'][1]:+.2f} ->"
                f" {cause['held'][1]:+.2f}; five others change it by at most"
                f" {cause['others'][0]:.2f} and {cause['others'][1]:.2f}"
            )


if __name__ == "__main__":
    main()
