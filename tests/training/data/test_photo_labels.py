"""Labels of photos from the words of their captions."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.photo_labels import LABELS, caption_shares, labels_of


@pytest.mark.parametrize(
    ("word", "labels"),
    [
        ("dogs", {"dog", "animal"}),
        ("puppies", {"dog", "animal"}),
        ("beaches", {"beach"}),
        ("grass", {"grass"}),
        ("running", {"running"}),
        ("ran", {"running"}),
        ("rides", {"riding"}),
        ("climbed", {"climbing"}),
        ("surfer", {"person", "surfboard", "surfing"}),
        ("women", {"woman", "person"}),
        ("carries", {"carrying"}),
    ],
)
def test_a_word_means_its_labels_in_every_inflection(word: str, labels: set[str]) -> None:
    assert labels <= labels_of(word)


@pytest.mark.parametrize(
    "word", ["a", "dressed", "parked", "sticking", "waving", "the", "red", "s"]
)
def test_other_words_mean_nothing(word: str) -> None:
    assert not labels_of(word)


def test_there_are_one_to_two_hundred_labels_and_each_means_itself() -> None:
    assert 100 <= len(LABELS) <= 200
    assert all(name in labels_of(name) for name in LABELS)


def test_a_caption_counts_once_however_often_it_names_a_label() -> None:
    captions = [[["a", "dog", "chases", "dogs"], ["two", "puppies"], ["the", "sea"], ["grass"]]]
    shares = caption_shares(captions, ["dog", "chasing", "water", "cliff"])
    assert np.allclose(shares, [[0.5, 0.25, 0.25, 0.0]])
