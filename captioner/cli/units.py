"""``captioner units``: a text in the colours of a character model's hidden units."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.errors import DataError, InvalidOption

if TYPE_CHECKING:
    from captioner.tasks.units import UnitStudy


def add(commands: Any) -> None:
    """The command's arguments."""
    units = commands.add_parser(
        "units",
        help="what the hidden units of a character model do over a text",
        description="Ranks hidden units against what can be computed from the text itself: quotes, "
        "comments, line ends … Units are chosen on the first half and scored on the second.",
    )
    units.add_argument("model", metavar="MODEL", help="a bundle's name or directory")
    units.add_argument("text", metavar="TEXT", help="a text file in UTF-8")
    units.add_argument("--out", required=True, metavar="FILE.html", help="a page to explore")
    units.add_argument("--png", metavar="FILE.png", help="strips of the best units, for print")
    units.add_argument("--npz", metavar="FILE.npz", help="all states, for other tools")
    units.add_argument("--unit", action="append", default=[], help="for --png, such as c1.37")
    units.add_argument("--show", type=int, default=4000, help="characters on the page")
    units.add_argument("--seed", type=int, default=0, help="of the untrained network")
    units.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the page, and prints a line for each hypothesis."""
    targets = [
        _target(options, name, suffix)
        for name, suffix in (("out", ".html"), ("png", ".png"), ("npz", ".npz"))
        if getattr(options, name) is not None
    ]
    if options.show < 1:
        raise InvalidOption(f"--show is {options.show}.", hint="At least 1.")
    text = _read(Path(options.text))

    from captioner.bundle import find_bundle
    from captioner.explain.units.pages import units_page
    from captioner.tasks.units import study_units

    study = study_units(find_bundle("generate", options.model), text, seed=options.seed)
    for name in options.unit:
        study.recording.column(name)
    page = units_page(
        study.text,
        study.recording,
        study.findings,
        list(study.characters),
        title=f"Hidden units of {study.model}",
        most=options.show,
    )
    targets[0].write_text(page, encoding="utf-8")
    _print(study)
    if options.png:
        _draw(study, options)
    if options.npz:
        _save(study, Path(options.npz))
    print("\n".join(str(target) for target in targets))
    return 0


def _target(options: argparse.Namespace, name: str, suffix: str) -> Path:
    target = Path(getattr(options, name))
    if target.suffix.lower() != suffix:
        raise DataError(f"--{name} is {str(target)!r}; it must end in {suffix}.")
    if not target.parent.is_dir():
        raise DataError(f"There is no folder {str(target.parent)!r} for {target.name!r}.")
    if target.is_dir():
        raise DataError(f"--{name} is the folder {str(target)!r}.", hint="Give a file in it.")
    return target


def _read(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}."
        ) from None


def _print(study: UnitStudy) -> None:
    head = ("hypothesis", "unit", "score", "untrained", "shuffled", "character")
    print(f"{head[0]:<23}{head[1]:<10}{head[2]:>10}{head[3]:>11}{head[4]:>10}{head[5]:>11}")
    for found in study.findings:
        untrained = f"{found.untrained:.3f}" if found.untrained is not None else "-"
        print(
            f"{found.hypothesis:<23}{found.best.unit:<10}{found.measure:>4}"
            f"{found.best.score:6.3f}{untrained:>11}{found.shuffled:10.3f}{found.character:11.3f}"
        )
    if not study.findings:
        print("no hypothesis that this text could test in both its halves")


def _draw(study: UnitStudy, options: argparse.Namespace) -> None:
    from captioner.explain.units.strips import unit_strips

    chosen = [(name, "") for name in options.unit] or [
        (found.best.unit, f"{found.hypothesis}: {found.measure} {found.best.score:.3f}")
        for found in study.findings
    ]
    most = min(options.show, 1000)
    unit_strips(study.text, study.recording, chosen, most=most).save(options.png)


def _save(study: UnitStudy, target: Path) -> None:
    import numpy as np

    recording = study.recording
    np.savez_compressed(
        target,
        text=np.array(study.text),
        names=np.array(recording.names),
        characters=np.array(list(study.characters)),
        states=recording.states,
        likeliest=recording.likeliest,
        probabilities=recording.probabilities,
        log_probs=recording.log_probs,
    )
