"""What costs nothing: the translation of the training sentence that is most like the one asked for.

A translator that does not beat it has learnt its training pairs by heart at best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDERS = (1, 2, 3)


def nearest(known: Sequence[str], asked: Sequence[str]) -> list[int]:
    """For each text of ``asked`` the place of the most similar one in ``known``.

    Similarity: the cosine of counts of one to three characters, each weighed by how few of the
    known texts have it (tf-idf). Of equally similar ones the first.
    """
    counts = [_grams(text) for text in known]
    have = Counter(gram for grams in counts for gram in grams)
    weights = {gram: math.log(len(known) / number) + 1 for gram, number in have.items()}
    where: dict[str, list[tuple[int, float]]] = {}
    for place, grams in enumerate(counts):
        vector = _weighed(grams, weights)
        for gram, value in vector.items():
            where.setdefault(gram, []).append((place, value))
    found = []
    for text in asked:
        similar = Counter[int]()
        for gram, value in _weighed(_grams(text), weights).items():
            for place, other in where.get(gram, ()):
                similar[place] += value * other  # type: ignore[assignment]
        found.append(min(similar, key=lambda place: (-similar[place], place), default=0))
    return found


def _grams(text: str) -> Counter[str]:
    padded = f" {text.lower()} "
    return Counter(padded[i : i + n] for n in ORDERS for i in range(len(padded) - n + 1))


def _weighed(grams: Counter[str], weights: dict[str, float]) -> dict[str, float]:
    vector = {gram: count * weights[gram] for gram, count in grams.items() if gram in weights}
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {gram: value / length for gram, value in vector.items()}
