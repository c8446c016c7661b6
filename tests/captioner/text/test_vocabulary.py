import json

import pytest

from captioner.errors import DataError
from captioner.text import Vocabulary

CAPTIONS = [["a", "dog", "runs"], ["a", "cat", "runs"], ["a", "dog"]]


def test_special_words_have_the_first_four_numbers() -> None:
    vocabulary = Vocabulary(["dog"])
    assert list(vocabulary) == ["<pad>", "<start>", "<end>", "<unk>", "dog"]
    numbers = (vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id, vocabulary.unk_id)
    assert numbers == (0, 1, 2, 3)
    assert vocabulary.id("dog") == 4
    assert vocabulary[4] == "dog"
    assert len(vocabulary) == 5


def test_frequent_words_come_first_and_equals_in_alphabetical_order() -> None:
    assert Vocabulary.from_captions(CAPTIONS).words == ("a", "dog", "runs", "cat")


def test_the_order_of_captions_does_not_matter() -> None:
    assert Vocabulary.from_captions(CAPTIONS) == Vocabulary.from_captions(CAPTIONS[::-1])


def test_rare_words_are_left_out_and_become_unknown() -> None:
    vocabulary = Vocabulary.from_captions(CAPTIONS, min_count=2)
    assert "cat" not in vocabulary
    assert vocabulary.encode(["a", "cat"]) == [4, vocabulary.unk_id]


def test_a_special_word_in_a_caption_is_not_counted_twice() -> None:
    assert Vocabulary.from_captions([["<end>", "dog"]]).words == ("dog",)


def test_decoding_undoes_encoding_and_drops_what_is_no_word() -> None:
    vocabulary = Vocabulary.from_captions(CAPTIONS)
    tokens = ["a", "dog", "runs"]
    ids = [vocabulary.start_id, *vocabulary.encode(tokens), vocabulary.end_id, vocabulary.pad_id]
    assert vocabulary.decode(ids) == tokens
    assert vocabulary.decode([vocabulary.unk_id]) == ["<unk>"]


@pytest.mark.parametrize("number", [-1, 8])
def test_a_number_without_a_word_is_refused(number: int) -> None:
    with pytest.raises(IndexError):
        Vocabulary.from_captions(CAPTIONS).decode([number])


def test_new_words_join_behind_the_old_ones() -> None:
    old = Vocabulary(["dog", "cat"])
    new = old.extended(["cat", "fox", "fox", "<pad>", "elk"])
    assert new.words == ("dog", "cat", "fox", "elk")
    assert [new.id(word) for word in old] == [old.id(word) for word in old]
    assert old.words == ("dog", "cat")


def test_saved_equals_read() -> None:
    vocabulary = Vocabulary(["dog", "café", "'s", '"'])
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@pytest.mark.parametrize("words", [["dog", "dog"], ["<pad>"], [""]])
def test_words_that_cannot_be_told_apart_are_refused_by_name(words: list[str]) -> None:
    with pytest.raises(DataError, match=repr(words[-1])):
        Vocabulary(words)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": "dog"}', '{"words": [1]}', "null"])
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="vocabulary"):
        Vocabulary.from_json(text)


def test_the_file_holds_the_words_in_order() -> None:
    assert json.loads(Vocabulary(["b", "a"]).to_json()) == {"words": ["b", "a"]}
