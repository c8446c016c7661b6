"""The made-up language keeps its rules, and its labels are true."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import InvalidOption
from training.data.quoted_language import ALPHABET, LETTERS, main, quoted_text

MADE = quoted_text(60_000, 200)


def test_the_labels_are_what_the_text_says() -> None:
    quote, depth, column = False, 0, 0
    for place, character in enumerate(MADE.text):
        quote ^= character == '"'
        depth += (character == "(") - (character == ")")
        column = 0 if character == "\n" else column + 1
        assert (quote, depth, column) == (
            MADE.in_quotes[place],
            MADE.depth[place],
            MADE.column[place],
        )
    assert set(MADE.text) == set(ALPHABET)
    assert MADE.depth.max() == 4
    assert MADE.depth.min() == 0


def test_lines_have_22_to_24_characters_equally_often() -> None:
    lengths = np.array([len(line) for line in MADE.text.split("\n")[1:-1]])
    assert set(lengths) == {22, 23, 24}
    assert np.abs(np.bincount(lengths)[22:] / len(lengths) - 1 / 3).max() < 0.04


def test_a_line_is_indented_by_the_open_brackets() -> None:
    starts = np.flatnonzero(np.array(list(MADE.text)) == "\n")[:-1]
    for start in starts:
        depth = int(MADE.depth[start])
        assert MADE.text[start + 1 : start + 1 + depth] == " " * depth


def test_letters_run_forwards_outside_quotes_and_backwards_inside() -> None:
    numbers = [LETTERS.find(character) for character in MADE.text]
    for inside, step in ((0, 1), (1, -1)):
        pairs = [
            (a, b)
            for place, (a, b) in enumerate(itertools.pairwise(numbers))
            if a >= 0 <= b and MADE.in_quotes[place] == inside == MADE.in_quotes[place + 1]
        ]
        # 0.8, and one of eight when the letter is drawn.
        assert np.mean([(a + step) % 8 == b for a, b in pairs]) == pytest.approx(0.825, abs=0.01)


def test_one_letter_says_nothing_about_the_quote() -> None:
    letters = np.array([LETTERS.find(character) for character in MADE.text])
    inside = np.bincount(letters[(letters >= 0) & (MADE.in_quotes == 1)], minlength=8)
    assert np.abs(inside / inside.sum() - 1 / 8).max() < 0.01
    assert MADE.in_quotes.mean() == pytest.approx(0.33, abs=0.03)


def test_a_seed_gives_the_same_text_again() -> None:
    assert quoted_text(500, 1).text == quoted_text(500, 1).text != quoted_text(500, 2).text
    assert quoted_text(300, 1).text == quoted_text(500, 1).text[:300]
    with pytest.raises(InvalidOption, match="0 characters"):
        quoted_text(0, 1)


def test_the_command_writes_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "quoted.txt"
    assert main(["--out", str(target), "--characters", "100", "--seed", "3"]) == 0
    assert target.read_text("utf-8") == quoted_text(100, 3).text
    assert main(["--out", str(target), "--characters", "0"]) == 2
    assert "0 characters" in capsys.readouterr().err
