import math

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.metrics import bleu, bleu_counts, bleu_of_counts


def test_counts_are_clipped_at_one_references_largest_count() -> None:
    # Papineni et al. 2002, section 2.1: "the" matches twice of seven.
    candidate = ["the"] * 7
    references = [
        ["the", "cat", "is", "on", "the", "mat"],
        ["there", "is", "a", "cat", "on", "the", "mat"],
    ]
    counts = bleu_counts([candidate], [references])[0]
    assert counts[2] == 2
    assert bleu([candidate], [references])[0] == pytest.approx(2 / 7)


def test_the_brevity_penalty_compares_the_closest_reference() -> None:
    candidate = ["one", "two"]
    references = [["one", "two", "three"], ["one", "two", "three", "four", "five"]]
    assert bleu([candidate], [references])[0] == pytest.approx(math.exp(1 - 3 / 2))


def test_equal_distances_take_the_shorter_reference() -> None:
    candidate = ["one", "two", "three", "four"]
    references = [["one"] * 5, ["one"] * 3]
    assert bleu_counts([candidate], [references])[0, 1] == 3


def test_a_set_is_scored_by_its_sums_and_not_by_the_mean() -> None:
    candidates = [["a", "b", "c", "d"], ["x"]]
    references = [[["a", "b", "c", "d"]], [["y"]]]
    counts = bleu_counts(candidates, references)
    assert bleu(candidates, references)[0] == pytest.approx(4 / 5)
    assert bleu_of_counts(counts)[:, 0].mean() == pytest.approx(1 / 2)


def test_the_order_of_images_does_not_matter() -> None:
    candidates = [["a", "b", "c"], ["b", "c", "a", "d"], []]
    references = [[["a", "b"]], [["b", "c", "d"], ["a"]], [["c"]]]
    assert bleu(candidates, references) == bleu(candidates[::-1], references[::-1])


def test_captions_shorter_than_the_order_score_almost_nothing_and_no_warning() -> None:
    scores = bleu([["a", "b"], []], [[["a", "b"]], [[]]])
    assert np.isfinite(scores).all()
    assert scores[1] == pytest.approx(1)
    assert scores[3] < 0.001


@pytest.mark.parametrize(
    ("candidates", "references", "what"),
    [
        ([["a"]], [], "1 captions to score, but references for 0"),
        ([], [], "no caption to score"),
        ([["a"]], [[]], "Image number 0"),
        (["a dog"], [[["a", "dog"]]], "'a dog' is not cut into words"),
        ([["a", "dog"]], [["a dog"]], "'a dog' is not cut into words"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    candidates: list[list[str]], references: list[list[list[str]]], what: str
) -> None:
    with pytest.raises(DataError, match=what):
        bleu(candidates, references)
