"""What the hidden units of a trained character model stand for in a text of people.

    python -m benchmarks.text_units shakespeare --text char/shakespeare.txt.gz --lines play

Reads the end of a text, which the model was not trained on; ranks all units against what can be
computed from that text, chosen on its first half and scored on its second, beside the controls;
holds the best quote units and watches the probability of the quote that closes; names the unit that
fits nothing. ``--png`` draws the best units, and that one, over a few lines that nobody else wrote.
Several models, such as two seeds, give a table each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.bundle import Bundle, find_bundle
from captioner.explain.units.hypotheses import HYPOTHESES, in_quotes
from captioner.explain.units.intervention import believe
from captioner.explain.units.ranking import Finding
from captioner.explain.units.recording import Recording, record
from captioner.explain.units.strips import unit_strips
from captioner.models.char_language_model import CharLanguageModel
from captioner.tasks.generate import char_language_model_of
from captioner.tasks.units import MOST_CHARACTERS, UnitStudy, study_units
from training.data.lines import read_text
from training.data.location import locate

HELD, STREAMS, OTHERS = 40_000, 40, 5
MEASURES = {"AUC": "AUC", "|r|": "correlation"}  # bars would be columns
CODE = """\
/* Adds what a row of "numbers" says, and counts the rest. */
static int sum_row(const char *row, struct total *out)
{
\tint i, found = 0;

\tfor (i = 0; row[i] != '\\0'; i++) {
\t\tif (row[i] >= '0' && (found < MAX_FOUND || out->loud)) {
\t\t\tpr_info("row %d has \\"%c\\" (%d)\\n", i, row[i], found);
\t\t\tfound++;
\t\t}
\t}
\treturn found; /* MAX_FOUND at most */
}
"""
NOVEL = """\
"You are late," said Anna, and went to the window. "We had given up
hope; the carriage (the old one) has been sent away."

He did not answer at once. The snow lay on the roofs, and somewhere a
bell began. "I came on foot," he said at last, "because I wished to
see it all once more before I go."
"""
PLAY = """\
FIRST KEEPER:
Who walks so late upon the castle wall?
Stand still, and tell me truly what you seek.

WANDERER:
No more than bread, good sir, and leave to sleep.
"""
PROSE = ("in quotes", "position in the line", "before a line end", "run of capitals")
LINES = {"code": (CODE, tuple(HYPOTHESES)), "novel": (NOVEL, PROSE), "play": (PLAY, PROSE[1:])}


def end_of(source: str, last: float) -> str:
    """The last characters of a text, as a share or as a number; at most 200,000 of them."""
    text = "".join(read_text(path) for path in locate(source))
    count = round(last * len(text) if last <= 1 else last)
    return text[len(text) - count :][:MOST_CHARACTERS]


def odd_one(recording: Recording, findings: list[Finding]) -> tuple[str, float]:
    """Of the livelier half of the cell states, the one that fits every hypothesis least.

    And how far it is from chance where it comes nearest to one: 1 is a perfect fit.
    """
    nearest = dict.fromkeys(recording.names, 0.0)
    for found in findings:
        for fit in found.fits:
            distance = 2 * fit.chosen_score - 1 if found.measure == "AUC" else fit.chosen_score
            nearest[fit.unit] = max(nearest[fit.unit], distance)
    cells = [name for name in recording.names if name.startswith("c")] or list(recording.names)
    moves = recording.shown([recording.column(name) for name in cells]).std(0)
    lively = [name for name, move in zip(cells, moves, strict=True) if move >= np.median(moves)]
    name = min(lively, key=nearest.__getitem__)
    return name, nearest[name]


def closing(model: CharLanguageModel, study: UnitStudy, units: list[str]) -> str:
    """The probability of a quote where one closes, free and with units held.

    The first and the first three of ``units``, each at its mean outside quotes; beside it five
    others, one at a time, moved as far as the first in their own standard deviations.
    """
    text = study.text[:HELD]
    text = text[: len(text) - len(text) % STREAMS]
    tokens = study.characters.encode(text)
    labels = in_quotes(text)
    closes = np.flatnonzero((labels[:-1] == 1) & (labels[1:] == 0) & (_next(text) == '"'))
    mark = study.characters.encode('"')[0]
    states, names = study.recording.states[: len(text)].astype(np.float32), study.recording.names

    def chance(held: dict[str, float]) -> float:
        believed = believe(model, tokens, held, streams=STREAMS)
        return float(np.exp(believed[closes, mark]).mean())

    outside = {u: float(states[labels == 0, names.index(u)].mean()) for u in units[:3]}
    first = states[:, names.index(units[0])]
    far = float(outside[units[0]] - first[labels == 1].mean()) / float(first.std())
    others = [name for name in names if name[0] == units[0][0] and name not in units]
    moved = []
    for other in np.random.default_rng(0).choice(others, OTHERS, replace=False):
        own = states[:, names.index(str(other))]
        moved.append(chance({str(other): float(own.mean() + far * own.std())}))
    one = chance({units[0]: outside[units[0]]})
    return (
        f"{len(closes)} quotes close: probability {chance({}):.3f}; with {units[0]} held as outside"
        f" {one:.3f}; with {', '.join(outside)} {chance(outside):.3f}; with one of five others"
        f" moved as far, at least {min(moved):.3f}"
    )


def _next(text: str) -> NDArray[np.str_]:
    return np.array(list(text[1:]))


def draw(bundle: Bundle, study: UnitStudy, findings: list[Finding], odd: str, kind: str, to: Path):
    """Strips of the best unit of each hypothesis, and of the one that fits none."""
    model = char_language_model_of(bundle, study.characters).requires_grad_(False).frozen()
    lines = LINES[kind][0]
    recording = record(model, study.characters.encode(lines))
    titles: dict[str, str] = {}
    for f in findings:
        titles.setdefault(f.best.unit, f"{f.hypothesis}: {f.measure} {f.best.score:.3f}")
    picture = unit_strips(lines, recording, [*titles.items(), (odd, "fits none of these")])
    picture.quantize(64).save(to, optimize=True)
    print(f"{to}: {to.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a bundle's name or directory")
    parser.add_argument("--text", required=True, help="as a config's data.source")
    parser.add_argument(
        "--last", type=float, default=0.1, help="what was held out: a share, or characters"
    )
    parser.add_argument("--lines", choices=LINES, required=True, help="what kind of text it is")
    parser.add_argument("--png", type=Path, help="strips of the first model's units")
    chosen = parser.parse_args()
    text = end_of(chosen.text, chosen.last)
    for number, name in enumerate(chosen.models):
        bundle = find_bundle("generate", name)
        study = study_units(bundle, text, seed=number, best=10**6)
        findings = [f for f in study.findings if f.hypothesis in LINES[chosen.lines][1]]
        nats = -float(np.nanmean(study.recording.log_probs))
        print(f"\n{name}: {len(study.text):,} held-out characters, {nats:.3f} nats each\n")
        print("| | share or mean | best unit | score | untrained | shuffled | character alone |")
        print("|---|---|---|---|---|---|---|")
        for found in findings:
            print(
                f"| {found.hypothesis}, {MEASURES[found.measure]} | {found.share:.3f}"
                f" | {found.best.unit} | {found.best.score:.3f} | {found.untrained:.3f}"
                f" | {found.shuffled:.3f} | {found.character:.3f} |"
            )
        odd, nearest = odd_one(study.recording, study.findings)
        print(f"\nfits none: {odd}, at its nearest {nearest:.2f} of the way from chance to perfect")
        model = char_language_model_of(bundle, study.characters).requires_grad_(False).frozen()
        quote = next((f for f in findings if f.hypothesis == "in quotes"), None)
        if quote is not None:
            cells = [fit.unit for fit in quote.fits if fit.unit.startswith("c")]
            print(closing(model, study, (cells or [fit.unit for fit in quote.fits])[:10]))
        if number == 0 and chosen.png is not None:
            draw(bundle, study, findings, odd, chosen.lines, chosen.png)


if __name__ == "__main__":
    main()
