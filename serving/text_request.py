"""What the endpoints for texts have in common: a JSON object of texts, names and options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from serving.json_body import read_json
from serving.options import Option
from serving.responses import RequestError, quoted
from serving.runtime import Runtime
from serving.upload import read_bytes

NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


async def read_object(request: Request, runtime: Runtime, names: frozenset[str]) -> dict[str, Any]:
    """The request's JSON object, whose keys are all in ``names``.

    Raises:
        RequestError: anything that is no such body, or more than ``max_json_bytes``.
    """
    with runtime.budget.reserve() as take:
        body = await read_bytes(
            request,
            take,
            runtime.limits,
            media_type="application/json",
            max_bytes=runtime.settings.max_json_bytes,
        )
        return read_json(body, names=names)


def options_of(given: dict[str, Any], options: Sequence[Option]) -> dict[str, Any]:
    """Values by name, of those that were sent; raises RequestError invalid_option."""
    return {
        option.name: option.check(given[option.name]) for option in options if option.name in given
    }


def text_of(name: str, value: Any, longest: int) -> str:
    """The value, where it is a text of at most ``longest`` characters.

    Raises:
        RequestError: invalid_option or text_too_long.
    """
    if not isinstance(value, str):
        raise RequestError("invalid_option", f"{name} is {shown(value)}.", hint="It takes text.")
    if len(value) > longest:
        raise RequestError(
            "text_too_long", f"{name} has {len(value)} characters; it can have {longest}."
        )
    return value


def name_of(given: dict[str, Any], name: str) -> str | None:
    """A name of ours that was sent, None where it was not; raises RequestError invalid_option."""
    value = given.get(name)
    if name in given and not (isinstance(value, str) and re.fullmatch(NAME, value)):
        raise RequestError(
            "invalid_option",
            f"{name} is {shown(value)}.",
            hint="GET /models lists what there is.",
        )
    return value


def shown(value: Any) -> str:
    """A JSON value in a message: its text, or what kind of thing it is."""
    if isinstance(value, str):
        return quoted(value)
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    return kinds.get(type(value), quoted(str(value)))


def request_body(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """OpenAPI's description of such a body."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def described(options: Sequence[Option]) -> dict[str, Any]:
    """The options as properties of a JSON object."""
    return {
        option.name: option.schema() | {"description": option.description} for option in options
    }


TEXT_ERRORS = ("invalid_json", "invalid_option", "text_too_long")
