"""A sentence in tokens to one vector for each of them: what a translation's decoder looks at.

Letters: B sentences, S tokens of the longest, D feature size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.models.frame_reader import Reader


class SentenceEncoder(nn.Module):
    """A bidirectional recurrent network over embedded tokens (Bahdanau et al. 2015, section 3.2).

    ``features (B, S, 2 · hidden_size)`` are each token's states from both sides, zero past a
    sentence's end. ``dropout`` falls on the embedded tokens and between layers.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str = "gru",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.reader = Reader(
            embedding_size,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=True,
            dropout=dropout,
        )
        self.feature_size = self.reader.output_size
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """``tokens (B, S)``, ``lengths (B,)``, each at least 1 -> features ``(B, S, D)``."""
        features: Tensor
        features, _ = self.reader(self.dropout(self.embedding(tokens)), lengths)
        return features

    def last(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The last hidden state of each direction, side by side: ``(B, D)``.

        The way ahead has read all at the last token, the way back at the first.
        """
        return self.reader.ends(features, lengths)


def real_tokens(lengths: Tensor, time: int) -> Tensor:
    """``(B,)`` -> ``(B, time)``, true within each sentence."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)
