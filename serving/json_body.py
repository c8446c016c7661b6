"""A JSON object out of a request's body: strict, with every name once and known."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from serving.responses import RequestError, quoted


def read_json(body: bytes, *, names: frozenset[str]) -> dict[str, Any]:
    """The object in ``body``, whose keys are all in ``names``.

    Raises:
        RequestError: invalid_json (bad UTF-8, a byte order mark, lone surrogates, nesting without
            end, no object), duplicate_field, unknown_field, or invalid_option for NaN and infinity.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError("invalid_json", f"the body is not JSON: {quoted(reason)}.") from None
    if not isinstance(value, dict):
        raise RequestError("invalid_json", "the body is JSON, but not an object.")
    for name in value:
        if name not in names:
            raise RequestError(
                "unknown_field",
                f"there is no field {quoted(name)}.",
                hint=f"The fields are: {', '.join(sorted(names))}.",
            )
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RequestError("duplicate_field", f"{quoted(twice)} stands in an object twice.")
    return value


def _refuse_constant(text: str) -> Any:
    raise RequestError("invalid_option", f"{text} is not a number that JSON has.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise RequestError("invalid_option", f"{quoted(text)} is not a finite number.")
    return value
