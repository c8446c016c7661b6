"""Caption metrics as pure functions over tokenised captions, equal to the COCO evaluation.

Candidates are a list of captions, one an image; references a list of lists. Values are the COCO
code's own (0 to 1, CIDEr-D 0 to 10); ``caption_scores`` gives percent.
"""

from captioner.metrics.bleu import bleu, bleu_counts, bleu_of_counts
from captioner.metrics.bootstrap import bootstrap_interval, mean_of
from captioner.metrics.cider import CiderD, DocumentFrequency, cider_d
from captioner.metrics.diversity import Diversity, caption_set, diversity
from captioner.metrics.rouge import rouge_l
from captioner.metrics.scores import caption_intervals, caption_scores
from captioner.metrics.signature import signature

__all__ = [
    "CiderD",
    "Diversity",
    "DocumentFrequency",
    "bleu",
    "bleu_counts",
    "bleu_of_counts",
    "bootstrap_interval",
    "caption_intervals",
    "caption_scores",
    "caption_set",
    "cider_d",
    "diversity",
    "mean_of",
    "rouge_l",
    "signature",
]
