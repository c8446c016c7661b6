"""BLEU and chrF of translations as sacrebleu computes them (Post 2018, arXiv 1804.08771).

On detokenised text: sacrebleu cuts candidates and references itself, so that scores of different
systems compare, and its signature says how. (:mod:`captioner.metrics.bleu` is the captions' BLEU,
on words that are cut already.)
"""

from __future__ import annotations

from collections.abc import Sequence

from captioner.errors import DataError


def translation_scores(
    candidates: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """``BLEU`` (cased, 13a) and ``chrF2`` of a set, in percent, and the signature of each.

    One reference for each candidate, both detokenised. Raises ``DataError`` for different numbers
    of them, or none.
    """
    if len(candidates) != len(references) or not candidates:
        raise DataError(f"{len(candidates)} translations cannot be held to {len(references)}.")
    from sacrebleu.metrics.bleu import BLEU  # half a second that only who scores pays for
    from sacrebleu.metrics.chrf import CHRF

    scores, signatures = {}, {}
    for name, metric in (("BLEU", BLEU()), ("chrF2", CHRF())):
        found = metric.corpus_score(list(candidates), [list(references)])
        scores[name] = float(found.score)
        signatures[name] = str(metric.get_signature())
    return scores, signatures
