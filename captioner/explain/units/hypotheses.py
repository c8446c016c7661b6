"""What a hidden unit might stand for, computed from the text itself, after each character.

A label is an array ``(T,)`` of floats, not a number where it says nothing. A label of zeros and
ones is scored by the area under the ROC curve, any other by the correlation (``ranking``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.float64]

_OPEN, _CLOSE = "([{", ")]}"
_TAB = 8  # columns, as in C source


def in_quotes(text: str) -> Labels:
    """1 between an opening and a closing double quote; a blank line ends a quotation.

    The opening mark counts as inside, the closing one as outside: the label says what the *next*
    character is in. Curly quotes open and close by their shape.
    """
    found, inside = np.zeros(len(text)), False
    for place, character in enumerate(text):
        if character == '"':
            inside = not inside
        elif character in "“”":
            inside = character == "“"
        elif character == "\n" and text[place - 1 : place] == "\n":
            inside = False
        found[place] = inside
    return found


def in_comment(text: str) -> Labels:
    """1 in a comment of C, ``/* … */`` or ``// …``, from the character after its opening."""
    return _marked(text, "comment")


def in_string(text: str) -> Labels:
    """1 in a string or character constant of C, from its opening mark to before its closing one."""
    return _marked(text, "string")


def in_comment_or_string(text: str) -> Labels:
    """1 in either of :func:`in_comment` and :func:`in_string`: what is not code."""
    return np.maximum(in_comment(text), in_string(text))


def in_if_condition(text: str) -> Labels:
    """1 within the brackets of ``if (…)``, comments and strings of C left aside."""
    found, code = np.zeros(len(text)), in_comment_or_string(text) == 0
    for match in re.finditer(r"\bif\s*\(", text):
        if not code[match.start()]:
            continue
        depth = 0
        for place in range(match.end() - 1, len(text)):
            if code[place]:
                depth += (text[place] == "(") - (text[place] == ")")
            if depth == 0:
                break
            found[place] = 1
    return found


def bracket_depth(text: str) -> Labels:
    """How many brackets are open, comments and strings of C left aside; never below 0."""
    found, depth = np.zeros(len(text)), 0
    code = in_comment_or_string(text) == 0
    for place, character in enumerate(text):
        if code[place] and character in _OPEN:
            depth += 1
        elif code[place] and character in _CLOSE:
            depth = max(0, depth - 1)
        found[place] = depth
    return found


def indentation(text: str) -> Labels:
    """Columns of white space that the line began with; no number before it is over."""
    found = np.full(len(text), np.nan)
    width, begun = 0, False
    for place, character in enumerate(text):
        if character == "\n":
            width, begun = 0, False
            continue
        if not begun and character == " ":
            width += 1
        elif not begun and character == "\t":
            width += _TAB - width % _TAB
        else:
            begun = True
        if begun:
            found[place] = width
    return found


def line_position(text: str) -> Labels:
    """Characters since the last line feed."""
    places = np.arange(len(text), dtype=np.float64)
    feeds = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) == 10
    last = np.maximum.accumulate(np.where(feeds, places, -1.0))
    return places - last


def before_line_end(text: str) -> Labels:
    """1 where a line feed comes next; of the last character nothing is known."""
    found = np.array([float(character == "\n") for character in text[1:]] + [np.nan])
    return found[: len(text)]


def capital_run(text: str) -> Labels:
    """1 on a capital letter that follows one."""
    pairs = zip(" " + text[:-1], text, strict=True) if text else ()
    return np.array([float(a.isupper() and b.isupper()) for a, b in pairs])


HYPOTHESES: dict[str, Callable[[str], Labels]] = {
    "in quotes": in_quotes,
    "in a comment": in_comment,
    "in a string": in_string,
    "in a comment or string": in_comment_or_string,
    "in an if condition": in_if_condition,
    "bracket depth": bracket_depth,
    "indentation": indentation,
    "position in the line": line_position,
    "before a line end": before_line_end,
    "run of capitals": capital_run,
}


def label(
    text: str, names: Mapping[str, Callable[[str], Labels]] = HYPOTHESES
) -> dict[str, Labels]:
    """The labels of all hypotheses that a text can test: those that are not the same throughout."""
    found = {name: compute(text) for name, compute in names.items()}
    return {name: labels for name, labels in found.items() if _varies(labels)}


def is_binary(labels: Labels) -> bool:
    """Whether labels are zeros and ones."""
    return bool(np.isin(labels[~np.isnan(labels)], (0.0, 1.0)).all())


def _varies(labels: Labels) -> bool:
    known = labels[~np.isnan(labels)]
    return len(known) > 0 and bool(known.min() < known.max())


def _marked(text: str, wanted: str) -> Labels:
    found = np.zeros(len(text))
    for kind, first, end in _spans(text):
        if kind == wanted:
            found[first:end] = 1
    return found


# A string does not go over a line end; a comment may be cut off by the end of the text.
_MARKS = re.compile(
    r'(?P<string>"(?:\\.|[^"\\\n])*(?:"|$)'
    r"|(?<![A-Za-z0-9])'(?:\\.[0-7a-fA-F]{0,2}|[^'\\\n])'"
    r")|(?P<comment>/\*.*?(?:\*/|\Z)|//[^\n]*)",
    re.DOTALL | re.MULTILINE,
)


def _spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, first and end of what is marked: what the *next* character is in."""
    for match in _MARKS.finditer(text):
        if match["string"] is not None:
            closed = match.end() - match.start() > 1 and text[match.end() - 1] in "\"'"
            yield "string", match.start(), match.end() - closed
        else:
            closed = match[0].startswith("/*") and match[0].endswith("*/") and len(match[0]) > 3
            yield "comment", match.start() + 1, match.end() - closed
