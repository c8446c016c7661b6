"""Frames in, labels out: an encoder of frames and what reads its features, as one module.

Letters: B clips, T frames, D feature size, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from captioner.errors import InvalidOption
from captioner.models.frames import ClipClassifier, FrameLabeller
from captioner.recurrent import State
from captioner.vision.encoder import ResNetEncoder
from captioner.vision.hand_path import HandPathEncoder
from captioner.vision.spatiotemporal import SpatioTemporalEncoder

# What makes features of frames, by the name that a config's `encoder.kind` gives. A ResNet sees
# each frame by itself: (N, 3, H, W) -> (N, positions, D). All others see clips, (B, T, C, H, W)
# with lengths -> (B, T, D), so that they may look at how frames differ. All have a `feature_size`.
FRAME_ENCODERS: dict[str, type[nn.Module]] = {
    "resnet": ResNetEncoder,
    "spatiotemporal": SpatioTemporalEncoder,
    "hand_path": HandPathEncoder,
}


def build_frame_encoder(settings: Mapping[str, Any]) -> nn.Module:
    """The encoder that ``settings`` describe: its ``kind``, and that kind's keyword arguments.

    The kind is one of :data:`FRAME_ENCODERS`, a ResNet where none is given. Raises
    :class:`InvalidOption` for an unknown kind or argument.
    """
    options = dict(settings)
    kind = str(options.pop("kind", "resnet"))
    if kind not in FRAME_ENCODERS:
        raise InvalidOption(
            f"There is no encoder of frames {kind!r}.", hint=f"Choose one of {[*FRAME_ENCODERS]}."
        )
    try:
        return FRAME_ENCODERS[kind](**options)
    except TypeError as error:
        raise InvalidOption(f"The encoder {kind!r} cannot be built: {error}.") from None


def frame_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """One vector a frame: ``(frames, 3, H, W)`` -> ``(frames, D)``, the mean over positions.

    It is the pooled vector, whichever of the two outputs a ResNet was made for.
    """
    positions: Tensor = encoder(images)
    return positions.mean(1)


class _Video(nn.Module):
    """An encoder of frames: what the two below have in common."""

    def __init__(self, encoder: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = build_frame_encoder(encoder)

    @property
    def feature_size(self) -> int:
        """D of the encoder."""
        return cast(int, self.encoder.feature_size)

    def features(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalised frames ``(B, T, C, H, W)`` -> ``(B, T, D)``."""
        if not isinstance(self.encoder, ResNetEncoder):
            features: Tensor = self.encoder(frames, lengths)
            return features
        images = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return frame_features(self.encoder, images).view(*frames.shape[:2], -1)

    def features_from(self, maps: Tensor, stages: int) -> Tensor:
        """``(B, T, channels, h, w)``, a ResNet's maps after ``stages`` stages -> ``(B, T, D)``."""
        encoder = cast(ResNetEncoder, self.encoder)
        images = maps.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return encoder.upper(images, stages).mean(1).view(*maps.shape[:2], -1)


class VideoLabeller(_Video):
    """An encoder whose features a :class:`FrameLabeller` reads frame by frame.

    ``encoder`` is what :func:`build_frame_encoder` takes, ``labeller`` the keyword arguments of the
    labeller, whose ``feature_size`` is the encoder's: what a bundle stores as the model.
    """

    def __init__(
        self, encoder: Mapping[str, Any], labeller: Mapping[str, Any], *, num_classes: int
    ) -> None:
        super().__init__(encoder)
        self.labeller = FrameLabeller(self.feature_size, num_classes, **labeller)

    def forward(
        self, images: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Normalised frames ``(B, T, C, H, W)`` -> logits ``(B, T, K)``, and the state after.

        ``lengths`` and ``state`` as :meth:`FrameLabeller.forward` takes them.
        """
        logits, after = self.labeller(self.features(images, lengths), lengths, state)
        return logits, after


class VideoClassifier(_Video):
    """An encoder whose features a :class:`ClipClassifier` reads, one label for the clip.

    As :class:`VideoLabeller`; ``classifier``: keyword arguments of the classifier.
    """

    def __init__(
        self, encoder: Mapping[str, Any], classifier: Mapping[str, Any], *, num_classes: int
    ) -> None:
        super().__init__(encoder)
        self.classifier = ClipClassifier(self.feature_size, num_classes, **classifier)

    def forward(self, images: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalised frames ``(B, T, C, H, W)`` -> logits ``(B, K)``."""
        logits: Tensor = self.classifier(self.features(images, lengths), lengths)
        return logits
