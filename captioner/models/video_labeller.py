"""Frames in, labels out: the encoder and the frame labeller as one module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from captioner.models.frames import FrameLabeller
from captioner.recurrent import State
from captioner.vision.encoder import ResNetEncoder


class VideoLabeller(nn.Module):
    """A :class:`ResNetEncoder` whose features a :class:`FrameLabeller` reads frame by frame.

    ``encoder`` and ``labeller`` are the keyword arguments of the two; what a bundle stores as the
    model's configuration. The labeller's ``feature_size`` is the encoder's.
    """

    def __init__(
        self, encoder: dict[str, Any], labeller: dict[str, Any], *, num_classes: int
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(**encoder)
        self.labeller = FrameLabeller(self.encoder.feature_size, num_classes, **labeller)

    def forward(
        self, images: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Normalised frames ``(batch, time, 3, H, W)`` -> logits ``(batch, time, classes)``, state.

        ``lengths`` and ``state`` as :meth:`FrameLabeller.forward` takes them.
        """
        features = frame_features(self.encoder, images.flatten(0, 1))
        features = features.view(*images.shape[:2], -1)
        return self.labeller.forward(features, lengths, state)


def frame_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """One vector a frame: ``(frames, 3, H, W)`` -> ``(frames, feature)``, the mean over positions.

    It is the pooled vector, whichever of the two outputs the encoder was made for.
    """
    positions: Tensor = encoder(images)
    return positions.mean(1)
