"""Options as clients send them, strings in a query or a form, to values: strictly.

Nothing is guessed: an unknown name, a second value, ``true`` for a number, NaN and ``1e999`` are
all refused. The same table describes the options in the OpenAPI document.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from serving.responses import RequestError, quoted

Pairs = list[tuple[str, str]]
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,3})?")
_BOOLEAN = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Option:
    """One option of an endpoint: name, JSON type, inclusive range, and what it does.

    A string is one of ``choices``.
    """

    name: str
    type: Literal["integer", "number", "boolean", "string"]
    description: str
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> Any:
        """The value in ``text``.

        Raises:
            RequestError: invalid_option, with the name, the value and what is possible.
        """
        value: Any = None
        if self.type == "boolean":
            value = _BOOLEAN.get(text.lower())
        elif self.type == "string":
            value = text
        elif self.type == "integer" and _INTEGER.fullmatch(text):
            value = int(text)
        elif self.type == "number" and _NUMBER.fullmatch(text):
            value = float(text)
        if value is None:
            raise self._refusal(text)
        return self.check(value)

    def check(self, value: Any) -> Any:
        """The value itself, as JSON brought it. A string, or a boolean for a number, is refused.

        Raises:
            RequestError: invalid_option.
        """
        kind = type(value)
        fits = {
            "boolean": kind is bool,
            "integer": kind is int,
            "number": kind in (int, float),
            "string": value in self.choices,
        }[self.type]
        if not fits or (kind in (int, float) and not self._is_within(value)):
            raise self._refusal(str(value))
        return value

    def schema(self) -> dict[str, Any]:
        """The option as a JSON Schema."""
        schema: dict[str, Any] = {"type": self.type, "enum": list(self.choices) or None}
        schema |= {"minimum": self.minimum, "maximum": self.maximum, "default": self.default}
        return {key: value for key, value in schema.items() if value is not None}

    def _is_within(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        low, high = self.minimum, self.maximum
        return (low is None or value >= low) and (high is None or value <= high)

    def _refusal(self, given: str) -> RequestError:
        return RequestError("invalid_option", f"{self.name} is {quoted(given)}.", hint=self._wanted)

    @property
    def _wanted(self) -> str:
        if self.type == "boolean":
            return "It takes true or false."
        if self.type == "string":
            return f"It takes {', '.join(self.choices)}."
        noun = "a whole number" if self.type == "integer" else "a number"
        return f"It takes {noun} from {self.minimum} to {self.maximum}."


def pairs_of(encoded: bytes, *, max_pairs: int = 32) -> Pairs:
    """Names and values of a query string or URL-encoded form, in order.

    Raises:
        RequestError: too_many_parts, or invalid_query for what is not percent-encoded UTF-8.
    """
    if encoded.count(b"&") >= max_pairs:
        raise RequestError("too_many_parts", f"there are more than {max_pairs} options.")
    try:
        text = encoded.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise RequestError("invalid_query", "the query is not percent-encoded UTF-8.") from None


def read_options(pairs: Pairs, options: Sequence[Option]) -> dict[str, Any]:
    """Values by name, of those that were sent.

    Raises:
        RequestError: unknown_field, duplicate_field or invalid_option.
    """
    known = {option.name: option for option in options}
    values: dict[str, Any] = {}
    for name, _ in pairs:
        if name not in known:
            raise RequestError(
                "unknown_field",
                f"there is no option {quoted(name)}.",
                hint=f"The options are: {', '.join(known)}." if known else "There are none.",
            )
    for name, text in pairs:
        if name in values:
            raise RequestError("duplicate_field", f"{name} was sent more than once.")
        values[name] = known[name].read(text)
    return values
