"""One network, K tokens in, K labels out: the lecture's aligned many-to-many, for text.

Each token is answered where it stands, by the network that read it, unlike
:class:`~captioner.models.seq2seq.Seq2Seq`, where a second network answers when all was read. For
video the same shape is :class:`~captioner.models.frames.FrameLabeller`, which is what reads here,
behind an embedding.

Letters: B texts, T tokens, V tokens in the vocabulary, C labels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from captioner.models.frames import FrameLabeller
from captioner.recurrent import State


class TokenLabeller(nn.Module):
    """Logits of a label for every token of a text: punctuation, case, parts of speech.

    ``labeller``: keyword arguments of :class:`FrameLabeller`. A causal one goes on from the state
    that the text before left; a bidirectional one reads whole texts.
    """

    def __init__(
        self, vocabulary_size: int, num_classes: int, *, embedding_size: int = 64, **labeller: Any
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.labeller = FrameLabeller(embedding_size, num_classes, **labeller)
        self.causal = self.labeller.causal

    def forward(
        self, tokens: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """``tokens (B, T)`` -> logits ``(B, T, C)``, zero past ``lengths``, and the state after."""
        logits: tuple[Tensor, State] = self.labeller(self.embedding(tokens), lengths, state)
        return logits
