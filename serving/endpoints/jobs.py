"""``/frames/jobs``: long videos, labelled in their own time; see :mod:`serving.jobs`."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import IO, Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from serving.deadline import TIMEOUT_PARAMETER, deadline_of
from serving.edge import ClientGone
from serving.endpoint import Endpoint
from serving.endpoints.frames import BODY_ERRORS, FRAMES, RESULTS, VIDEO_ERRORS
from serving.frame_answers import (
    FORMAT,
    PRODUCES,
    STREAMED,
    EventsResponse,
    FileResponse,
    format_of,
)
from serving.jobs.store import STATES, Job, new_id
from serving.options import Option, pairs_of, read_options
from serving.responses import JobFailure, RequestError, json_response
from serving.runtime import Runtime
from serving.settings import Settings
from serving.spool import Abandoned
from serving.video_request import (
    OPTIONS,
    arriving,
    file_field,
    job_limits,
    request_body,
    unusable,
)

VIDEO = file_field(OPTIONS)
AFTER = Option(
    "after", "integer", "Leaves out so many frames, which a client has already; for lines and "
    "events.", 0, 10**9,
)  # fmt: skip
PIECE = 2**16


async def submit(request: Request, runtime: Runtime) -> Response:
    """Take the video, look whether it is one, put it into the queue."""
    from captioner.tasks.frame_options import FrameOptions

    desk, settings = runtime.jobs, runtime.settings
    query = pairs_of(request.scope["query_string"], max_pairs=settings.max_parts)
    deadline_of(request, settings)  # refuses a header that cannot be used
    key = idempotency_key(request.headers)
    if key is not None and (earlier := await desk.by_key(key)) is not None:
        return _accepted(earlier)
    length = request.headers.get("content-length", "0")
    await desk.check_room(int(length) if re.fullmatch("[0-9]{1,15}", length) else 0)
    job_id = new_id()
    file = await desk.arriving(job_id)
    try:
        async with arriving(
            request, runtime, file, VIDEO, max_bytes=settings.jobs_max_bytes
        ) as arrival:
            fields = await arrival.complete()
            values = read_options([*query, *fields], OPTIONS)
            options = FrameOptions(**values).check()
            unusable(runtime, values)
            every_s = runtime.models["frames"].task.every_s(options)
            looking = runtime.decode(
                lambda: _probe(arrival.spool.whole(), every_s, options.key_frames, settings),
                deadline=deadline_of(request, settings),
            )
            duration_s = await arrival.unless_gone(looking)
            job = await desk.add(
                job_id,
                options=values,
                input_bytes=arrival.spool.size,
                duration_s=duration_s,
                idempotency_key=key,
            )
    except Abandoned:
        raise ClientGone from None
    finally:
        await desk.discard(job_id)
    return _accepted(job)


async def look(request: Request, runtime: Runtime) -> Response:
    """How far a job is."""
    return json_response({"job": describe(await _job(request, runtime))})


async def end(request: Request, runtime: Runtime) -> Response:
    """Cancel a job that has not ended; forget one that has."""
    job = await runtime.jobs.end((await _job(request, runtime)).id)
    return Response(status_code=204) if job is None else json_response({"job": describe(job)}, 202)


async def result(request: Request, runtime: Runtime) -> Response:
    """What ``POST /frames`` would have answered, in any of its formats; line by line also before
    the job has ended."""
    desk = runtime.jobs
    query = pairs_of(request.scope["query_string"], max_pairs=runtime.settings.max_parts)
    options = read_options(query, (FORMAT, AFTER))
    name, after = format_of(request, options.get("format")), options.get("after", 0)
    if after and name not in STREAMED:
        raise RequestError(
            "invalid_option", f"after is {after}.", hint=f"Only {' and '.join(STREAMED)} take it."
        )
    job = await _job(request, runtime)
    if job.state == "running" and name in STREAMED:
        if (file := await desk.open_so_far(job.id)) is not None:
            await desk.skip_lines(file, after)
            return _so_far(runtime, job, file, name)
        job = await _job(request, runtime)  # it may just have ended
    _check_succeeded(job)
    file = await desk.open_result(job.id, "ndjson" if name == "sse" else name)
    await desk.skip_lines(file, min(after, job.frames_done))  # the summary is always told
    if name == "sse":

        async def line() -> bytes | None:
            return await desk.read_line(file) or None

        return EventsResponse(name, line, _closer(file))
    return FileResponse(name, _left(file), lambda: desk.read(file, PIECE), _closer(file))


def _so_far(runtime: Runtime, job: Job, file: IO[bytes], name: str) -> Response:
    async def line() -> bytes:
        found = await runtime.jobs.read_line(file)
        if not found.endswith(b"\n"):  # what is being written just now is the next answer's
            raise _not_finished(job)
        return found

    return EventsResponse(name, line, _closer(file))


def _closer(file: IO[bytes]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        file.close()

    return close


def describe(job: Job) -> dict[str, Any]:
    """A job as its owner sees it."""
    return {
        "id": job.id,
        "state": job.state,
        "progress": None if job.progress is None else round(job.progress, 4),
        "frames_labelled": job.frames_done,
        "created_at": _time(job.created),
        "started_at": _time(job.started),
        "finished_at": _time(job.finished),
        "expires_at": _time(job.expires),
        "video": {"bytes": job.input_bytes, "duration_s": job.duration_s},
        "options": job.options,
        "model": job.model,
        "error": (
            None
            if job.error_code is None
            else {"code": job.error_code, "message": job.error_message}
        ),
        "result": f"/frames/jobs/{job.id}/result" if job.state == "succeeded" else None,
    }


def idempotency_key(headers: Headers) -> str | None:
    """The Idempotency-Key of a request, if it has one.

    Raises:
        RequestError: invalid_header.
    """
    given = headers.getlist("idempotency-key")
    if not given:
        return None
    key = ",".join(given)
    if not (16 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise RequestError(
            "invalid_header",
            "the Idempotency-Key is not 16 to 128 printable characters.",
            hint="A UUID is one.",
        )
    return key


async def _job(request: Request, runtime: Runtime) -> Job:
    return await runtime.jobs.get(request.path_params["job_id"])


def _probe(video: IO[bytes], every_s: float, key_frames: bool, settings: Settings) -> float | None:
    """How long the video says it is. What no job could label is refused here, by its header."""
    from captioner.vision.video import open_video

    with open_video(
        video, every_s=every_s or None, key_frames=key_frames, limits=job_limits(settings)
    ) as reader:
        return reader.info.duration_s


def _check_succeeded(job: Job) -> None:
    if job.state == "failed":
        raise JobFailure(job.error_code or "internal", job.error_message or "")
    if job.state == "cancelled":
        raise RequestError("job_cancelled", "the job was cancelled.")
    if job.state == "expired" or (job.expires is not None and job.expires < time.time()):
        raise RequestError("job_expired", "its result is not kept any more.")
    if job.state != "succeeded":
        raise _not_finished(job)


def _not_finished(job: Job) -> RequestError:
    return RequestError(
        "job_not_finished", f"the job is {job.state}.", hint=f"GET /frames/jobs/{job.id}"
    )


def _accepted(job: Job) -> Response:
    place = f"/frames/jobs/{job.id}"
    return json_response({"job": describe(job)}, 202, {"location": place})


def _left(file: IO[bytes]) -> int:
    """Bytes from where it stands to its end."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size - place


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


_MAYBE_TIME = {"type": ["string", "null"], "format": "date-time"}
_JOB = {
    "type": "object",
    "properties": {
        "job": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "Who knows it may see and end the job."},
                "state": {"enum": list(STATES)},
                "progress": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "description": "null where the video does not say how long it is.",
                },
                "frames_labelled": {"type": "integer", "minimum": 0},
                "created_at": {"type": "string", "format": "date-time"},
                "started_at": _MAYBE_TIME,
                "finished_at": _MAYBE_TIME,
                "expires_at": _MAYBE_TIME,
                "video": {
                    "type": "object",
                    "properties": {
                        "bytes": {"type": "integer"},
                        "duration_s": {"type": ["number", "null"]},
                    },
                },
                "options": {"type": "object"},
                "model": {"type": ["string", "null"]},
                "error": {
                    "type": ["object", "null"],
                    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                },
                "result": {"type": ["string", "null"], "description": "Where it is, once it is."},
            },
            "required": ["id", "state", "progress", "created_at"],
        }
    },
    "required": ["job"],
}
_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "As the answer to POST /frames/jobs named it.",
    "schema": {"type": "string"},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Sent again with the same key, a video is not queued again.",
    "schema": {"type": "string", "minLength": 16, "maxLength": 128},
}
_ABOUT_JOBS = ("job_not_found", "storage_unavailable")

SUBMIT = Endpoint(
    method="POST",
    path="/frames/jobs",
    handler=submit,
    hosted=FRAMES.hosted,
    summary="Label the frames of a long video, later",
    description=(
        "The body is as that of POST /frames. The answer names the job in `Location`. Jobs "
        "survive a restart of the service; who knows a job's id may see and end it."
    ),
    options=OPTIONS,
    parameters=(TIMEOUT_PARAMETER, _KEY),
    request_body=request_body(OPTIONS),
    answers={202: {"application/json": _JOB}},
    errors=(*BODY_ERRORS, *VIDEO_ERRORS, "video_too_long"),
)
LOOK = Endpoint(
    method="GET",
    path="/frames/jobs/{job_id}",
    handler=look,
    summary="How far a job is",
    parameters=(_ID,),
    answers={200: {"application/json": _JOB}},
    errors=_ABOUT_JOBS,
)
END = Endpoint(
    method="DELETE",
    path="/frames/jobs/{job_id}",
    handler=end,
    summary="Cancel a job, or forget one that has ended",
    description="202 with the cancelled job; 204 where it had ended and is forgotten now.",
    parameters=(_ID,),
    answers={202: {"application/json": _JOB}, 204: {}},
    errors=_ABOUT_JOBS,
)
RESULT = Endpoint(
    method="GET",
    path="/frames/jobs/{job_id}/result",
    handler=result,
    summary="A job's result",
    description=(
        "As POST /frames answers, in the same formats; of a failed job its error. While the job "
        "runs, NDJSON and server-sent events give the frames that are labelled already, and the "
        'error `job_not_finished` in place of the summary; with `after` only those that came '
        "since."
    ),
    produces=PRODUCES,
    options=(FORMAT, AFTER),
    parameters=(_ID,),
    answers={200: RESULTS},
    errors=(
        *_ABOUT_JOBS, "job_not_finished", "job_cancelled", "job_expired", "job_timeout",
        "job_interrupted", "model_not_available", "storage_full", *VIDEO_ERRORS, "video_too_long",
    ),
)  # fmt: skip
