"""Pieces: every text survives, the same texts give the same pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError, InvalidOption
from captioner.text.pieces import Pieces

TEXTS = [
    "Ein Hund rennt durch den Schnee.",
    "A dog runs through the snow.",
    "Zwei Männer stehen auf der Straße.",
    "Two men are standing on the street.",
] * 5
PIECES = Pieces.train(TEXTS, 400)


@pytest.mark.parametrize(
    "text",
    [
        "Ein Hund rennt.",
        "a  b",
        "naïve 犬 🐕‍🦺 עברית",
        "<end> is text, so is <pad>",
        "x\ty\nz",
        "\x00\x01",
        "a" * 10_000,
    ],
)
def test_what_is_cut_is_joined_again(text: str) -> None:
    assert PIECES.decode(PIECES.encode(text)) == text


@given(st.text())
def test_any_text_survives(text: str) -> None:
    assert PIECES.decode(PIECES.encode(text)) == text.strip()


def test_an_unpaired_surrogate_becomes_a_replacement_character() -> None:
    assert PIECES.decode(PIECES.encode("a \ud800 b")) == "a � b"


def test_white_space_and_nothing_are_no_pieces() -> None:
    assert PIECES.encode("") == PIECES.encode(" \n\t ") == []
    assert PIECES.decode([]) == ""


def test_frequent_words_are_one_piece_wherever_they_stand() -> None:
    (hund,) = PIECES.encode("Hund")
    assert PIECES.spell([hund]) == [" Hund"]
    assert hund in PIECES.encode("Ein Hund.")


def test_special_pieces_are_never_cut_from_a_text_and_never_joined() -> None:
    assert min(PIECES.encode("<pad><start><end>")) > 2
    assert PIECES.decode([1, *PIECES.encode("Hund"), 2, 0]) == "Hund"


def test_bytes_that_are_no_text_are_replaced() -> None:
    half = PIECES.encode("犬")[:-1]
    assert "�" in PIECES.decode(half)


def test_saved_is_loaded() -> None:
    again = Pieces.from_json(PIECES.to_json())
    assert again == PIECES
    assert [again.encode(text) for text in TEXTS] == PIECES.encode_batch(TEXTS)
    assert len(again) == len(PIECES) <= 400


def test_the_same_texts_give_the_same_pieces() -> None:
    assert Pieces.train(iter(TEXTS), 400) == PIECES


def test_words_hold_what_pieces_are_within() -> None:
    words = PIECES.words("Ein Hund rennt.")
    assert len(words) == 4
    known = PIECES.vocabulary
    assert known[words[1]] == PIECES.encode("Hund")[0]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"pieces": ["a"], "merges": []}', '{"pieces": 3, "merges": 4}']
)
def test_what_is_no_pieces_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no pieces"):
        Pieces.from_json(text)


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(InvalidOption, match="100 pieces"):
        Pieces.train(TEXTS, 100)
