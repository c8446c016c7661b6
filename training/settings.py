"""The groups of settings that a config has under ``model``."""

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


@dataclass
class SentenceEncoderSettings:
    """What reads a sentence; see :class:`captioner.models.sentence_encoder.SentenceEncoder`."""

    cell: str = "gru"
    """A name from captioner.recurrent.CELLS; it reads from both sides."""
    hidden_size: int = 256
    """Of each side."""
    num_layers: int = 1
    embedding_size: int = 256
    dropout: float = 0.3


@dataclass
class TranslationSearch(ValidationSearch):
    """The search that validation and test translate with, and the bundle's default."""

    num_beams: int = 5
    length_penalty: float = 1.0
    max_tokens: int = 100


@dataclass
class CharModelSettings:
    """See :class:`captioner.models.char_language_model.CharLanguageModel`."""

    cell: str = "lstm"
    """A name from captioner.recurrent.CELLS."""
    hidden_size: int = 512
    num_layers: int = 2
    inputs: Literal["one_hot", "embedding"] = "one_hot"
    """How characters enter; the same function."""
    embedding_size: int | None = None
    dropout: float = 0.0
    forget_bias: float | None = None


@dataclass
class GenerationSettings:
    """How a bundle's text is drawn unless a request says otherwise."""

    max_tokens: int = 400
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0


@dataclass
class LabellerSettings:
    """What reads a video's features; see :class:`captioner.models.frames.FrameLabeller`."""

    cell: str = "lstm"
    """A name from captioner.recurrent.CELLS, or none: each frame by itself."""
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    """Whole clips only."""
    refinement: Literal["none", "recurrent", "convolution"] = "none"
    refinement_size: int = 64
    refinement_layers: int = 8
    normalise: bool = False
    """Features of each frame to mean 0 and variance 1."""
    entry_size: int = 0
    """Rectified units between the features and the cell; 0 for none."""
    skip: bool = False
    """The head reads what the cell reads, too."""
    normalise_hidden: bool = False
    """What the cell says to mean 0 and variance 1 as well."""
    dropout: float = 0.0
    feature_dropout: float = 0.0


@dataclass
class ClassifierSettings:
    """What reads a clip's features; see :class:`captioner.models.frames.ClipClassifier`."""

    cell: str = "lstm"
    """A name from captioner.recurrent.CELLS, or none: no order of frames."""
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "mean", "attention", "middle"] = "last"
    attention_size: int = 64
    dropout: float = 0.0
    feature_dropout: float = 0.0


@dataclass
class FrameDecodingSettings:
    """From scores to labels, in validation and as the bundle's default."""

    threshold: float = 0.5
    """The probability from which a label is on, where labels are independent."""
    smoothing: Literal["none", "viterbi", "hysteresis"] = "none"
    switch_penalty: float = 0.0
    """viterbi: what a change of label costs, in nats."""
    min_frames: int = 1
    """viterbi: how many frames a label lasts at least."""
    off: float = 0.4
    """hysteresis, independent labels: the probability below which a label goes off again."""
