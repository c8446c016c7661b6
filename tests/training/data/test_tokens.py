from pathlib import Path

import pytest

from captioner.text import words
from captioner.text.words import tokenize
from training.data import tokens
from training.data.tokens import tokenised

CAPTIONS = [["A dog runs.", "It isn't red!"], [], ["..."], ["A dog runs."]]


def test_nesting_and_order_are_those_of_the_captions(tmp_path: Path) -> None:
    expected = [[tokenize(caption) for caption in of_image] for of_image in CAPTIONS]
    assert tokenised(CAPTIONS, tmp_path) == expected
    assert tokenised([[], []], tmp_path) == [[], []]


def test_the_second_time_nothing_is_tokenised_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(caption: str) -> list[str]:
        calls.append(caption)
        return tokenize(caption)

    monkeypatch.setattr(tokens, "tokenize", counted)
    first = tokenised(CAPTIONS, tmp_path)
    assert len(calls) == 4
    assert tokenised(CAPTIONS, tmp_path) == first
    assert len(calls) == 4
    tokenised([*CAPTIONS, ["New."]], tmp_path)
    assert len(calls) == 9


def test_a_changed_tokenizer_makes_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tokenised(CAPTIONS, tmp_path)
    monkeypatch.setattr(tokens, "tokenize", lambda caption: caption.split())
    monkeypatch.setattr(tokens.inspect, "getsource", lambda module: f"{module} rewritten")
    new = tokenised(CAPTIONS, tmp_path)
    assert new[0][0] == ["A", "dog", "runs."] != old[0][0]
    assert words.__name__ == "captioner.text.words"
