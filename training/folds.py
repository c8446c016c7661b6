"""``python -m training folds``: cross-validation of a config, fold by fold of the groups.

What is chosen is chosen on these scores, and the validation split is left for one look at the end.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.errors import InvalidOption
from training.cli import build

FOLDS = "--data.init_args.folds"


def main(arguments: Sequence[str]) -> int:
    """Trains and validates once a fold, and prints the scores of each and their mean.

    Everything but ``--seeds`` goes to the config as it does in ``fit``. Each run's best checkpoint
    is validated, as ``validate --ckpt_path best`` would; runs lie in ``fold-0`` and so on of the
    config's ``trainer.default_root_dir``.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training folds",
        description="Cross-validation: trains and validates a config once for each fold of "
        "data.folds (5 of the training videos by default), whole groups (data.groups) in one fold. "
        f"All other arguments are fit's: {FOLDS}.number=3, say.",
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each fold, with other seeds")
    chosen, others = parser.parse_known_args(arguments)
    given = ["--config", chosen.config, *others]
    first = build([*given, f"{FOLDS}.held_out=0"], run=False)
    if getattr(first.datamodule, "folds", None) is None:
        raise InvalidOption(
            "This config's data has no folds.", hint="Videos have: FrameDataModule."
        )
    number = first.datamodule.folds.number
    root = Path(first.config.trainer.default_root_dir or ".")
    seed = int(first.config.seed_everything)
    found = []
    for run in range(chosen.seeds):
        for fold in range(number):
            name = f"fold-{fold}" if not run else f"fold-{fold}-seed-{seed + run}"
            scores = train(
                [
                    *given,
                    f"{FOLDS}.held_out={fold}",
                    f"--trainer.default_root_dir={root / name}",
                    f"--seed_everything={seed + run}",
                ],
                root / name,
            )
            print(f"{name}: {_row(scores)}", flush=True)
            found.append(scores)
    print(table(found))
    return 0


def train(arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """One run, and what a validation of its own says, ``items`` (clips or streams) with it."""
    run = build(arguments, run=False)
    run.trainer.fit(run.model, datamodule=run.datamodule)
    run = build(arguments, run=False)  # anew, since what belongs to a fit says less
    best = str(folder / "best.ckpt")
    (scores,) = run.trainer.validate(
        run.model, datamodule=run.datamodule, ckpt_path=best, verbose=False
    )
    return {**scores, "items": float(len(run.datamodule.names("validation")))}


def table(folds: Sequence[dict[str, Any]]) -> str:
    """The mean of each score over the folds, each weighed by its items, and lowest and highest.

    A score that a fold lacks, such as that of a class it has no video of, is the mean of the
    others.
    """
    names = list(dict.fromkeys(name for scores in folds for name in scores if name != "items"))
    lines = [f"{len(folds)} runs, mean weighed by items (lowest to highest, standard deviation):"]
    for name in names:
        having = [scores for scores in folds if name in scores]
        values = [scores[name] for scores in having]
        total = sum(scores["items"] for scores in having)
        mean = sum(scores[name] * scores["items"] for scores in having) / total
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(
            f"{name:24} {mean:6.2f}  ({min(values):.1f} to {max(values):.1f}, {spread:.1f})"
        )
    return "\n".join(lines)


def _row(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
