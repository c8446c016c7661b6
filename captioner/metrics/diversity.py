"""How varied captions are: a model that always says the same can still score well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from captioner.errors import DataError
from captioner.metrics.captions import Caption


@dataclass(frozen=True)
class Diversity:
    """What a set of captions is made of.

    ``distinct`` captions of ``captions``, ``words_used`` different words, ``mean_length`` in
    words, and the share ``seen_in_training`` (0 to 1; None where no training captions are given).
    """

    captions: int
    distinct: int
    words_used: int
    mean_length: float
    seen_in_training: float | None


def diversity(
    candidates: Sequence[Caption], training_captions: frozenset[str] | None = None
) -> Diversity:
    """Count over tokenised captions; ``training_captions`` comes from ``caption_set``."""
    if not candidates:
        raise DataError("There is no caption to count.", hint="Give at least one.")
    sentences = [" ".join(caption) for caption in candidates]
    seen = None
    if training_captions is not None:
        seen = sum(sentence in training_captions for sentence in sentences) / len(sentences)
    return Diversity(
        captions=len(sentences),
        distinct=len(set(sentences)),
        words_used=len({word for caption in candidates for word in caption}),
        mean_length=sum(map(len, candidates)) / len(candidates),
        seen_in_training=seen,
    )


def caption_set(references: Sequence[Sequence[Caption]]) -> frozenset[str]:
    """All captions of a training set, to ask whether a new one is among them."""
    return frozenset(" ".join(caption) for captions in references for caption in captions)
