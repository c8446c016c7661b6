"""``POST /frames``: a short video in, labels for its frames out, while it is still arriving."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Iterator
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import Response

from captioner.errors import UserError, VideoTooLong
from serving.arrival import Arrival
from serving.deadline import TIMEOUT_PARAMETER, deadline_of
from serving.edge import ClientGone
from serving.endpoint import Endpoint
from serving.frame_answers import (
    FORMAT,
    PRODUCES,
    STREAMED,
    EventsResponse,
    format_of,
    whole,
)
from serving.hosting import Hosted
from serving.options import Pairs, pairs_of, read_options
from serving.responses import RequestError, json_bytes
from serving.runtime import Runtime
from serving.settings import Settings
from serving.spool import Abandoned
from serving.streams import Places, Stream
from serving.video_request import (
    OPTIONS,
    arriving,
    file_field,
    frames_limits,
    request_body,
    unusable,
)

OWN = (*OPTIONS, FORMAT)
JOBS = "POST /frames/jobs takes longer ones."
VIDEO = file_field(OWN, larger=JOBS)


async def frames(request: Request, runtime: Runtime) -> Response:
    """Label at once what can be read in order and is to be streamed; the rest once it is here."""
    file = await runtime.jobs.nameless()
    async with contextlib.AsyncExitStack() as stack:
        arrival = await stack.enter_async_context(
            arriving(request, runtime, file, VIDEO, max_bytes=runtime.settings.frames_max_bytes)
        )
        labelling = _Labelling(request, runtime, arrival)
        stack.push_async_callback(labelling.close)
        try:
            name, first = await labelling.begin()
            if name in STREAMED:
                request.scope["captioner"].answers_early = True
                return EventsResponse(name, labelling.lines(first), stack.pop_all().aclose)
            return whole(await labelling.result(first), name)
        except VideoTooLong as error:
            raise _use_jobs(error) from error
        except Abandoned:
            raise ClientGone from None


class _Labelling:
    """One request from its first byte to its last label."""

    def __init__(self, request: Request, runtime: Runtime, arrival: Arrival) -> None:
        self._request = request
        self._runtime = runtime
        self._arrival = arrival
        self._model = runtime.models["frames"]
        self._query = pairs_of(request.scope["query_string"], max_pairs=runtime.settings.max_parts)
        self._loop = asyncio.get_running_loop()
        self._stream: Stream[Any] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._queue_s = 0.0

    async def begin(self) -> tuple[str, Any]:
        """The name of the format, and the first event: what is refused is refused here."""
        arrival, streams = self._arrival, self._model.streams
        self._deadline()  # refuses a header that cannot be used
        before = await arrival.begun()
        if before is not None:
            in_order = _can_be_read_in_order(arrival.head)
            options, name = self._options(before)
            if in_order and name in STREAMED and streams.take_early():
                self._start(options, arrival.spool.in_order)
                self._tasks.append(asyncio.create_task(self._see_to_the_rest(before)))
                return name, await self._first(arrival.first_byte_at)
        fields = await arrival.complete()
        options, name = self._options(fields)
        deadline = self._deadline()
        waiting = self._loop.time()
        await arrival.unless_gone(streams.take(deadline))
        self._queue_s = self._loop.time() - waiting
        self._start(options, arrival.spool.whole)
        self._end_at(deadline)
        return name, await self._first(arrival.complete_at)

    def lines(self, first: Any) -> Callable[[], Any]:
        """What gives a line for each event, the first one included, and None after the last."""
        from captioner.tasks.frame_formats import event_line

        ahead = [first]

        async def line() -> bytes | None:
            try:
                event = ahead.pop() if ahead else await self._next()
            except VideoTooLong as error:
                raise _use_jobs(error) from error
            except Abandoned:
                raise ClientGone from None
            return None if event is None else event_line(event).encode()

        return line

    async def result(self, first: Any) -> dict[str, Any]:
        """All events as one result."""
        from captioner.tasks.frame_options import FramesResult

        events = [first]
        while (event := await self._next()) is not None:
            events.append(event)
        *labelled, summary = events
        body = FramesResult(labelled, summary).to_dict()
        body["timing_ms"]["queue"] = round(1000 * self._queue_s, 2)
        self._request.scope["captioner"].timing_ms = body["timing_ms"]
        return body

    async def close(self) -> None:
        """End the work, if it has not come to its end."""
        for task in self._tasks:
            task.cancel()
        if self._stream is not None:
            self._stream.abort(Abandoned("the request has ended."))
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _options(self, fields: Pairs) -> tuple[Any, str]:
        from captioner.tasks.frame_options import FrameOptions

        values = read_options([*self._query, *fields], OWN)
        name = format_of(self._request, values.pop("format", None))
        options = FrameOptions(**values).check()
        unusable(self._runtime, values)
        return options, name

    def _start(self, options: Any, source: Callable[[], IO[bytes]]) -> None:
        task, limits = self._model.task, frames_limits(self._runtime.settings)

        def work() -> Iterator[Any]:
            with task.stream(source(), options, limits=limits) as stream:
                yield from stream

        self._stream = self._model.streams.begin(work, stop=self._arrival.spool.fail)
        self._tasks.append(asyncio.create_task(self._end_when_gone()))

    async def _first(self, since: float | None) -> Any:
        event = await self._next()
        if since is not None:
            self._model.streams.observer.first(self._loop.time() - since)
        return event

    async def _next(self) -> Any:
        assert self._stream is not None
        return await self._stream.next()

    async def _see_to_the_rest(self, before: Pairs) -> None:
        """Of an upload whose labels are on their way already."""
        assert self._stream is not None
        try:
            fields = await self._arrival.complete()
            if fields != before:
                raise RequestError(
                    "late_field",
                    f"{fields[len(before)][0]} stands behind the video, whose labels are on "
                    "their way already.",
                    hint="Put options before the file, or into the query.",
                )
            self._end_at(self._deadline())
        except ClientGone:
            self._stream.abort(Abandoned("the client left."))
        except UserError as error:
            self._stream.abort(error)

    async def _end_when_gone(self) -> None:
        assert self._stream is not None
        await self._arrival.gone.wait()
        self._stream.abort(Abandoned("the client left."))

    def _deadline(self) -> float:
        settings = self._runtime.settings
        return deadline_of(self._request, settings, default_s=settings.frames_deadline_s)

    def _end_at(self, deadline: float) -> None:
        async def end() -> None:
            assert self._stream is not None
            await asyncio.sleep(max(0.0, deadline - self._loop.time()))
            self._stream.abort(
                RequestError(
                    "deadline_exceeded",
                    "the video was not labelled in time.",
                    hint="POST /frames/jobs takes longer.",
                    retry_after=10,
                )
            )

        self._tasks.append(asyncio.create_task(end()))


def _can_be_read_in_order(head: bytes) -> bool:
    from captioner.vision.containers import can_be_read_in_order

    return can_be_read_in_order(head)


def _use_jobs(error: UserError) -> RequestError:
    return RequestError("use_jobs", error.message, hint=JOBS)


def places(settings: Settings) -> Places:
    """How many videos are labelled at a time."""
    doing, otherwise = "videos are being labelled", "; POST /frames/jobs waits longer"
    return Places(settings.frames_streams, settings.frames_queue, doing, otherwise)


def warm_up(task: Any, size: int) -> None:
    """Label a made-up video of two pictures, from its bytes to JSON, as a request would."""
    from PIL import Image

    buffer = io.BytesIO()
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100)
    json_bytes(task(buffer.getvalue(), every_s=0).to_dict())


_TIME = {"type": "number", "description": "Seconds, by the container's own timestamps."}
_LABELS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "score": {"type": "number", "minimum": 0, "maximum": 1.0001},
        },
        "required": ["label", "score"],
    },
}
_FRAME = {
    "type": "object",
    "properties": {
        "index": {"type": "integer", "minimum": 0, "description": "Among all frames."},
        "time_s": _TIME,
        "labels": _LABELS,
    },
    "required": ["index", "time_s", "labels"],
}
_SEGMENT = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "start_s": _TIME,
        "end_s": _TIME,
        "start_frame": {"type": "integer"},
        "end_frame": {"type": "integer", "description": "The first one after it."},
        "score": {"type": "number", "minimum": 0, "maximum": 1.0001},
        "caption": {"type": "string", "description": "With captions."},
    },
    "required": ["label", "start_s", "end_s", "start_frame", "end_frame", "score"],
}
_RESULT = {
    "type": "object",
    "properties": {
        "frames": {"type": "array", "items": _FRAME},
        "segments": {"type": "array", "items": _SEGMENT},
        "clip": {
            "type": "object",
            "description": "Labels of the video as a whole.",
            "properties": {"labels": _LABELS},
            "required": ["labels"],
        },
        "video": {"type": "object", "description": "What was read of which file."},
        "truncated": {"type": "boolean", "description": "The file has lost its end."},
        "model": {"type": "string", "description": "name@version"},
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
    "required": [
        "frames", "segments", "clip", "video", "truncated", "model", "timing_ms", "warnings",
    ],
}  # fmt: skip
_LINES = (
    'A line for each frame, {"type": "frame", …}; the last is {"type": "summary", …}, or, where '
    'labelling fails on the way, {"type": "error", "error": …}.'
)
_TEXTS = {
    "application/x-ndjson": _LINES,
    "text/vtt": "A cue for each segment, from the first frame on.",
    "application/x-subrip": "As WebVTT, with numbers.",
    "text/csv": "A row for each segment, in the container's own time.",
    "text/event-stream": "The lines of NDJSON as events of their type; the last is [DONE].",
}
RESULTS: dict[str, dict[str, Any]] = {"application/json": _RESULT} | {
    kind: {"type": "string", "description": text} for kind, text in _TEXTS.items()
}
BODY_ERRORS = (
    "missing_field", "empty_file", "not_a_file", "too_many_files", "invalid_multipart",
    "storage_full", "storage_unavailable",
)  # fmt: skip
VIDEO_ERRORS = (
    "unsupported_video_format", "invalid_video", "no_video_stream", "video_too_large",
    "video_timeout", "invalid_input",
)  # fmt: skip

FRAMES = Endpoint(
    method="POST",
    path="/frames",
    handler=frames,
    hosted=Hosted("frames", warm_up, places=places),
    summary="Label the frames of a short video",
    description=(
        "The video is the body itself (options in the query) or the form's one file `video` "
        "(options in the query or as fields). MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS and GIF "
        "are told by their bytes; a URL, a path or a playlist is never opened. NDJSON and "
        "server-sent events come while the video is still arriving, where it can be read in "
        "order; form fields must then stand before the file."
    ),
    produces=PRODUCES,
    options=OWN,
    parameters=(TIMEOUT_PARAMETER,),
    request_body=request_body(OWN),
    answers={200: RESULTS},
    errors=(*BODY_ERRORS, *VIDEO_ERRORS, "use_jobs", "late_field"),
)
