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
MAX_UNITS = 16
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
    units: tuple[str, ...] = ()
    """Hidden units to watch, such as ``c1.37``: see :mod:`captioner.explain.units`."""

    def check(self) -> GenerateOptions:
        """Returns itself; raises :class:`InvalidOption` for ranges and contradictions."""
        for name, (low, high) in GENERATE_RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InvalidOption(f"{name} is {value}; it can be from {low} to {high}.")
        if self.temperature == 0:
            for name, default in (("top_k", 0), ("top_p", 1.0), ("seed", None)):
                if getattr(self, name) != default:
                    raise InvalidOption(
                        f"{name} is for sampling.", hint="Give a temperature above 0 with it."
                    )
        if len(self.stop) > MAX_STOPS:
            raise InvalidOption(f"stop has {len(self.stop)} texts; it can have {MAX_STOPS}.")
        for text in self.stop:
            if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
                raise InvalidOption(
                    f"A stop has {len(text)} characters; it can have 1 to {MAX_STOP_CHARACTERS}."
                )
        if len(self.units) > MAX_UNITS:
            raise InvalidOption(f"units has {len(self.units)} names; it can have {MAX_UNITS}.")
        return self


@dataclass(frozen=True)
class Delta:
    """A character and its log-probability, in nats, by the model as it is.

    ``units``: values in -1 … 1 of the hidden units that are watched, after this character.
    """

    text: str
    log_prob: float
    units: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an event of ``POST /generate``."""
        found: dict[str, Any] = {"delta": self.text, "log_prob": round(self.log_prob, 4)}
        if self.units is not None:
            found["units"] = {name: round(value, 3) for name, value in self.units.items()}
        return found


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
    units: dict[str, list[float]] | None = None
    """Of each unit that was watched, its value after each character of ``text``."""

    @classmethod
    def of(cls, deltas: list[Delta], end: GenerationEnd) -> Generation:
        """All characters together."""
        text = "".join(delta.text for delta in deltas)
        watched = [delta.units for delta in deltas if delta.units is not None]
        units = {name: [one[name] for one in watched] for name in watched[0]} if watched else None
        return cls(text, sum(delta.log_prob for delta in deltas), end, units)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the body that ``POST /generate`` answers."""
        found: dict[str, Any] = {"text": self.text, "log_prob": round(self.log_prob, 4)}
        if self.units is not None:
            found["units"] = {
                name: [round(value, 3) for value in values] for name, values in self.units.items()
            }
        return found | self.end.to_dict()
