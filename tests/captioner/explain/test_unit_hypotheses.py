"""What a text says about itself: labels by hand for short texts."""

from __future__ import annotations

import numpy as np
import pytest

from captioner.explain.units import hypotheses
from captioner.explain.units.hypotheses import HYPOTHESES, is_binary, label


def drawn(labels: np.ndarray) -> str:
    return "".join("." if np.isnan(v) else f"{int(v):x}" for v in labels)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("in quotes", 'a "b c" d', "001111000"),
        ("in quotes", '"a\n\nb', "11100"),  # a blank line ends a quotation that nobody closed
        ("in quotes", "a “b” c", "0011000"),
        ("in a comment", "a /* b */ c", "00011111000"),
        ("in a comment", "a // b\nc", "00011100"[:6] + "00"),
        ("in a comment", "/*/ a */", "01111110"),
        ("in a comment", "a /* b", "000111"),  # cut off: still a comment
        ("in a comment", '"/* a"', "000000"),
        ("in a string", 'a "b" c', "0011000"),
        ("in a string", 'a "b\\"c" d', "0011111000"),
        ("in a string", "x = 'a'; y", "0000110000"),
        ("in a string", "'\\n' it's", "1110" + "00000"),
        ("in a string", '/* "a" */', "000000000"),
        ("in a string", '"a\nb', "1100"),  # a string does not go over a line end
        ("in a comment or string", '"a" /*b*/', "110001110"),
        ("in an if condition", "if (a) b;", "000110000"),
        ("in an if condition", "if (a(b)) c", "00011111000"),
        ("in an if condition", "elif (a)", "00000000"),
        ("in an if condition", '/* if (a) */ "if (b)"', "0" * 21),
        ("in an if condition", 'if (a == ")") b', "000111111111000"),
        ("bracket depth", "a(b[c])d", "01122100"),
        ("bracket depth", ")a", "00"),
        ("bracket depth", '("(")', "11110"),
        ("indentation", "a\n  b c\n\td", "0...222..8"),
        ("position in the line", "ab\nc", "1201"),
        ("before a line end", "ab\nc\n", "01010"[:4] + "."),
        ("run of capitals", "aBCd EF", "0010001"),
    ],
)
def test_labels_are_those_a_reader_gives(name: str, text: str, expected: str) -> None:
    assert drawn(HYPOTHESES[name](text)) == expected


@pytest.mark.parametrize("name", HYPOTHESES)
@pytest.mark.parametrize("text", ["", "\n", '"', "'", "/*", "if (", "((((", "\t\t", "a" * 50])
def test_no_text_is_too_odd_to_label(name: str, text: str) -> None:
    labels = HYPOTHESES[name](text)
    assert labels.shape == (len(text),)
    assert labels.dtype == np.float64


def test_what_a_text_cannot_test_is_left_out() -> None:
    found = label('say "hello" now')
    assert "in quotes" in found
    assert "in a comment" not in found
    assert "bracket depth" not in found
    assert label("") == {}


def test_zeros_and_ones_are_told_from_numbers() -> None:
    assert is_binary(hypotheses.in_quotes('a "b"'))
    assert not is_binary(hypotheses.line_position("abc"))
