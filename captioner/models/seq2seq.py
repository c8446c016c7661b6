"""A sentence in, a sentence out: two recurrent networks with weights of their own.

The lecture's sequence-to-sequence: one network reads (many-to-one), the other writes
(one-to-many). The writing one is the captioner's :class:`~captioner.models.decoder.Decoder`: where
that looks at positions of a photo, this looks at tokens of a sentence.

Letters: B sentences, S source tokens, N = B rows of targets, T target tokens, V tokens in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from captioner.errors import InvalidOption
from captioner.models.decoder import Decoder
from captioner.models.sentence_encoder import SentenceEncoder, real_tokens
from captioner.search import Hypothesis, Memory, SearchOptions, search
from captioner.text.pieces import Pieces

SPECIAL_IDS: dict[str, Any] = {
    "start_id": Pieces.start_id,
    "end_id": Pieces.end_id,
    "forbidden_ids": (0, 1),
}


class Seq2Seq(nn.Module):
    """A :class:`SentenceEncoder` whose states a :class:`Decoder` turns into another sentence.

    ``source`` and ``decoder`` are the keyword arguments of the two; what a bundle stores as the
    model's configuration. With ``attention="soft"`` (the default here) the decoder looks at every
    source token (Bahdanau et al. 2015); with ``"none"`` it knows the last hidden state of either
    direction only, the lecture's plain form: that vector enters each step as ``W_ih · v``.

    ``tied``: one embedding for source and target, which then share their vocabulary, and the
    decoder's ``tied`` reads words out with it, too (Press & Wolf 2017).
    """

    def __init__(
        self,
        source: dict[str, Any],
        decoder: dict[str, Any],
        *,
        vocabulary_size: int,
        tied: bool = True,
    ) -> None:
        super().__init__()
        chosen: dict[str, Any] = {"cell": "gru", "attention": "soft", "tied": tied, **decoder}
        self.source = SentenceEncoder(vocabulary_size, **source)
        self.decoder = Decoder(vocabulary_size, self.source.feature_size, **SPECIAL_IDS, **chosen)
        if tied:
            sizes = [part.embedding.embedding_dim for part in (self.source, self.decoder)]
            if sizes[0] != sizes[1]:
                raise InvalidOption(
                    f"The embeddings have {sizes[0]} and {sizes[1]} numbers and are to be one.",
                    hint="The same embedding_size for source and decoder, or tied: false.",
                )
            self.source.embedding.weight = self.decoder.embedding.weight
        self._said: Sequence[int] | None = None  # whose numbers the decoder's tokens are

    def features(self, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the decoder is about, and which of it counts: ``(B, P, D)``, ``(B, P)`` or None.

        One position a token with attention; without it one in all, the last hidden state.
        """
        features = self.source(sources, lengths)
        if self.decoder.attention is None:
            return self.source.last(features, lengths).unsqueeze(1), None
        return features, real_tokens(lengths, sources.shape[1])

    def forward(
        self, sources: Tensor, source_lengths: Tensor, tokens: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Teacher forcing: read-outs for ``decoder.logits``, and the attention ``(B, T, S)``.

        ``sources (B, S)``, each closed by the end token; ``tokens (B, T)`` from start to the last;
        both lengths ``(B,)``. What is returned past a row's end means nothing.
        """
        features, mask = self.features(sources, source_lengths)
        read: tuple[Tensor, Tensor | None] = self.decoder(
            features, tokens, lengths=lengths, mask=mask
        )
        return read

    def memory(self, sources: Tensor, lengths: Tensor) -> Memory:
        """What stays the same over all steps of a search, one row a sentence."""
        return self.decoder.memory(*self.features(sources, lengths))

    @torch.inference_mode()
    def translate(
        self,
        sources: Tensor,
        lengths: Tensor,
        options: SearchOptions,
        *,
        keep_weights: bool = False,
    ) -> list[list[Hypothesis]]:
        """:func:`pad_sources` of sentences -> n-best token sequences for each.

        ``keep_weights``: each hypothesis has where it looked, ``(tokens, S)``.
        """
        memory, said = self.memory(sources, lengths), self._said
        if said is None:
            return search(self.decoder, memory, options, keep_weights=keep_weights)
        found = search(self.decoder, memory, _among(said, options), keep_weights=keep_weights)
        for hypothesis in (each for best in found for each in best):
            hypothesis.ids = [said[token] for token in hypothesis.ids]
        return found

    def frozen(self, said: Sequence[int] | None = None, *, for_good: bool = False) -> Seq2Seq:
        """Itself, for inference: matrices packed, tokens looked up; see :meth:`Decoder.frozen`.

        ``said``: the only tokens that it shall say, with start and end. Where two languages share
        a vocabulary, a third of it may be the source's alone, and need not be read out.
        ``for_good``: as for the decoder.
        """
        self.eval()
        if said is not None and self._said is None:
            self.decoder.keep_tokens(said)
            self._said = tuple(said)
        self.decoder.frozen(for_good=for_good)
        return self


def _among(said: Sequence[int], options: SearchOptions) -> SearchOptions:
    """The same options in the numbers that a decoder has which says ``said`` only."""
    place = {token: place for place, token in enumerate(said)}
    lost = [token for token in options.prefix if token not in place]
    if lost:
        raise InvalidOption(f"The prefix has the token {lost[0]}, which is never said.")
    banned = tuple(place[token] for token in options.banned_ids if token in place)
    return replace(options, banned_ids=banned, prefix=tuple(place[t] for t in options.prefix))


def pad_sources(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pieces of sentences -> ``sources (B, S)`` with the end token behind each, ``lengths (B,)``.

    An empty sentence is its end token: there is always something to look at.
    """
    lengths = torch.tensor([len(sentence) + 1 for sentence in sentences], dtype=torch.long)
    longest = max(lengths.tolist(), default=1)
    sources = torch.full((len(sentences), longest), Pieces.pad_id)
    for row, sentence in zip(sources, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence, dtype=torch.long)
        row[len(sentence)] = Pieces.end_id
    return sources, lengths
