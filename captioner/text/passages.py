"""A text of any length in parts that a translator can read: lines, their sentences, and halves.

A translator that has learnt from single sentences says nothing of a second one: it ends where the
first does. A sentence that is too long is cut in halves, at a comma or a blank near its middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

# An end mark with the quotes and brackets that close behind it, a blank, and no small letter.
_END = re.compile(r"(?<=[.!?…])[\"'“”‘’»«)\]]*\s+(?!\s)|(?<=[。！？])")
_LAST_WORD = re.compile(r"\S+$")
# Points that end no sentence though a capital letter follows; single letters are initials.
_SHORT = frozenset(
    {"bzw", "ca", "dr", "prof", "hr", "fr", "str", "nr", "usw", "vgl", "inkl", "evtl", "ggf", "sog"}
    | {"mr", "mrs", "ms", "jr", "sr", "st", "mt", "vs", "etc", "eg", "ie", "mme", "mlle"}
)
_CLAUSE = re.compile(r"(?<=[,;:،、，；])\s*")
_BLANK = re.compile(r"\s+")
# Nearly no text has fewer pieces than an eighth of its characters: no need to cut it to know.
_CHARACTERS_A_PIECE = 8


class Part(NamedTuple):
    """A stretch of a text, and what stands between its translation and the next one's.

    ``whole``: it is a sentence; False where one was too long.
    """

    text: str
    joint: str
    whole: bool = True


def cut(text: str, count: Callable[[str], int], longest: int) -> list[Part]:
    """The parts of ``text``, at most ``longest`` by ``count``; a blank line is a part without text.

    ``count``: how many pieces a text has. Line feeds stay (CR LF is one), white space at a line's
    ends goes.
    """
    parts: list[Part] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        for sentence in sentences(line) or [""]:
            halves = list(_halves(sentence, count, longest)) or [""]
            parts += [Part(half, " ", len(halves) == 1) for half in halves]
        parts[-1] = parts[-1]._replace(joint="\n")
    parts[-1] = parts[-1]._replace(joint="")
    return parts


def sentences(line: str) -> list[str]:
    """The sentences of a line, each with its end mark; none of a blank one."""
    found, begin = [], 0
    for match in _END.finditer(line):
        if not _goes_on(line, match):
            found.append(line[begin : match.end()].strip())
            begin = match.end()
    found.append(line[begin:].strip())
    return [sentence for sentence in found if sentence]


def _goes_on(line: str, end: re.Match[str]) -> bool:
    behind = line[end.end() : end.end() + 1]
    if line[end.start() - 1] in "。！？":
        return False
    if behind.islower() or behind.isdecimal() or not behind:
        return True
    word = _LAST_WORD.search(line, max(0, end.start() - 12), end.start())
    if word is None or line[end.start() - 1] != ".":
        return False
    letters = word[0].lower().strip("\"'“”„‘’»«()[].")
    return letters in _SHORT or len(letters.rpartition(".")[2]) == 1


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
