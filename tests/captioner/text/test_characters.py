"""Characters: a number each, and no others."""

from __future__ import annotations

import pytest

from captioner.errors import DataError, UnknownCharacters
from captioner.text.characters import Characters

CHARACTERS = Characters.of("hello\nwörld")


def test_text_goes_to_numbers_and_back() -> None:
    ids = CHARACTERS.encode("world\nhello".replace("wo", "wö"))
    assert CHARACTERS.decode(ids) == "wörld\nhello"
    assert CHARACTERS.encode_array("wörld").tolist() == CHARACTERS.encode("wörld")


def test_an_array_needs_no_order_of_characters() -> None:
    shuffled = Characters("oöwl\nhedr")
    assert shuffled.encode_array("wörld\n").tolist() == shuffled.encode("wörld\n")


@pytest.mark.parametrize("text", ["x🐕z", "\ud800", "\x00", "€"])
def test_characters_never_seen_are_named(text: str) -> None:
    for encode in (CHARACTERS.encode, CHARACTERS.encode_array):
        with pytest.raises(UnknownCharacters, match="never seen") as caught:
            encode(text)
        assert repr(CHARACTERS.unknown(text)[0]) in caught.value.message or len(text) > 1


def test_saved_is_loaded() -> None:
    assert Characters.from_json(CHARACTERS.to_json()) == CHARACTERS
    assert list(CHARACTERS) == sorted(set("hello\nwörld"))


def test_a_text_without_beginning_begins_after_a_line_feed() -> None:
    assert CHARACTERS[CHARACTERS.begin_id] == "\n"
    assert Characters("ab").begin_id == 0


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"characters": 4}', '{"characters": "aa"}'])
def test_what_is_no_list_of_characters_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Characters.from_json(text)
