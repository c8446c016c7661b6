"""Sentences read off the labels of frames, and how many of their words are wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from captioner.errors import DataError
from captioner.metrics.segments import Labels, levenshtein, segments


def sentence(labels: Labels, *, background: Collection[int] = ()) -> list[int]:
    """The labels of a video's segments in order, each once: what was said, where labels are words.

    A word said twice in a row without a pause between is one segment, and so one word.
    """
    return [run.label for run in segments(labels, background=background)]


def word_error_rate(
    predictions: Sequence[Sequence[object]], truths: Sequence[Sequence[object]]
) -> float:
    """Insertions, deletions and substitutions by true words, in percent; it can exceed 100.

    Both are summed over all sentences first: a long one weighs more. Raises ``DataError`` for
    unequal numbers of sentences, and where no word is true.
    """
    if len(predictions) != len(truths):
        raise DataError(
            f"There are {len(predictions)} sentences, but {len(truths)} true ones.",
            hint="Give one for each video, in the same order.",
        )
    words = sum(map(len, truths))
    if not words:
        raise DataError("There is no true word to count errors by.", hint="Give at least one.")
    pairs = zip(predictions, truths, strict=True)
    return 100 * sum(levenshtein(guess, truth) for guess, truth in pairs) / words
