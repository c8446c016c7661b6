"""What every metric takes: tokenised captions, one candidate and some references an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from captioner.errors import DataError

Caption = Sequence[str]
"""The words of one caption, as ``captioner.text.tokenize`` gives them."""

NGram = tuple[str, ...]


def check_captions(candidates: Sequence[Caption], references: Sequence[Sequence[Caption]]) -> None:
    """Raise ``DataError`` unless every image has one candidate and at least one reference."""
    if len(candidates) != len(references):
        raise DataError(
            f"There are {len(candidates)} captions to score, but references for "
            f"{len(references)} images.",
            hint="Give one caption for each image, in the same order.",
        )
    if not candidates:
        raise DataError("There is no caption to score.", hint="Give at least one image.")
    for number, captions in enumerate(references):
        if not captions:
            raise DataError(
                f"Image number {number} (counted from 0) has no reference caption.",
                hint="Every image needs at least one.",
            )
    for caption in chain(candidates, chain.from_iterable(references)):
        if isinstance(caption, str):
            raise DataError(
                f"The caption {caption[:60]!r} is not cut into words.",
                hint="Give lists of words: captioner.text.tokenize makes them.",
            )


def count_ngrams(caption: Caption, max_order: int) -> Counter[NGram]:
    """How often each n-gram of 1 to ``max_order`` words comes in a caption."""
    shifted = [caption[start:] for start in range(max_order)]
    return Counter(
        chain.from_iterable(
            zip(*shifted[:order], strict=False) for order in range(1, max_order + 1)
        )
    )
