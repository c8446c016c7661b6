"""Which picture is for training, which for validation, which for the test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import DataError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

NAMES = {
    **dict.fromkeys(("train", "training", "restval"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""What splits are called in the wild; ``restval`` is Karpathy's rest of COCO's validation set."""

IN_FILE_NAME = re.compile(rf"(?<![a-z])({'|'.join(sorted(NAMES, key=len, reverse=True))})(?![a-z])")

EDGE = 16 * 1024  # bytes read from each end of a file for its key


@dataclass(frozen=True)
class SplitFractions:
    """How much is put aside where a table does not say: shares of all pictures, and a seed."""

    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise ``DataError`` for shares that leave nothing to train on."""
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise DataError(
                f"The split fractions are validation {self.validation} and test {self.test}.",
                hint="Each must be at least 0, and together they must be below 1.",
            )


def split_name(name: str) -> str:
    """``train``, ``validation`` or ``test`` for any usual spelling; ``DataError`` otherwise."""
    known = NAMES.get(name.strip().lower())
    if known is None:
        raise DataError(
            f"There is no split {name!r}.", hint=f"Splits are called {', '.join(NAMES)}."
        )
    return known


def split_of_file(path: Path) -> str | None:
    """The split that a file's name tells (``train-00000.parquet``), None when it tells none."""
    found = IN_FILE_NAME.findall(path.name.lower())
    return NAMES[found[0]] if len(found) == 1 else None


def picture_key(data: bytes | None, path: str | None) -> str:
    """A short hash of a picture file: equal files have equal keys, whatever they are called.

    Made of the size and both ends of the file, so that a large collection is not read in full. A
    file that cannot be read is keyed by its name.
    """
    try:
        if data is not None:
            size, head, tail = len(data), data[:EDGE], data[-EDGE:]
        else:
            with open(path or "", "rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                head = file.read(EDGE)
                file.seek(max(0, size - EDGE))
                tail = file.read(EDGE)
    except OSError:
        size, head, tail = -1, Path(path or "").name.encode(), b""
    return hashlib.sha256(b"%d:" % size + head + tail).hexdigest()


def assign_splits(keys: Sequence[str], wanted: dict[str, float], seed: int) -> list[str]:
    """A split for every picture, by its key alone: ``wanted`` shares first, the rest is training.

    Equal keys get equal splits, and a picture keeps its split when others are added or renamed.
    Where chance leaves a wanted split of a small table empty, it gets the picture drawn nearest.
    """
    drawn = [_uniform(f"{seed}:{key}") for key in keys]
    result = [TRAIN] * len(keys)
    start = 0.0
    for split, share in wanted.items():
        free = [i for i, taken in enumerate(result) if taken == TRAIN]
        inside = [i for i in free if start <= drawn[i] < start + share]
        start += share
        if share > 0 and not inside and len({keys[i] for i in free}) > 1:
            nearest = min(free, key=lambda i: (abs(drawn[i] - start), keys[i]))
            inside = [i for i in free if keys[i] == keys[nearest]]
        for i in inside:
            result[i] = split
    return result


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
