"""What can be asked of a model of endless text, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from captioner.errors import InvalidOption

# name -> (lowest, highest), both allowed. The service's documentation reads them from here.
GENERATE_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, 20_000),
    "temperature": (0, 2),
    "top_k": (0, 1000),
    "top_p": (0.01, 1),
    "seed": (0, 2**63 - 1),
}
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 100
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class GenerateOptions:
    """How to go on with a text; ``None`` leaves the choice to the bundle."""

    max_tokens: int | None = None
    """Characters to say."""
    temperature: float | None = None
    """0 always takes the likeliest character; above 0 samples, the higher the bolder."""
    top_k: int = 0
    """Sampling only from the k likeliest characters; 0: from all."""
    top_p: float = 1.0
    """Sampling only from the likeliest characters that together have this probability."""
    seed: int | None = None
    """Makes sampling repeatable."""
    stop: tuple[str, ...] = ()
    """Ends where one of these would come; it is left out."""

    def check(self) -> GenerateOptions:
        """Returns itself; raises :class:`InvalidOption` for ranges and contradictions."""
        for name, (low, high) in GENERATE_RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InvalidOption(f"{name} is {value}; it can be from {low} to {high}.")
        if self.temperature == 0:
            for name, default in (("top_k", 0), ("top_p", 1.0), ("seed", None)):
                if getattr(self, name) != default:
                    raise InvalidOption(f"{name} is for sampling.", hint="temperature above 0.")
        if len(self.stop) > MAX_STOPS:
            raise InvalidOption(f"stop has {len(self.stop)} texts; it can have {MAX_STOPS}.")
        for text in self.stop:
            if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
                raise InvalidOption(
                    f"A stop has {len(text)} characters; it can have 1 to {MAX_STOP_CHARACTERS}."
                )
        return self


@dataclass(frozen=True)
class Delta:
    """A character and its log-probability, in nats, by the model as it is."""

    text: str
    log_prob: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an event of ``POST /generate``."""
        return {"delta": self.text, "log_prob": round(self.log_prob, 4)}


@dataclass(frozen=True)
class GenerationEnd:
    """How a text ended, and how much was read and said."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    model: str
    timing_ms: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the last event of ``POST /generate``."""
        return {
            "finish_reason": self.finish_reason,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
            },
            "model": self.model,
            "timing_ms": {name: round(value, 2) for name, value in self.timing_ms.items()},
        }


@dataclass(frozen=True)
class Generation:
    """What follows a prompt, the prompt not included."""

    text: str
    log_prob: float
    """Sum over the characters of ``text``, in nats."""
    end: GenerationEnd

    @classmethod
    def of(cls, deltas: list[Delta], end: GenerationEnd) -> Generation:
        """All characters together."""
        text = "".join(delta.text for delta in deltas)
        return cls(text, sum(delta.log_prob for delta in deltas), end)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the body that ``POST /generate`` answers."""
        return {"text": self.text, "log_prob": round(self.log_prob, 4)} | self.end.to_dict()
