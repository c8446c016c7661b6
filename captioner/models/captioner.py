"""Photo in, words out: the encoder and the decoder as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captioner.errors import BundleError
from captioner.models.decoder import Decoder
from captioner.search import Hypothesis, SearchOptions, search
from captioner.vision.encoder import ResNetEncoder


class Captioner(nn.Module):
    """A :class:`ResNetEncoder` whose features a :class:`Decoder` describes.

    ``encoder`` and ``decoder`` are the keyword arguments of the two; what a bundle stores as the
    model's configuration. The decoder's ``feature_size`` is the encoder's.
    """

    def __init__(
        self, encoder: dict[str, Any], decoder: dict[str, Any], *, vocabulary_size: int
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(**encoder)
        self.decoder = Decoder(vocabulary_size, self.encoder.feature_size, **decoder)

    def forward(self, images: Tensor, tokens: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """Normalised images and teacher-forced tokens -> logits ``(rows, time, vocabulary)``."""
        read, _ = self.decoder(self.encoder(images), tokens, rows=rows)
        return self.decoder.logits(read)

    @torch.no_grad()
    def grow_from(self, state: dict[str, Tensor], known: int) -> None:
        """Takes a model's tensors whose first ``known`` words are this one's first, too.

        Embeddings and read-out rows of the words known keep their vectors. A new word starts in
        the middle of all words, with the bias of the rarest: it is not said before it is learnt.
        """
        own = self.state_dict(keep_vars=True)
        for name, value in state.items():
            target = own[name]
            if target.shape != value.shape:
                if target.shape[1:] != value.shape[1:] or value.shape[0] != known:
                    raise BundleError(
                        f"{name} is {tuple(value.shape)}: no beginning of {tuple(target.shape)}."
                    )
                target[known:] = value.mean(0) if value.dim() > 1 else value.min()
            part = target[: value.shape[0]] if value.dim() else target
            part.copy_(value)

    @torch.inference_mode()
    def caption(
        self, images: Tensor, options: SearchOptions, *, keep_weights: bool = False
    ) -> list[list[Hypothesis]]:
        """Normalised images ``(batch, 3, H, W)`` -> n-best token sequences for each."""
        memory = self.decoder.memory(self.encoder(images))
        return search(self.decoder, memory, options, keep_weights=keep_weights)
