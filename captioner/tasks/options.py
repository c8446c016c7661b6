"""What can be asked of a caption, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from captioner.errors import InvalidOption

# name -> (lowest, highest), both allowed. The service's documentation reads them from here.
RANGES: dict[str, tuple[float, float]] = {
    "n": (1, 8),
    "num_beams": (1, 8),
    "temperature": (0, 2),
    "top_k": (0, 1000),
    "top_p": (0.01, 1),
    "seed": (0, 2**63 - 1),
    "max_tokens": (1, 64),
}


@dataclass(frozen=True)
class CaptionOptions:
    """How to caption a photo; ``None`` leaves the choice to the bundle."""

    n: int = 1
    """Captions returned, best first."""
    num_beams: int | None = None
    """Hypotheses kept by the beam search; 1 is greedy."""
    temperature: float = 0.0
    """0 searches; above 0 samples."""
    top_k: int = 0
    """Sampling only from the k likeliest words; 0: from all."""
    top_p: float = 1.0
    """Sampling only from the likeliest words that together have this probability."""
    seed: int | None = None
    """Makes sampling repeatable."""
    max_tokens: int | None = None
    """Words at most."""
    attention: bool = False
    """Adds the grid of weights to each word."""

    def check(self) -> CaptionOptions:
        """Returns itself; raises :class:`InvalidOption` for ranges and contradictions."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InvalidOption(f"{name} is {value}; it can be from {low} to {high}.")
        if self.temperature > 0:
            if self.num_beams not in (None, 1):
                raise InvalidOption(
                    f"temperature {self.temperature} samples, num_beams {self.num_beams} searches.",
                    hint="Give one of them.",
                )
        else:
            for name, default in (("top_k", 0), ("top_p", 1.0), ("seed", None)):
                if getattr(self, name) != default:
                    raise InvalidOption(
                        f"{name} is for sampling.", hint="Give a temperature above 0 with it."
                    )
            if self.num_beams is not None and self.n > self.num_beams:
                raise InvalidOption(
                    f"n is {self.n}, above num_beams, {self.num_beams}.",
                    hint="A search gives as many captions as it has beams.",
                )
        return self

    def batch_key(self) -> tuple[Any, ...] | None:
        """Requests with the same key may be searched together; ``None``: never."""
        if self.temperature > 0:
            return None
        return (self.n, self.num_beams, self.max_tokens, self.attention)


@dataclass(frozen=True)
class Word:
    """A word, its probability given the words before it, and where the network looked."""

    text: str
    probability: float
    weights: list[list[float]] | None = None


@dataclass(frozen=True)
class RankedCaption:
    """One of the n best."""

    text: str
    log_prob: float
    """Sum over all words and the end token, in nats."""
    words: list[Word]
    finished: bool = True


@dataclass(frozen=True)
class CaptionResult:
    """The answer for one photo."""

    caption: str
    captions: list[RankedCaption]
    confidence: float
    """exp of the mean log-probability of the best caption's words and its end."""
    model: str
    image: dict[str, Any]
    """width, height, format; with attention ``seen``: which part of it the grids lie over."""
    timing_ms: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the body that ``POST /caption`` answers."""
        return {
            "caption": self.caption,
            "captions": [
                {
                    "text": ranked.text,
                    "log_prob": round(ranked.log_prob, 4),
                    "words": [_word(word) for word in ranked.words],
                }
                for ranked in self.captions
            ],
            "confidence": round(self.confidence, 4),
            "image": self.image,
            "model": self.model,
            "timing_ms": {name: round(value, 2) for name, value in self.timing_ms.items()},
            "warnings": list(self.warnings),
        }


def _word(word: Word) -> dict[str, Any]:
    found: dict[str, Any] = {"text": word.text, "probability": round(word.probability, 4)}
    if word.weights is not None:
        found["weights"] = [[round(value, 4) for value in row] for row in word.weights]
    return found
