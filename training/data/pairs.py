"""Pairs of sentences: two files with a sentence a line each, or one table with tabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captioner.errors import DataError
from training.data.lines import read_lines
from training.data.location import locate
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions, assign_splits, split_name


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


Pairs = dict[str, list[Pair]]


def read_pairs(
    files: Mapping[str, str | Sequence[str]],
    *,
    columns: tuple[int, int] = (0, 1),
    fractions: SplitFractions | None = None,
    group: int = 1,
) -> Pairs:
    """The pairs of each split.

    ``files``: for each split two files, line n of one translates line n of the other, or one
    table whose ``columns`` (counted from 0) are source and target. Where there is a training table
    only, ``fractions`` of it are put aside, all pairs that share the side ``group`` (0 source, 1
    target) together: a test sentence is never one that was trained on.

    Raises ``DataError`` for files of different length, an empty line, too few columns.
    """
    found = {split_name(split): _read(given, columns) for split, given in files.items()}
    if set(found) == {TRAIN} and fractions is not None:
        fractions.check()
        pairs = found[TRAIN]
        wanted = {VALIDATION: fractions.validation, TEST: fractions.test}
        splits = assign_splits([pair[group] for pair in pairs], wanted, fractions.seed)
        found = {
            split: [pair for pair, own in zip(pairs, splits, strict=True) if own == split]
            for split in (TRAIN, VALIDATION, TEST)
        }
    return found


def _read(given: str | Sequence[str], columns: tuple[int, int]) -> list[Pair]:
    names = [given] if isinstance(given, str) else list(given)
    if len(names) == 1:
        return _read_table(names[0], columns)
    if len(names) != 2:
        raise DataError(
            f"A split has {len(names)} files.",
            hint="Two with a sentence a line each, or one table with tabs.",
        )
    sides = [read_lines(locate(name)[0]) for name in names]
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{names[0]!r} has {len(sides[0])} lines and {names[1]!r} has {len(sides[1])}.",
            hint="Line n of one must be the translation of line n of the other.",
        )
    for name, lines in zip(names, sides, strict=True):
        for number, line in enumerate(lines, 1):
            if not line:
                raise DataError(
                    f"{name!r} has nothing in line {number}.",
                    hint="Take the line out of both files.",
                )
    return [Pair(*pair) for pair in zip(*sides, strict=True)]


def _read_table(name: str, columns: tuple[int, int]) -> list[Pair]:
    pairs = []
    for number, line in enumerate(read_lines(locate(name)[0]), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if max(columns) >= len(cells):
            raise DataError(
                f"{name!r} has {len(cells)} columns in line {number}; "
                f"column {max(columns) + 1} is asked for.",
                hint="Columns are separated by tabs and counted from 0 in data.columns.",
            )
        pair = Pair(cells[columns[0]], cells[columns[1]])
        if not all(pair):
            raise DataError(f"{name!r} has an empty sentence in line {number}.")
        pairs.append(pair)
    return pairs
