"""What is wrong with a table, found before the training instead of during its third hour."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol

from datasets import Dataset, DatasetDict

from captioner.errors import DataError, UserError
from captioner.text.vocabulary import SPECIAL
from captioner.vision.header import read_header
from captioner.vision.image import ImageLimits, decode_image
from captioner.vision.sniff import sniff_format
from training.data.pictures import read_bytes
from training.data.splits import SPLITS, TRAIN
from training.data.tokens import Tokens

Check = Literal["none", "header", "decode"]

KINDS = {
    "missing": "missing files",
    "unreadable": "unreadable pictures",
    "uncaptioned": "pictures without captions",
    "empty": "empty captions",
    "leak": "pictures in two splits",
}
NAMED = 5  # problems listed by name in an error


@dataclass(frozen=True)
class Problem:
    """One of ``KINDS``, at one row of a split; ``caption`` is the number of an empty one."""

    kind: str
    split: str
    index: int
    name: str
    why: str = ""
    caption: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.split}{': ' if self.why else ''}{self.why})"


@dataclass(frozen=True)
class SplitReport:
    """Counts over one split; ``words``: fewest, median and most words of a caption."""

    images: int
    captions: int
    words: tuple[int, int, int]
    unknown: float
    """Share of its words, 0 to 1, that the vocabulary lacks."""
    duplicates: int
    """Pictures whose bytes came before in the same split; allowed."""


@dataclass(frozen=True)
class Report:
    """The state of a table as it was read, bad rows included."""

    splits: dict[str, SplitReport]
    min_count: int
    words: int
    """Different words in the training captions."""
    vocabulary: int
    """How many of them come at least ``min_count`` times."""
    problems: list[Problem] = field(default_factory=list)

    def count(self, kind: str, split: str | None = None) -> int:
        """Problems of a kind, in one split or all."""
        return sum(p.kind == kind and split in (None, p.split) for p in self.problems)

    def __str__(self) -> str:
        """A table of a few lines, one column a split."""
        rows: list[tuple[str, list[str]]] = [("", list(self.splits))]
        parts = list(self.splits.values())
        rows.append(("pictures", [f"{part.images}" for part in parts]))
        rows.append(("captions", [f"{part.captions}" for part in parts]))
        spread = ["{}/{}/{}".format(*part.words) for part in parts]
        rows.append(("words, least/median/most", spread))
        rows.append(("unknown words", [f"{part.unknown:.1%}" for part in parts]))
        rows.append(("same picture again", [f"{part.duplicates}" for part in parts]))
        for kind, title in KINDS.items():
            if self.count(kind):
                rows.append((title, [f"{self.count(kind, split)}" for split in self.splits]))
        wide = max(len(title) for title, _ in rows)
        cell = max(len(text) for _, cells in rows for text in cells)
        lines = [f"{t:<{wide}}  " + "  ".join(f"{c:>{cell}}" for c in cells) for t, cells in rows]
        lines.append(
            f"vocabulary: {self.vocabulary} of {self.words} words, those that come at least "
            f"{self.min_count} times in training"
        )
        return "\n".join(line.rstrip() for line in lines)

    def raise_for_problems(self) -> None:
        """Raise ``DataError`` that counts the problems and names the first of each kind."""
        refuse(self.problems, KINDS, "Mend them, or set on_bad to drop to train without them.")


class OfAKind(Protocol):
    """A problem; as text it names what it was found in."""

    @property
    def kind(self) -> str:
        """One of those that the caller of :func:`refuse` lists."""


def refuse(problems: Sequence[OfAKind], kinds: Mapping[str, str], hint: str) -> None:
    """Raise ``DataError`` where there are any, by kind: how many, and the first by name."""
    if not problems:
        return
    parts = []
    for kind, title in kinds.items():
        found = [str(problem) for problem in problems if problem.kind == kind]
        if found:
            more = ", ..." if len(found) > NAMED else ""
            parts.append(f"{len(found)} {title}: {', '.join(found[:NAMED])}{more}")
    raise DataError(f"The table has {'; '.join(parts)}.", hint=hint)


def inspect_table(
    tables: DatasetDict,
    tokens: Mapping[str, Tokens],
    *,
    min_count: int = 1,
    check: Check = "header",
) -> Report:
    """Look at every row. ``tokens``: the words of each split's captions (``tokens.tokenised``).

    ``check``: ``"header"`` reads every picture file and its header; ``"decode"`` decodes it too,
    which finds files that end too early; ``"none"`` looks at captions and names alone.
    """
    problems: list[Problem] = []
    splits: dict[str, SplitReport] = {}
    training = Counter(word for of_image in tokens.get(TRAIN, []) for c in of_image for word in c)
    known = {w for w, count in training.items() if count >= min_count and w not in SPECIAL}
    by_name: dict[str, tuple[str, str]] = {}
    by_bytes: dict[str, tuple[str, str]] = {}
    for split in [name for name in reversed(SPLITS) if name in tables]:
        table = tables[split]
        names = list(table["filename"])
        problems += _caption_problems(split, names, tokens[split])
        duplicates = 0
        seen: set[str] = set()
        for index, (identity, digest, bad) in enumerate(_look(table, check)):
            if bad is not None:
                problems.append(Problem(bad[0], split, index, names[index], bad[1]))
            here = (split, names[index])
            other = by_name.setdefault(identity, here)
            why = f"also in {other[0]}"
            if digest is not None:
                duplicates += digest in seen
                seen.add(digest)
                if other[0] == split:
                    other = by_bytes.setdefault(digest, here)
                    why = f"the same bytes as {other[1]} in {other[0]}"
            if other[0] != split:
                problems.append(Problem("leak", split, index, names[index], why))
        splits[split] = _counts(tokens[split], known, duplicates)
    order = list(KINDS)
    problems.sort(key=lambda p: (order.index(p.kind), SPLITS.index(p.split), p.index))
    ordered = {name: splits[name] for name in SPLITS if name in splits}
    return Report(ordered, min_count, len(training), len(known), problems)


def without_problems(
    tables: DatasetDict, tokens: Mapping[str, Tokens], report: Report
) -> tuple[DatasetDict, dict[str, Tokens]]:
    """The table and its words without the rows and captions that the report complains of.

    A picture that is in two splits stays in the test before validation, and there before training.
    """
    kept_tables: dict[str, Dataset] = {}
    kept_tokens: dict[str, Tokens] = {}
    for split, table in tables.items():
        mine = [problem for problem in report.problems if problem.split == split]
        dropped = {problem.index for problem in mine if problem.caption is None}
        empty = {
            (problem.index, problem.caption) for problem in mine if problem.caption is not None
        }
        rows = [index for index in range(len(table)) if index not in dropped]
        if not rows:
            continue
        kept_tokens[split] = _without(tokens[split], rows, empty)
        kept = table.select(rows)
        if empty:
            feature = table.features["captions"]
            captions = _without(list(table["captions"]), rows, empty)
            kept = kept.remove_columns(["captions"]).add_column(
                "captions", captions, feature=feature
            )
        kept_tables[split] = kept
    return DatasetDict(kept_tables), kept_tokens


def _without(captions: list[list[Any]], rows: list[int], empty: set[Any]) -> list[list[Any]]:
    return [[c for number, c in enumerate(captions[i]) if (i, number) not in empty] for i in rows]


def _caption_problems(split: str, names: list[str], tokens: Tokens) -> Iterator[Problem]:
    for index, captions in enumerate(tokens):
        empty = [number for number, caption in enumerate(captions) if not caption]
        for number in empty:
            yield Problem("empty", split, index, names[index], f"caption {number}", number)
        if len(empty) == len(captions):
            yield Problem("uncaptioned", split, index, names[index])


def _counts(tokens: Tokens, known: set[str], duplicates: int) -> SplitReport:
    captions = [caption for of_image in tokens for caption in of_image]
    lengths = sorted(map(len, captions)) or [0]
    words = sum(lengths)
    unknown = sum(word not in known for caption in captions for word in caption)
    return SplitReport(
        images=len(tokens),
        captions=len(captions),
        words=(lengths[0], int(median(lengths)), lengths[-1]),
        unknown=unknown / words if words else 0.0,
        duplicates=duplicates,
    )


def _look(table: Dataset, check: Check) -> Iterator[tuple[str, str | None, tuple[str, str] | None]]:
    """For every picture: what it is called, a hash of its bytes if read, and what is wrong."""

    def look(row: dict[str, Any]) -> tuple[str | None, tuple[str, str] | None]:
        return _look_at(row["image"], check)

    with ThreadPoolExecutor(4) as pool:
        for rows in _pages(table):
            for row, (digest, bad) in zip(rows, pool.map(look, rows), strict=True):
                held = row["image"]["bytes"] is not None
                yield row["filename"] if held else row["image"]["path"], digest, bad


def _pages(table: Dataset, size: int = 256) -> Iterator[list[dict[str, Any]]]:
    """Rows a page at a time: the pictures of a large table do not fit into memory."""
    small = table.select_columns(["image", "filename"])
    for page in small.iter(size):
        pairs: Iterable[Any] = zip(page["image"], page["filename"], strict=True)
        yield [{"image": image, "filename": name} for image, name in pairs]


def _look_at(image: dict[str, Any], check: Check) -> tuple[str | None, tuple[str, str] | None]:
    if check == "none":
        return None, None
    try:
        data = read_bytes(image)
    except FileNotFoundError:
        return None, ("missing", "")
    except OSError as error:
        return None, ("unreadable", error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    try:
        if check == "decode":
            decode_image(data)
        else:
            header = read_header(data, sniff_format(data))
            limits = ImageLimits()
            small = min(header.width, header.height) < limits.min_side
            if small or header.width * header.height > limits.max_pixels:
                return digest, ("unreadable", f"{header.width} x {header.height} pixels")
    except UserError as error:
        return digest, ("unreadable", error.message.rstrip("."))
    return digest, None
