"""A text of any length in parts that a translator can read: lines, then sentences, then halves.

A part is a line where that is short enough: a translator has learnt from whole lines. Only a longer
one is cut at the ends of its sentences, and a sentence that is still too long in halves, at a comma
or a blank near its middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

# An end mark, closing quotes and brackets behind it, and the blank after them.
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'“”‘’»«)\]]*\s+|(?<=[。！？])")
_CLAUSE = re.compile(r"(?<=[,;:،、，；])\s*")
_BLANK = re.compile(r"\s+")
# Nearly no text has fewer pieces than an eighth of its characters: no need to cut it to know.
_CHARACTERS_A_PIECE = 8


class Part(NamedTuple):
    """A stretch of a text, and what stands between its translation and the next one's."""

    text: str
    joint: str


def cut(text: str, count: Callable[[str], int], longest: int) -> list[Part]:
    """The parts of ``text``, at most ``longest`` by ``count``; a blank line is a part without text.

    ``count``: how many pieces a text has. Line feeds stay (CR LF is one), white space at a line's
    ends goes.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    parts: list[Part] = []
    for line in map(str.strip, lines):
        found = [line] if _fits(line, count, longest) else list(_sentences(line, count, longest))
        parts += [Part(part, " ") for part in found[:-1]]
        parts.append(Part(found[-1], "\n"))
    parts[-1] = parts[-1]._replace(joint="")
    return parts


def _sentences(line: str, count: Callable[[str], int], longest: int) -> Iterator[str]:
    begin = 0
    for match in _SENTENCE.finditer(line):
        yield from _halves(line[begin : match.end()].strip(), count, longest)
        begin = match.end()
    yield from _halves(line[begin:].strip(), count, longest)


def _halves(text: str, count: Callable[[str], int], longest: int) -> Iterator[str]:
    waiting = [text]
    while waiting:
        part = waiting.pop()
        if _fits(part, count, longest) or len(part) < 2:
            if part:
                yield part
            continue
        place = _middle(part)
        waiting += [part[place:].strip(), part[:place].strip()]


def _middle(text: str) -> int:
    """Where to cut: behind a comma in the middle half, else at a blank there, else anywhere."""
    quarter, half = len(text) // 4, len(text) // 2
    for pattern in (_CLAUSE, _BLANK):
        places = [m.end() for m in pattern.finditer(text, quarter, len(text) - quarter)]
        places = [place for place in places if 0 < place < len(text)]
        if places:
            return min(places, key=lambda place: abs(place - half))
    return max(1, half)


def _fits(text: str, count: Callable[[str], int], longest: int) -> bool:
    return len(text) <= _CHARACTERS_A_PIECE * longest and count(text) <= longest
