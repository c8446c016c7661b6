"""Words cut differently each time: BPE-dropout (Provilkov et al. 2020, arXiv 1910.13267).

A model that saw a word in many cuttings knows its parts, and has more to say about rare ones. The
library's own dropout draws from a generator that cannot be seeded; this one is a function of its
generator alone, so that a resumed run sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from captioner.text.pieces import Pieces


class SubwordDropout:
    """Cuts words as ``pieces`` does, but leaves each possible merge out with probability ``rate``.

    ``rate=0`` is ``pieces.encode``; 1 gives single bytes.
    """

    def __init__(self, pieces: Pieces, rate: float) -> None:
        self._ids = pieces.vocabulary
        self._ranks = {pair: rank for rank, pair in enumerate(pieces.merges)}
        self.rate = rate

    def encode(self, words: Sequence[str], random: Random) -> list[int]:
        """The pieces of a text's words, as ``pieces.words`` gives them."""
        return [self._ids[part] for word in words for part in self._cut(word, random)]

    def _cut(self, word: str, random: Random) -> list[str]:
        ranks, rate, draw = self._ranks, self.rate, random.random
        parts = list(word)
        while len(parts) > 1:
            best, place = len(ranks), -1
            for i in range(len(parts) - 1):
                rank = ranks.get((parts[i], parts[i + 1]), best)
                if rank < best and draw() >= rate:
                    best, place = rank, i
            if place < 0:
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts
