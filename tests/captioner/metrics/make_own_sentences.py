"""Writes own_sentences.json: our own captions and what pycocoevalcap 1.2 makes of them.

    pip install pycocoevalcap==1.2
    python tests/captioner/metrics/make_own_sentences.py

The captions are already cut into words, and BLEU, ROUGE and CIDEr of that package are plain
Python, so no Java is needed. Tests read the file and never need the package.
"""

import json
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

# name -> candidate, then its references
SENTENCES = {
    "empty candidate": ["", "a red kite flies over the beach", "someone flies a kite"],
    "empty reference": ["a red kite", "", "a red kite in the wind"],
    "both empty": ["", ""],
    "one word": ["kite", "a red kite flies over the beach"],
    "repeated word": ["the the the the the", "the boat is on the lake", "the boat waits"],
    "repeated phrase": ["a boat and a boat and a boat", "a boat and a small boat", "one boat"],
    "length tie": ["four ducks swim by", "ducks swim by", "four grey ducks swim by"],
    "length tie, swapped": ["four ducks swim by", "four grey ducks swim by", "ducks swim by"],
    "subsequence tie": ["up down left right", "up down here there", "here there left right"],
    "precision and recall from two references": [
        "a girl paints a fence",
        "a girl",
        "a girl paints a fence behind the old house on a warm day",
    ],
    "equal": ["two cooks share one small stove", "two cooks share one small stove"],
    "nothing in common": ["two cooks share one small stove", "snow lies all over that hill"],
    "order reversed": ["stove small one share cooks two", "two cooks share one small stove"],
    "clitics and hyphens": [
        "the girl 's t-shirt is n't red",
        "a girl 's t-shirt is blue",
        "her t-shirt is n't red",
    ],
    "too long": [
        "an old man in a long coat walks his two small dogs along the wet beach in the rain",
        "an old man walks two dogs",
        "a man and his dogs walk along the beach",
    ],
}


def scores_of(names: list[str]) -> dict[str, object]:
    """Scores of the set that these images make: corpus values and values of each image."""
    candidates = {name: [SENTENCES[name][0]] for name in names}
    references = {name: SENTENCES[name][1:] for name in names}
    bleu, bleu_per_image = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, rouge_per_image = Rouge().compute_score(references, candidates)
    cider, cider_per_image = Cider().compute_score(references, candidates)
    return {
        "corpus": {"bleu": bleu, "rouge_l": float(rouge), "cider": float(cider)},
        "per_image": {
            name: {
                "bleu": [scores[place] for scores in bleu_per_image],
                "rouge_l": float(rouge_per_image[place]),
                "cider": float(cider_per_image[place]),
            }
            for place, name in enumerate(names)
        },
    }


def main() -> None:
    sets = {"all": list(SENTENCES), "one image": ["equal"], "two images": ["equal", "one word"]}
    content = {
        "made_by": "make_own_sentences.py with pycocoevalcap 1.2",
        "sentences": SENTENCES,
        "scores": {name: scores_of(images) for name, images in sets.items()},
    }
    place = Path(__file__).with_name("own_sentences.json")
    place.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
