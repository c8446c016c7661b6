"""Cutting texts into parts: nothing is lost, nothing is too long, sentences stay whole."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from captioner.text.passages import cut, sentences


def words(text: str) -> int:
    return len(text.split())


def test_a_line_falls_into_its_sentences() -> None:
    assert cut("One. Two! Three?", words, 5) == [
        ("One.", " ", True),
        ("Two!", " ", True),
        ("Three?", "", True),
    ]
    assert sentences("Er sagte: „Ja.“ Sie ging (schnell!) Heim? „Und dann…“  Ende") == [
        "Er sagte: „Ja.“", "Sie ging (schnell!)", "Heim?", "„Und dann…“", "Ende",
    ]  # fmt: skip
    assert sentences("一二。三四！五六") == ["一二。", "三四！", "五六"]
    assert sentences(" \t") == []


@pytest.mark.parametrize(
    "line",
    [
        "ein Globus von ca. 120 cm und usw. eines Mannes",
        "Männer mit Hut bzw. Mütze bei J.P. Morgan",
        "Mr. Smith and Dr. J. Doe of St. Ives",
        "He said ... what is 3.5 or v. 2?",
        "Das ist Nr. 5 von z. B. Wien.",
        "Ende.  ",
    ],
)
def test_a_point_that_ends_no_sentence(line: str) -> None:
    assert sentences(line) == [line.strip()]


def test_lines_stay_lines_and_blank_ones_blank() -> None:
    found = [part[:2] for part in cut("a\r\n\r\n  b c \n\n", words, 5)]
    assert found == [("a", "\n"), ("", "\n"), ("b c", "\n"), ("", "\n"), ("", "")]


def test_a_long_sentence_is_cut_at_a_comma_then_at_a_blank_near_its_middle() -> None:
    found = cut("a b c, d e f g", words, 4)
    assert found == [("a b c,", " ", False), ("d e f g", "", False)]
    assert [p.text for p in cut("a b c d e f g", words, 4)] == ["a b c", "d e f g"]


def test_what_has_no_blank_is_cut_anywhere() -> None:
    parts = [part.text for part in cut("x" * 100, len, 10)]
    assert "".join(parts) == "x" * 100
    assert max(map(len, parts)) <= 10


@hypothesis.given(st.text("ab.,!。\n\r \u3000\u00a0\u202e\ud800😀", max_size=60))
@hypothesis.settings(deadline=None)
def test_nothing_but_white_space_is_lost_and_nothing_is_too_long(text: str) -> None:
    parts = cut(text, len, 7)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.split())
    assert all(len(part.text) <= 7 for part in parts)
    assert sum(part.joint == "\n" for part in parts) == text.replace("\r\n", "\n").count("\n")


@pytest.mark.parametrize("size", [10**5])
def test_a_line_without_end_takes_no_time_to_count(size: int) -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return len(text)

    cut("word " * (size // 5), count, 50)
    assert counted < 8 * size
