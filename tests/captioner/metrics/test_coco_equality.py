"""Equality to the COCO evaluation: on our own sentences always, on its fixture where it lies."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.metrics import bleu, bleu_counts, bleu_of_counts, caption_scores, cider_d, rouge_l

OWN = json.loads(Path(__file__).with_name("own_sentences.json").read_text("utf-8"))
GROUPS = ("coco_fakecap", "edge_cases", "single_image")


def _own(name: str) -> tuple[list[list[str]], list[list[list[str]]]]:
    chosen = [OWN["sentences"][image] for image in OWN["scores"][name]["per_image"]]
    cut = [[caption.split() for caption in captions] for captions in chosen]
    return [captions[0] for captions in cut], [captions[1:] for captions in cut]


@pytest.mark.parametrize("name", list(OWN["scores"]))
def test_own_sentences_score_as_a_set_as_by_pycocoevalcap(name: str) -> None:
    candidates, references = _own(name)
    stored = OWN["scores"][name]["corpus"]
    assert bleu(candidates, references) == pytest.approx(stored["bleu"], abs=1e-9)
    assert rouge_l(candidates, references)[0] == pytest.approx(stored["rouge_l"], abs=1e-9)
    assert cider_d(candidates, references)[0] == pytest.approx(stored["cider"], abs=1e-9)


@pytest.mark.parametrize("name", list(OWN["scores"]))
def test_own_sentences_score_one_by_one_as_by_pycocoevalcap(name: str) -> None:
    candidates, references = _own(name)
    stored = list(OWN["scores"][name]["per_image"].values())
    ours = {
        "bleu": bleu_of_counts(bleu_counts(candidates, references)),
        "rouge_l": rouge_l(candidates, references)[1],
        "cider": cider_d(candidates, references)[1],
    }
    for metric, values in ours.items():
        np.testing.assert_allclose(values, [scores[metric] for scores in stored], atol=1e-9)


def test_own_sentences_hold_the_hard_cases() -> None:
    # So that equality above means something: perfect, zero, and clipped scores are among them.
    stored = OWN["scores"]["all"]["per_image"]
    assert stored["equal"]["cider"] == pytest.approx(10)
    assert stored["empty candidate"]["rouge_l"] == 0
    assert stored["both empty"]["rouge_l"] == 1
    # Two of five words count, and the closest reference has six.
    assert stored["repeated word"]["bleu"][0] == pytest.approx(2 / 5 * math.exp(1 - 6 / 5))
    assert stored["length tie"] == stored["length tie, swapped"]
    assert OWN["scores"]["one image"]["corpus"]["cider"] == 0


def _fixture(data_dir: Path, group: str) -> tuple[Any, Any, Any, Any]:
    folder = data_dir / "metric_fixture"
    images = json.loads((folder / "tokenised.json").read_text("utf-8"))[group]
    scores = json.loads((folder / "scores.json").read_text("utf-8"))
    candidates = [candidate.split() for candidate, _ in images.values()]
    references = [[caption.split() for caption in captions] for _, captions in images.values()]
    table = scores[f"{group}/per_image"]
    assert table["columns"][:6] == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    per_image = np.array([table[image][:6] for image in images])
    return candidates, references, scores[group]["corpus"], per_image


@pytest.mark.data
@pytest.mark.parametrize("group", GROUPS)
def test_the_fixture_scores_as_a_set_as_by_pycocoevalcap(data_dir: Path, group: str) -> None:
    candidates, references, corpus, _ = _fixture(data_dir, group)
    ours = caption_scores(candidates, references)
    for order in range(1, 5):
        assert ours[f"BLEU-{order}"] / 100 == pytest.approx(corpus[f"Bleu_{order}"], abs=1e-6)
    assert ours["ROUGE-L"] / 100 == pytest.approx(corpus["ROUGE_L"], abs=1e-6)
    assert ours["CIDEr"] / 100 == pytest.approx(corpus["CIDEr"], abs=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("group", GROUPS)
def test_the_fixture_scores_one_by_one_as_by_pycocoevalcap(data_dir: Path, group: str) -> None:
    candidates, references, _, per_image = _fixture(data_dir, group)
    ours = [
        bleu_of_counts(bleu_counts(candidates, references)),
        rouge_l(candidates, references)[1],
        cider_d(candidates, references)[1],
    ]
    np.testing.assert_allclose(np.column_stack(ours), per_image, rtol=0, atol=1e-6)
