"""BLEU-1 to BLEU-4 (Papineni et al. 2002), with the details of the COCO caption evaluation.

The reference length of an image is that of the closest reference, ties to the shorter one.
Nothing is smoothed, but for two tiny constants that keep the divisions defined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.captions import Caption, check_captions, count_ngrams

_TINY, _SMALL = 1e-15, 1e-9


def bleu(
    candidates: Sequence[Caption], references: Sequence[Sequence[Caption]], max_order: int = 4
) -> list[float]:
    """BLEU-1 to BLEU-``max_order`` of the whole set, each in 0 to 1.

    Counts are summed over the images before they are divided: this is no mean over images.
    """
    counts = bleu_counts(candidates, references, max_order)
    return [float(score) for score in bleu_of_counts(counts.sum(axis=0))]


def bleu_counts(
    candidates: Sequence[Caption], references: Sequence[Sequence[Caption]], max_order: int = 4
) -> NDArray[np.int64]:
    """What BLEU needs to know of each image: ``(images, 2 + 2 * max_order)``.

    The columns: candidate length, reference length, then for each order the n-grams that match
    (clipped at the largest count in one reference), then for each order all n-grams.
    """
    check_captions(candidates, references)
    rows = [_count(*pair, max_order) for pair in zip(candidates, references, strict=True)]
    return np.array(rows, dtype=np.int64)


def bleu_of_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """BLEU-1 to BLEU-n of one image's counts, or of the sum of many: ``(..., max_order)``."""
    max_order = (counts.shape[-1] - 2) // 2
    length, reference_length = counts[..., 0], counts[..., 1]
    matches, guesses = counts[..., 2 : 2 + max_order], counts[..., 2 + max_order :]
    precision = np.cumprod((matches + _TINY) / (guesses + _SMALL), axis=-1)
    scores = precision ** (1 / np.arange(1, max_order + 1))
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return np.asarray(scores * brevity[..., np.newaxis], dtype=np.float64)


def _count(candidate: Caption, references: Sequence[Caption], max_order: int) -> list[int]:
    length = len(candidate)
    closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    found = [count_ngrams(reference, max_order) for reference in references]
    matches = [0] * max_order
    for ngram, count in count_ngrams(candidate, max_order).items():
        matches[len(ngram) - 1] += min(count, max(counts[ngram] for counts in found))
    guesses = [max(0, length - order) for order in range(max_order)]
    return [length, closest, *matches, *guesses]
