import math
import random

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.metrics import CiderD, DocumentFrequency, cider_d

REFERENCES = [
    [["a", "dog", "runs", "on", "grass"], ["the", "dog", "runs", "fast"]],
    [["a", "cat", "sits", "on", "grass"], ["a", "cat", "on", "a", "mat"]],
    [["two", "people", "walk"]],
]


def test_hand_computed_value_with_one_shared_word() -> None:
    # Two images. "cat" comes in one, "a" in both. Candidate "cat a", reference "cat": idf of "cat"
    # is log 2, of "a" 0; the unigram vectors are parallel (cosine 1), higher orders are empty in
    # the reference; lengths differ by one bigram. 10 * exp(-1 / 72) / 4.
    references = [[["cat"]], [["a"]], [["a"]]]
    frequency = DocumentFrequency({("a",): 2}, 2)
    score = CiderD(references, frequency).score_one(0, ["cat", "a"])
    assert score == pytest.approx(10 * math.exp(-1 / 72) / 4)


def test_repeating_a_telling_word_does_not_pay() -> None:
    scorer = CiderD(REFERENCES)
    once = scorer.score_one(0, ["a", "dog", "runs", "on", "grass"])
    assert scorer.score_one(0, ["dog", "dog", "dog", "dog", "dog"]) < once / 2


def test_one_image_alone_scores_zero() -> None:
    assert cider_d([["a", "dog"]], [[["a", "dog"]]])[0] == 0


def test_the_fixed_idf_of_the_same_set_gives_the_same_scores() -> None:
    candidates = [["a", "dog", "runs"], ["a", "cat", "on", "grass"], []]
    frequency = DocumentFrequency.of(REFERENCES)
    whole = cider_d(candidates, REFERENCES)[1]
    assert cider_d(candidates, REFERENCES, frequency)[1].tolist() == whole.tolist()
    # ... and then a part of the set scores as it does within the whole.
    assert cider_d(candidates[:1], REFERENCES[:1], frequency)[1][0] == whole[0] > 0


def test_one_at_a_time_equals_many_at_once() -> None:
    random.seed(0)
    words = ["a", "the", "dog", "cat", "runs", "sits", "on", "grass", "mat"]
    images = random.choices(range(3), k=40)
    candidates = [random.choices(words, k=random.randint(0, 9)) for _ in images]
    scorer = CiderD(REFERENCES)
    together = scorer.score(candidates, images)
    alone = [scorer.score_one(*pair) for pair in zip(images, candidates, strict=True)]
    assert together.tolist() == alone
    assert len(scorer) == 3


def test_a_caption_equal_to_its_only_reference_scores_ten() -> None:
    # ... unless it is too short: three words have no 4-grams, and a quarter is lost.
    candidates = [captions[0] for captions in REFERENCES]
    scores = cider_d(candidates, [[caption] for caption in candidates])[1]
    assert scores.tolist() == pytest.approx([10, 10, 7.5])


def test_scores_do_not_depend_on_the_order_of_references() -> None:
    candidates = [["a", "dog", "runs"], ["a", "cat", "on", "grass"], ["two"]]
    turned = [captions[::-1] for captions in REFERENCES]
    np.testing.assert_allclose(
        cider_d(candidates, REFERENCES)[1], cider_d(candidates, turned)[1], rtol=1e-12
    )


def test_an_end_token_tells_a_finished_caption_from_a_cut_one() -> None:
    references = [[[*caption, "<end>"] for caption in captions] for captions in REFERENCES]
    scorer = CiderD(references)
    finished = scorer.score_one(0, ["a", "dog", "runs", "on", "grass", "<end>"])
    assert finished > scorer.score_one(0, ["a", "dog", "runs", "on", "grass"])


def test_document_frequencies_count_images_and_not_captions() -> None:
    frequency = DocumentFrequency.of(REFERENCES)
    assert frequency.num_images == 3
    assert frequency.counts == {("a",): 2, ("on",): 2, ("grass",): 2, ("on", "grass"): 2}


def test_document_frequencies_saved_equal_read() -> None:
    frequency = DocumentFrequency.of([*REFERENCES, *REFERENCES])
    read = DocumentFrequency.from_json(frequency.to_json())
    assert read == frequency
    assert read != DocumentFrequency.of(REFERENCES)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"counts": {"a": 2}}', '{"counts": [], "num_images": 3}', "null"],
)
def test_what_is_no_table_of_frequencies_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="document frequencies"):
        DocumentFrequency.from_json(text)


def test_an_ngram_in_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match="all 3 images"):
        DocumentFrequency({("a",): 4}, 3)
