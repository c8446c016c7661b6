"""ROUGE-L (Lin 2004), with the details of the COCO caption evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.captions import Caption, check_captions

_BETA_SQUARED = 1.2**2


def rouge_l(
    candidates: Sequence[Caption], references: Sequence[Sequence[Caption]]
) -> tuple[float, NDArray[np.float64]]:
    """The mean over the images, and each image's value ``(images,)``, all in 0 to 1.

    F with beta 1.2 of the best precision and the best recall over the references; the two may
    come from different references. Two empty captions are equal: that gives 1.
    """
    check_captions(candidates, references)
    scores = [_f_measure(*pair) for pair in zip(candidates, references, strict=True)]
    per_image = np.array(scores, dtype=np.float64)
    return float(per_image.mean()), per_image


def _f_measure(candidate: Caption, references: Sequence[Caption]) -> float:
    # The original splits an empty string into one empty word.
    candidate = candidate or [""]
    precision = recall = 0.0
    for reference in references:
        reference = reference or [""]
        common = longest_common_subsequence(candidate, reference)
        precision = max(precision, common / len(candidate))
        recall = max(recall, common / len(reference))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def longest_common_subsequence(first: Caption, second: Caption) -> int:
    """How many words two captions share in the same order, gaps allowed.

    Bit-parallel (Hyyrö 2004): one big integer holds a row of the usual table, and the zeros in
    it are the places where the length grows.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & every
    return len(first) - row.bit_count()
