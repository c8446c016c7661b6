"""How to search: one set of options for every model, checked where it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from captioner.errors import InvalidOption

_LEAST = {
    "num_beams": 1,
    "num_return": 1,
    "max_tokens": 1,
    "min_tokens": 0,
    "no_repeat_ngram_size": 0,
    "top_k": 0,
}
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class SearchOptions:
    """How to search. Names are those of Hugging Face ``generate`` where the meaning is the same.

    ``temperature=0`` searches: greedily with ``num_beams=1``, with beams above. A temperature above
    0 samples ``num_return`` times from ``softmax(logits / temperature)``, among the ``top_k`` most
    probable tokens (0: all), of these among the fewest that hold ``top_p`` of the mass.

    A hypothesis' score is ``log_prob / len ** length_penalty``; ``len`` counts its tokens and the
    end token. 0 ranks by the sum, 1 by the mean; the larger, the longer the results.

    Raises :class:`InvalidOption` for a value out of range and for options that contradict.
    """

    num_beams: int = 1
    num_return: int = 1
    """How many hypotheses for each row, at most ``num_beams`` unless sampling."""
    max_tokens: int = 30
    """Lengths count tokens without the end, with the prefix."""
    min_tokens: int = 0
    length_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    """No n-gram of this many tokens occurs twice in a result; 0: anything may repeat."""
    banned_ids: tuple[int, ...] = ()
    """Never chosen, on top of the model's ``forbidden_ids``."""
    prefix: tuple[int, ...] = ()
    """Every result begins with it."""
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | tuple[int, ...] | None = None
    """Makes samples reproducible: they depend on the row and its seed, not on the rows beside it or
    the device. One for all rows, or a tuple with one for each; None: torch's global generator."""
    exact: bool = True
    """True: beam search goes on until no beam can beat what is found at any length up to
    ``max_tokens``. False: a beam is judged at its present length (``early_stopping=False`` in
    ``generate``); cheaper with ``length_penalty`` above 0, the same otherwise."""

    @property
    def name(self) -> str:
        """What is said of a search beside a score: ``greedy``, ``beam3-lp0.6`` or ``sample``.

        A length penalty of 0 is left out; it changes nothing where there is one beam.
        """
        if self.temperature > 0:
            return "sample"
        if self.num_beams == 1:
            return "greedy"
        penalty = f"-lp{self.length_penalty:g}" if self.length_penalty else ""
        return f"beam{self.num_beams}{penalty}"

    def __post_init__(self) -> None:
        for name in ("banned_ids", "prefix"):
            object.__setattr__(self, name, _ids(name, getattr(self, name)))
        for name, least in _LEAST.items():
            _whole(name, getattr(self, name), least)
        _within("length_penalty", self.length_penalty, -5.0, 5.0)
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise InvalidOption(f"top_p is {self.top_p}.", hint="Above 0, at most 1.")
        self._check_seed()
        self._check_lengths()
        self._check_method()

    def _check_seed(self) -> None:
        if isinstance(self.seed, list):
            object.__setattr__(self, "seed", tuple(self.seed))
        if self.seed is None:
            return
        for seed in self.seed if isinstance(self.seed, tuple) else (self.seed,):
            _whole("seed", seed, 0)
            if seed > _LARGEST_SEED:
                raise InvalidOption(f"seed is {seed}.", hint=f"From 0 to {_LARGEST_SEED}.")

    def _check_lengths(self) -> None:
        if self.min_tokens > self.max_tokens:
            raise InvalidOption(
                f"min_tokens is {self.min_tokens}, above max_tokens, which is {self.max_tokens}.",
                hint="min_tokens is at most max_tokens.",
            )
        if len(self.prefix) > self.max_tokens:
            raise InvalidOption(
                f"The prefix has {len(self.prefix)} tokens; max_tokens is {self.max_tokens}.",
                hint="max_tokens counts the prefix.",
            )

    def _check_method(self) -> None:
        if self.temperature > 0:
            if self.num_beams > 1:
                raise InvalidOption(
                    f"num_beams is {self.num_beams} and temperature is {self.temperature}.",
                    hint="Sampling has no beams: temperature 0, or num_beams 1.",
                )
            return
        if self.num_return > self.num_beams:
            raise InvalidOption(
                f"num_return is {self.num_return}, above num_beams, which is {self.num_beams}.",
                hint="num_return is at most num_beams unless sampling (temperature above 0).",
            )
        if self.top_k or self.top_p < 1:
            name, value = ("top_k", self.top_k) if self.top_k else ("top_p", self.top_p)
            raise InvalidOption(
                f"{name} is {value} and temperature is 0.",
                hint=f"{name} is for sampling: temperature above 0.",
            )


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise InvalidOption(f"{name} is {value!r}.", hint=f"A whole number, at least {least}.")


def _within(name: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise InvalidOption(f"{name} is {value!r}.", hint=f"A number from {least:g} to {most:g}.")


def _ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise InvalidOption(f"{name} is {value!r}.", hint="A tuple of token ids.")
    for token in value:
        _whole(name, token, 0)
    return tuple(value)
