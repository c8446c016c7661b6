import pytest

from captioner.metrics import (
    DocumentFrequency,
    bleu,
    caption_intervals,
    caption_scores,
    caption_set,
    cider_d,
    rouge_l,
    signature,
)

CANDIDATES = [["a", "dog", "runs", "fast"], ["a", "cat", "sits"], ["a", "cat", "sits"]]
REFERENCES = [
    [["a", "dog", "runs", "very", "fast"], ["the", "dog", "runs"]],
    [["a", "cat", "sits", "here"]],
    [["two", "men", "walk"], ["men", "walk"]],
]


def test_scores_are_the_functions_values_in_percent() -> None:
    scores = caption_scores(CANDIDATES, REFERENCES)
    expected = {
        f"BLEU-{order}": 100 * value for order, value in enumerate(bleu(CANDIDATES, REFERENCES), 1)
    }
    expected["ROUGE-L"] = 100 * rouge_l(CANDIDATES, REFERENCES)[0]
    expected["CIDEr"] = 100 * cider_d(CANDIDATES, REFERENCES)[0]
    assert {name: scores[name] for name in expected} == expected
    assert scores["distinct"] == pytest.approx(200 / 3)
    assert scores["words_used"] == 6
    assert "seen_in_training" not in scores


def test_a_fixed_idf_changes_cider_only() -> None:
    frequency = DocumentFrequency.of(REFERENCES * 5)
    plain = caption_scores(CANDIDATES, REFERENCES)
    fixed = caption_scores(CANDIDATES, REFERENCES, document_frequency=frequency)
    assert {name for name in plain if plain[name] != fixed[name]} == {"CIDEr"}


def test_captions_seen_in_training_are_a_share_in_percent() -> None:
    scores = caption_scores(
        CANDIDATES, REFERENCES, training_captions=caption_set([[["a", "cat", "sits"]]])
    )
    assert scores["seen_in_training"] == pytest.approx(200 / 3)


def test_intervals_hold_their_scores() -> None:
    candidates, references = CANDIDATES * 20, REFERENCES * 20
    scores = caption_scores(candidates, references)
    intervals = caption_intervals(candidates, references, num_draws=200, seed=1)
    assert set(intervals) == {"BLEU-4", "ROUGE-L", "CIDEr"}
    for name, (low, high) in intervals.items():
        assert low < scores[name] < high
    assert intervals == caption_intervals(candidates, references, num_draws=200, seed=1)


def test_the_signature_says_what_was_measured() -> None:
    assert signature(REFERENCES, search="beam3") == (
        "tokenizer:ptb-nltk|references:1-2|idf:scored(3)|images:3|search:beam3"
    )
    frequency = DocumentFrequency.of(REFERENCES * 5)
    assert "|references:2|idf:fixed(15)|images:1|" in signature(
        REFERENCES[:1], search="greedy", document_frequency=frequency
    )
