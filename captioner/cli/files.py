"""The files that a command is given, and the output that a later run goes on with.

An output holds one JSON object a line; its first key names the file that the line is about.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from captioner.errors import DataError

T = TypeVar("T")


def expand(given: Sequence[str], suffixes: Collection[str], kind: str) -> tuple[list[str], bool]:
    """The files, and those in the folders, of what was given. Second: may be more than one.

    ``suffixes``: of the files that are taken from a folder. ``kind``: what they are called, such as
    ``"pictures"``. Raises DataError for a folder that holds none.
    """
    found: list[str] = []
    for path in given:
        if not os.path.isdir(path):  # unlike Path's, False for a name that is too long
            found.append(path)
            continue
        inside = sorted(Path(path).rglob("*"))
        files = [str(p) for p in inside if p.suffix.lower() in suffixes and p.is_file()]
        if not files:
            raise DataError(f"The folder {path!r} holds no {kind} ({', '.join(sorted(suffixes))}).")
        found += files
    return found, len(found) > 1 or any(os.path.isdir(path) for path in given)


def name_of(path: str, out: str) -> str:
    """The file as seen from the output's folder.

    Two files in one output then never share a name, whichever folders they were given by, and a
    later run knows them from whichever folder it is started.
    """
    folder, file = os.path.split(path)
    place = os.path.join(os.path.realpath(folder), file)
    with suppress(ValueError):  # on another drive, where no way leads
        place = os.path.relpath(place, os.path.dirname(os.path.realpath(out)))
    return place.replace(os.sep, "/")


def output(path: str | None) -> AbstractContextManager[IO[str] | None]:
    """The file, open for more lines; None where no path is given."""
    return open(path, "a", encoding="utf-8") if path else nullcontext()


def already_done(out: str, keys: Sequence[str]) -> set[str]:
    """Names that the output holds. A line that a crash cut off is taken away, to be done again.

    ``keys``: what each line has, the name first.

    Raises DataError where captioner did not write the file, which then stays as it is.
    """
    if os.path.isdir(out):
        raise DataError(f"--out is the folder {out!r}.", hint="Give a file in it.")
    folder, file = os.path.split(out)
    if not os.path.isdir(folder or "."):
        raise DataError(f"There is no folder {folder!r} for {file!r}.")
    if not os.path.isfile(out):  # not there yet, or a pipe
        return set()
    done: set[str] = set()
    first_key = b'{"%s"' % keys[0].encode()
    with open(out, "rb") as written:
        lines = list(written)
    whole = 0
    for number, line in enumerate(lines, 1):
        row: Any = None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            begun = line.startswith(first_key) or (done and first_key.startswith(line))
            if begun and number == len(lines) and not line.endswith(b"\n"):
                break
        ours = isinstance(row, dict) and set(keys).issubset(row) and isinstance(row[keys[0]], str)
        if not ours:
            raise DataError(
                f"Line {number} of {out} was not written by captioner.",
                hint="Give another file with --out.",
            )
        done.add(row[keys[0]])
        whole += len(line)
    if whole < sum(map(len, lines)):
        os.truncate(out, whole)
    elif lines and not lines[-1].endswith(b"\n"):
        with open(out, "ab") as ended:
            ended.write(b"\n")
    return done


def progress(results: Iterator[T], total: int, *, unit: str, desc: str) -> Iterator[T]:
    """The results as they come, with a bar."""
    from tqdm import tqdm

    yield from tqdm(results, total=total, unit=unit, desc=desc)
