"""Labels of a video as answers: whole in one of several formats, or event by event."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.accept import preferred
from serving.event_stream import DONE, EventStream
from serving.options import Option
from serving.responses import json_bytes

# Name -> media type; those of captioner.tasks.frame_formats, which a test compares, and one more.
MEDIA_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "vtt": "text/vtt",
    "srt": "application/x-subrip",
    "csv": "text/csv",
    "sse": "text/event-stream",
}
STREAMED = ("ndjson", "sse")
PRODUCES = tuple(MEDIA_TYPES.values())
FORMAT = Option(
    "format", "string", "The answer's format, whatever Accept says.", choices=tuple(MEDIA_TYPES)
)


def format_of(request: Request, asked: str | None) -> str:
    """The name of the format that a client wants: ``format``, else by its Accept headers."""
    if asked is not None:
        return asked
    wanted = preferred(request.headers.getlist("accept"), PRODUCES)
    return next((name for name, kind in MEDIA_TYPES.items() if kind == wanted), "json")


def content_type(name: str) -> str:
    """The Content-Type of a format."""
    kind = MEDIA_TYPES[name]
    return f"{kind}; charset=utf-8" if name in ("vtt", "srt", "csv", "sse") else kind


def whole(body: Mapping[str, Any], name: str) -> Response:
    """A result's plain form in one of the formats that are not streamed."""
    if name == "json":
        content = json_bytes(body)
    else:
        from captioner.tasks.frame_formats import FORMATS

        content = FORMATS[name].write(body).encode()
    return Response(content, headers={"content-type": content_type(name)})


def as_event(line: bytes) -> bytes:
    """A line of NDJSON as a server-sent event, whose name is the line's ``type``."""
    kind = json.loads(line)["type"]
    return f"event: {kind}\ndata: ".encode() + line.rstrip(b"\n") + b"\n\n"


class EventsResponse(EventStream):
    """A line, or a server-sent event, for each of ``next_line()``, until that gives None.

    An error on the way is the last record, ``{"type": "error", "error": …}``.
    """

    def __init__(
        self,
        name: str,
        next_line: Callable[[], Awaitable[bytes | None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        events = name == "sse"

        def chunk(line: bytes) -> bytes:
            return as_event(line) if events else line

        async def next_chunk() -> bytes | None:
            line = await next_line()
            return None if line is None else chunk(line)

        super().__init__(
            next_chunk,
            close,
            lambda body: chunk(json_bytes({"type": "error"} | body) + b"\n"),
            content_type=content_type(name),
            done=DONE if events else b"",
            pings=events,
        )


class FileResponse(Response):
    """Bytes that ``read()`` gives until there are none, ``size`` in all."""

    def __init__(
        self,
        name: str,
        size: int,
        read: Callable[[], Awaitable[bytes]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        headers = {"content-type": content_type(name), "content-length": str(size)}
        super().__init__(headers=headers)
        self._read = read
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it; of a HEAD's answer, the head."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            while scope["method"] != "HEAD" and (data := await self._read()):
                await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            await self._close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
