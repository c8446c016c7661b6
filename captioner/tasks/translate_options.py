"""What can be asked of a translation, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from captioner.errors import InvalidOption

# name -> (lowest, highest), both allowed. The service's documentation reads them from here.
TRANSLATE_RANGES: dict[str, tuple[float, float]] = {
    "n": (1, 8),
    "num_beams": (1, 16),
    "max_tokens": (1, 200),
}


@dataclass(frozen=True)
class TranslateOptions:
    """How to translate; ``None`` leaves the choice to the bundle."""

    n: int = 1
    """Translations of each text, the best and n - 1 alternatives."""
    num_beams: int | None = None
    """Hypotheses kept by the search; 1 is greedy."""
    max_tokens: int | None = None
    """Pieces of words at most, of each sentence."""
    attention: bool = False
    """Adds where the model looked."""

    def check(self) -> TranslateOptions:
        """Returns itself; raises :class:`InvalidOption` for ranges and contradictions."""
        for name, (low, high) in TRANSLATE_RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InvalidOption(f"{name} is {value}; it can be from {low} to {high}.")
        if self.num_beams is not None and self.n > self.num_beams:
            raise InvalidOption(
                f"n is {self.n}, above num_beams, {self.num_beams}.",
                hint="A search gives as many translations as it has beams.",
            )
        return self


@dataclass(frozen=True)
class Alternative:
    """Another translation of the same text."""

    text: str
    log_prob: float


@dataclass(frozen=True)
class SentenceAttention:
    """Where the model looked: ``weights[i][j]``, how much at source piece i for target piece j.

    The last source piece is the end. ``target`` are the best translation's pieces.
    """

    source: list[str]
    target: list[str]
    weights: list[list[float]]


@dataclass(frozen=True)
class Translation:
    """The answer for one text."""

    text: str
    log_prob: float
    """Sum over all pieces and the end of each sentence, in nats."""
    alternatives: list[Alternative]
    """The next best, the best first."""
    attention: list[SentenceAttention] | None = None
    """One for each sentence, which is translated by itself, or part of a long one."""
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an element of ``translations`` in what ``POST /translate`` answers."""
        found: dict[str, Any] = {
            "text": self.text,
            "log_prob": round(self.log_prob, 4),
            "alternatives": [
                {"text": other.text, "log_prob": round(other.log_prob, 4)}
                for other in self.alternatives
            ],
        }
        if self.attention is not None:
            found["attention"] = [
                {
                    "source": each.source,
                    "target": each.target,
                    "weights": [[round(value, 4) for value in row] for row in each.weights],
                }
                for each in self.attention
            ]
        return found | {"warnings": list(self.warnings)}
