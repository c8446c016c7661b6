"""All scores of a set of captions at once, as papers print them."""

from __future__ import annotations

from collections.abc import Sequence

from captioner.metrics.bleu import bleu, bleu_counts, bleu_of_counts
from captioner.metrics.bootstrap import bootstrap_interval, mean_of
from captioner.metrics.captions import Caption
from captioner.metrics.cider import DocumentFrequency, cider_d
from captioner.metrics.diversity import diversity
from captioner.metrics.rouge import rouge_l


def caption_scores(
    candidates: Sequence[Caption],
    references: Sequence[Sequence[Caption]],
    *,
    document_frequency: DocumentFrequency | None = None,
    training_captions: frozenset[str] | None = None,
) -> dict[str, float]:
    """The quality and the variety of tokenised captions, one an image.

    In percent: ``BLEU-1`` to ``BLEU-4``, ``ROUGE-L``, ``CIDEr`` (CIDEr-D, 100 times the COCO
    code's value as papers print it, with a fixed idf where ``document_frequency`` is given),
    ``distinct`` captions, and, where ``training_captions`` are given, ``seen_in_training``. In
    words: ``words_used`` (different ones) and ``mean_length``. Raises ``DataError`` for no images,
    unequal numbers, or an image without references.
    """
    scores = {
        f"BLEU-{order}": 100 * score for order, score in enumerate(bleu(candidates, references), 1)
    }
    scores["ROUGE-L"] = 100 * rouge_l(candidates, references)[0]
    scores["CIDEr"] = 100 * cider_d(candidates, references, document_frequency)[0]
    variety = diversity(candidates, training_captions)
    scores["distinct"] = 100 * variety.distinct / variety.captions
    scores["words_used"] = float(variety.words_used)
    scores["mean_length"] = variety.mean_length
    if variety.seen_in_training is not None:
        scores["seen_in_training"] = 100 * variety.seen_in_training
    return scores


def caption_intervals(
    candidates: Sequence[Caption],
    references: Sequence[Sequence[Caption]],
    *,
    document_frequency: DocumentFrequency | None = None,
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Confidence intervals ``(low, high)`` in percent of ``BLEU-4``, ``ROUGE-L`` and ``CIDEr``.

    Images are drawn with repetition. The idf of CIDEr-D stays that of the whole set.
    """
    counts = bleu_counts(candidates, references)
    statistics = {
        "BLEU-4": lambda images: float(bleu_of_counts(counts[images].sum(axis=0))[-1]),
        "ROUGE-L": mean_of(rouge_l(candidates, references)[1]),
        "CIDEr": mean_of(cider_d(candidates, references, document_frequency)[1]),
    }
    intervals = {}
    for name, statistic in statistics.items():
        low, high = bootstrap_interval(
            statistic, len(candidates), num_draws=num_draws, level=level, seed=seed
        )
        intervals[name] = (100 * low, 100 * high)
    return intervals
