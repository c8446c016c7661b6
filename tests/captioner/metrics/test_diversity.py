import pytest

from captioner.errors import DataError
from captioner.metrics import caption_set, diversity


def test_distinct_captions_and_words_are_counted() -> None:
    found = diversity([["a", "dog"], ["a", "dog"], ["a", "big", "cat"], []])
    assert (found.captions, found.distinct, found.words_used) == (4, 3, 4)
    assert found.mean_length == pytest.approx(7 / 4)
    assert found.seen_in_training is None


def test_the_share_seen_in_training_counts_whole_captions() -> None:
    training = caption_set([[["a", "dog"], ["a", "cat"]], [["two", "men"]]])
    found = diversity([["a", "dog"], ["a", "dog"], ["a"], ["two", "men", "run"]], training)
    assert found.seen_in_training == 0.5


def test_no_captions_are_refused() -> None:
    with pytest.raises(DataError):
        diversity([])
