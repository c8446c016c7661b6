"""Options are checked where they are made, by name and value."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from captioner.errors import InvalidOption
from captioner.search import SearchOptions

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("num_beams", 0, "at least 1"),
        ("num_beams", 2.0, "whole number"),
        ("num_beams", True, "whole number"),
        ("num_return", 0, "at least 1"),
        ("num_return", "2", "whole number"),
        ("max_tokens", 0, "at least 1"),
        ("min_tokens", -1, "at least 0"),
        ("no_repeat_ngram_size", -2, "at least 0"),
        ("top_k", -1, "at least 0"),
        ("top_k", None, "whole number"),
        ("top_p", 0, "at most 1"),
        ("top_p", 1.5, "from 0 to 1"),
        ("top_p", NAN, "from 0 to 1"),
        ("temperature", -0.5, "from 0 to 100"),
        ("temperature", INF, "from 0 to 100"),
        ("temperature", NAN, "from 0 to 100"),
        ("temperature", "hot", "from 0 to 100"),
        ("length_penalty", NAN, "from -5 to 5"),
        ("length_penalty", -INF, "from -5 to 5"),
        ("length_penalty", 9, "from -5 to 5"),
        ("seed", -1, "at least 0"),
        ("seed", 1.5, "whole number"),
        ("seed", 2**63, "From 0 to"),
        ("banned_ids", 3, "tuple of token ids"),
        ("banned_ids", (1, -3), "at least 0"),
        ("prefix", "a dog", "tuple of token ids"),
        ("prefix", (1.0,), "whole number"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(name, value, hint):
    with pytest.raises(InvalidOption) as caught:
        SearchOptions(**{name: value})
    shown = -3 if value == (1, -3) else 1.0 if value == (1.0,) else value
    assert re.match(rf"{name} is {re.escape(repr(shown))}\.", caught.value.message)
    assert hint in caught.value.hint
    assert caught.value.code == "invalid_option"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_return": 4, "num_beams": 3}, "num_return is 4, above num_beams, which is 3"),
        ({"num_return": 2}, "num_return is 2, above num_beams, which is 1"),
        ({"num_beams": 3, "temperature": 0.7}, "num_beams is 3 and temperature is 0.7"),
        ({"top_k": 5}, "top_k is 5 and temperature is 0"),
        ({"top_p": 0.9, "num_beams": 2}, "top_p is 0.9 and temperature is 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens is 9, above max_tokens, which is 8"),
        ({"prefix": (2, 3, 4), "max_tokens": 2}, "prefix has 3 tokens; max_tokens is 2"),
    ],
)
def test_options_that_contradict_are_refused(options, words):
    with pytest.raises(InvalidOption, match=words):
        SearchOptions(**options)


def test_what_is_allowed_is_taken():
    SearchOptions(num_return=9, temperature=1.0, top_k=3, top_p=0.5, seed=0)
    SearchOptions(seed=5)  # without effect, no contradiction
    listed = SearchOptions(banned_ids=[4, 5], prefix=[2], seed=[1, 2])  # as read from JSON
    assert (listed.banned_ids, listed.prefix, listed.seed) == ((4, 5), (2,), (1, 2))
    assert hash(replace(listed, num_beams=3)) != hash(listed)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "greedy"),
        ({"length_penalty": 0.6}, "greedy"),
        ({"num_beams": 3}, "beam3"),
        ({"num_beams": 3, "length_penalty": 0.6}, "beam3-lp0.6"),
        ({"num_beams": 5, "length_penalty": 1.0}, "beam5-lp1"),
        ({"temperature": 0.7}, "sample"),
    ],
)
def test_the_name_tells_what_changes_a_score(options: dict[str, Any], name: str) -> None:
    assert SearchOptions(**options).name == name
