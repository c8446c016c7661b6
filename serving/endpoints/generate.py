"""``POST /generate``: a prompt in, what follows it out, at once or character by character."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.accept import preferred
from serving.deadline import TIMEOUT_PARAMETER, deadline_of
from serving.edge import ClientGone
from serving.endpoint import Endpoint
from serving.event_stream import EventStream
from serving.hosting import Hosted, HostedModel, entry
from serving.options import Option
from serving.responses import RequestError, json_bytes, json_response
from serving.runtime import Runtime
from serving.settings import Settings
from serving.spool import Abandoned
from serving.streams import Places, Stream
from serving.text_request import (
    NAME,
    TEXT_ERRORS,
    described,
    name_of,
    options_of,
    read_object,
    request_body,
    text_of,
)
from serving.upload import unless_gone

# The ranges of captioner.tasks.generate_options; see serving/endpoints/caption.py.
OPTIONS = (
    Option("max_tokens", "integer", "Characters to say.", 1, 20_000),
    Option("temperature", "number", "0 takes the likeliest, above 0 samples.", 0, 2),
    Option("top_k", "integer", "Sample among so many characters; 0 is all.", 0, 1000, 0),
    Option("top_p", "number", "Sample among the likeliest that reach this share.", 0.01, 1, 1),
    Option("seed", "integer", "Makes sampling repeatable.", 0, 2**63 - 1),
)
STREAM = Option("stream", "boolean", "Server-sent events, one a character.")
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 100
MAX_UNITS, UNIT = 16, r"[a-z][0-9]{1,3}\.[0-9]{1,6}"
NAMES = frozenset(
    {"prompt", "model", "stop", "stream", "units"} | {option.name for option in OPTIONS}
)
PRODUCES = ("application/json", "text/event-stream")
PORTION_S = 0.02


async def generate(request: Request, runtime: Runtime) -> Response:
    """Check, wait for a place, and write; what is refused is refused before the first character."""
    from captioner.tasks.generate_options import GenerateOptions

    model, settings = runtime.models["generate"], runtime.settings
    given = await read_object(request, runtime, NAMES)
    values = options_of(given, (*OPTIONS, STREAM))
    streamed = values.pop("stream", None)
    if streamed is None:
        streamed = preferred(request.headers.getlist("accept"), PRODUCES) == PRODUCES[1]
    prompt = text_of("prompt", given.get("prompt", ""), settings.max_text_characters)
    stop, units = _stops(given.get("stop", [])), _units(given.get("units", []))
    options = GenerateOptions(**values, stop=stop, units=units)
    text = model.task.generator(name_of(given, "model")).stream(prompt, options)
    loop = asyncio.get_running_loop()
    deadline = deadline_of(request, settings, default_s=settings.generate_deadline_s)
    began = loop.time()
    await unless_gone(request.receive, model.streams.take(deadline))
    queue_s = loop.time() - began
    writing = _Writing(request, model, text, deadline)
    try:
        first = await writing.next()
        model.streams.observer.first(loop.time() - began)
        if streamed:
            return EventStream(writing.events(first), writing.close, _failure)
        body = await writing.whole(first)
    except BaseException:
        await writing.close()
        raise
    await writing.close()
    body["timing_ms"]["queue"] = round(1000 * queue_s, 2)
    request.scope["captioner"].timing_ms = body["timing_ms"]
    return json_response(body)


class _Writing:
    """One text from its first character to its end. Whoever makes it has taken a place."""

    def __init__(self, request: Request, model: HostedModel, text: Any, deadline: float) -> None:
        self._stream: Stream[list[Any]] = model.streams.begin(
            lambda: portions(text), stop=lambda _: None, count=len
        )
        self._tasks = [
            asyncio.create_task(self._end_when_gone(request)),
            asyncio.create_task(self._end_at(deadline)),
        ]

    async def next(self) -> Any:
        """The next characters, the last of all how the text has ended; None after that."""
        try:
            return await self._stream.next()
        except Abandoned:
            raise ClientGone from None

    def events(self, first: Any) -> Any:
        """What gives server-sent events, one for each, the first ones included."""
        ahead = [first]

        async def events() -> bytes | None:
            found = ahead.pop() if ahead else await self.next()
            return found and b"".join(_data(one.to_dict()) for one in found)

        return events

    async def whole(self, first: Any) -> dict[str, Any]:
        """All characters as one answer."""
        from captioner.tasks.generate_options import Generation

        found = list(first)
        while (more := await self.next()) is not None:
            found += more
        *deltas, end = found
        return Generation.of(deltas, end).to_dict()

    async def close(self) -> None:
        """End the work, if it has not come to its end."""
        self._stream.abort(Abandoned("the request has ended."))
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _end_when_gone(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._stream.abort(Abandoned("the client left."))

    async def _end_at(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
        self._stream.abort(
            RequestError(
                "deadline_exceeded",
                "the text was not written in time.",
                hint="Ask for fewer max_tokens, or with X-Timeout-Ms for more time.",
                retry_after=5,
            )
        )


def portions(text: Any) -> Iterator[list[Any]]:
    """The characters of ``text`` and its end in lists.

    One is ready as often as somebody may notice, not for each character: waking the event loop
    takes longer than a step of a small model.
    """
    portion: list[Any] = []
    due = 0.0
    for delta in text:
        portion.append(delta)
        if time.perf_counter() >= due:
            yield portion
            portion, due = [], time.perf_counter() + PORTION_S
    yield [*portion, text.end]


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not (
        isinstance(stops, list)
        and len(stops) <= MAX_STOPS
        and all(isinstance(one, str) and 1 <= len(one) <= MAX_STOP_CHARACTERS for one in stops)
    ):
        raise RequestError(
            "invalid_option",
            "stop cannot be used.",
            hint=f"It takes a text of 1 to {MAX_STOP_CHARACTERS} characters, or a list of up to "
            f"{MAX_STOPS}.",
        )
    return tuple(stops)


def _units(value: Any) -> tuple[str, ...]:
    if not (
        isinstance(value, list)
        and len(value) <= MAX_UNITS
        and all(isinstance(one, str) and re.fullmatch(UNIT, one) for one in value)
    ):
        raise RequestError(
            "invalid_option",
            "units cannot be used.",
            hint=f"It takes a list of up to {MAX_UNITS} hidden units, such as c1.37.",
        )
    return tuple(value)


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def _failure(body: dict[str, Any]) -> bytes:
    return b"event: error\n" + _data(body)


def places(settings: Settings) -> Places:
    """How many texts are written at a time."""
    return Places(
        settings.generate_streams,
        settings.generate_queue,
        "texts are being written",
        results="captioner_characters_generated",
    )


def warm_up(task: Any, size: int) -> None:
    """Write a few characters with each model, from the prompt to JSON, as a request would."""
    for name in task.generators:
        json_bytes(task(model=name, max_tokens=5 * size).to_dict())


def entries(task: Any) -> list[dict[str, Any]]:
    """Every model in ``GET /models``, the one first that is taken where none is named."""
    return [entry(generator) for generator in task.generators.values()]


_LOG_PROB = {"type": "number", "description": "In nats, by the model as it is."}
_END = {
    "finish_reason": {"enum": ["stop", "length"]},
    "usage": {
        "type": "object",
        "properties": {
            "prompt_tokens": {"type": "integer", "minimum": 0},
            "completion_tokens": {"type": "integer", "minimum": 0},
        },
        "required": ["prompt_tokens", "completion_tokens"],
    },
    "model": {"type": "string", "description": "name@version"},
    "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
}
_UNIT_VALUE = {"type": "number", "minimum": -1, "maximum": 1}
_RESULT = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What follows the prompt."},
        "log_prob": _LOG_PROB,
        "units": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": _UNIT_VALUE},
            "description": "Where units were asked for: of each, a value for each character.",
        },
        **_END,
    },
    "required": ["text", "log_prob", *_END],
}
_EVENTS = {
    "type": "string",
    "description": (
        'With stream: data: {"delta", "log_prob"} for each character, with "units" where they '
        'were asked for, then {"finish_reason", "usage", "model", "timing_ms"}, then [DONE]. '
        "Where writing fails on the way, an event `error` with an error's body is the last."
    ),
}
_STOP = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}

GENERATE = Endpoint(
    method="POST",
    path="/generate",
    handler=generate,
    hosted=Hosted("generate", warm_up, places=places, entries=entries),
    summary="Go on with a text",
    description=(
        "Characters that follow `prompt`, by the model that `model` names, or the first that "
        "`GET /models` lists. A token is a character. A client that leaves ends the work."
    ),
    produces=PRODUCES,
    parameters=(TIMEOUT_PARAMETER,),
    request_body=request_body(
        {
            "prompt": {
                "type": "string",
                "description": "Without one, the text begins as after a line feed.",
            },
            "model": {"type": "string", "pattern": f"^{NAME}$"},
            **described(OPTIONS),
            "stop": {
                "description": "Ends where one of these would come; it is left out.",
                "oneOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": MAX_STOPS}],
            },
            "units": {
                "type": "array",
                "items": {"type": "string", "pattern": f"^{UNIT}$"},
                "maxItems": MAX_UNITS,
                "description": "Hidden units to watch: part of the state, layer and place, such "
                "as c1.37. Each character comes with their values after it.",
            },
            **described((STREAM,)),
        }
    ),
    answers={200: {"application/json": _RESULT, "text/event-stream": _EVENTS}},
    errors=(*TEXT_ERRORS, "unknown_characters", "unknown_model"),
)
