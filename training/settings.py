"""The groups of settings that a captioner's config has under ``model``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class EncoderSettings:
    """The photo's side; see :class:`captioner.vision.encoder.ResNetEncoder`."""

    depth: int = 18
    """18, 34, 50, 101 or 152."""
    output: Literal["pooled", "grid"] = "pooled"
    """One vector, the lecture's v, or a grid of positions."""
    weights: str | None = "IMAGENET1K_V1"
    """A name that torchvision lists, or a local .safetensors or .pth file."""
    trainable_stages: int = 0
    """How many of the last stages learn, 0 to 5."""


@dataclass
class DecoderSettings:
    """The words' side; see :class:`captioner.models.decoder.Decoder`."""

    cell: str = "lstm"
    """A name from captioner.recurrent.CELLS."""
    hidden_size: int = 512
    num_layers: int = 1
    embedding_size: int = 256
    attention: Literal["none", "soft"] = "none"
    attention_size: int = 256
    tied: bool = False
    """Reads words out with the embedding itself."""
    normalise: bool = False
    """Features scaled to length 1."""
    dropout: float = 0.5
    feature_dropout: float = 0.0


@dataclass
class OptimiserSettings:
    """Adam with a linear warm-up and a cosine to ``final`` of the rate."""

    lr: float = 1e-3
    encoder_lr: float = 1e-5
    """For the encoder's trainable stages."""
    warmup_steps: int = 100
    final: float = 0.02
    """Share of the learning rate that is left at the end."""
    weight_decay: float = 0.0


@dataclass
class ValidationSearch:
    """The search that validation and test caption with, and the bundle's default."""

    num_beams: int = 3
    length_penalty: float = 0.0
    max_tokens: int = 24
    min_tokens: int = 0
    no_repeat_ngram_size: int = 0
    exact: bool = False
    """True goes on until no longer caption can win; False stops a third earlier, nearly as well."""
