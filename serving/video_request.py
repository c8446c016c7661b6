"""What the endpoints for videos have in common: their options, their body, their limits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import IO, Any

from starlette.requests import Request

from serving.arrival import Arrival
from serving.multipart import FileField
from serving.options import Option
from serving.responses import RequestError
from serving.runtime import Runtime
from serving.settings import Settings
from serving.spool import Spool

FIELD = "video"
# The ranges of captioner.tasks.frame_options; see serving/endpoints/caption.py.
OPTIONS = (
    Option("every_s", "number", "Seconds between labelled frames; 0 labels every frame.", 0, 3600),
    Option("fps", "number", "The same as labelled frames a second; give one.", 0.001, 1000),
    Option("key_frames", "boolean", "Only frames that are stored in full.", default=False),
    Option("top_k", "integer", "Labels a frame at most, likeliest first.", 1, 1000),
    Option("min_score", "number", "Leaves out what is less likely.", 0, 1),
    Option("captions", "boolean", "Adds a caption to each segment.", default=False),
)
_FILE = {"type": "string", "format": "binary"}
KINDS = ("video/*", "image/gif", "application/mp4", "application/octet-stream")


def file_field(options: tuple[Option, ...], *, larger: str = "") -> FileField:
    """The field ``video``, and these beside it; ``larger``: what to do with a larger file."""
    names = frozenset(option.name for option in options)
    return FileField(FIELD, "clip.mp4", "video/mp4", names, larger)


def request_body(options: tuple[Option, ...]) -> dict[str, Any]:
    """OpenAPI's description of such a body."""
    form = {
        "schema": {
            "type": "object",
            "properties": {FIELD: _FILE} | {option.name: option.schema() for option in options},
            "required": [FIELD],
            "additionalProperties": False,
        },
        "encoding": {FIELD: {"contentType": ", ".join(KINDS)}},
    }
    raw = {kind: {"schema": _FILE} for kind in KINDS}
    return {"required": True, "content": {"multipart/form-data": form} | raw}


@contextlib.asynccontextmanager
async def arriving(
    request: Request, runtime: Runtime, file: IO[bytes], field: FileField, *, max_bytes: int
) -> AsyncIterator[Arrival]:
    """The request's video on its way into ``file``, which is closed at the end.

    Raises:
        RequestError: overloaded, where too many arrive, or what Arrival raises.
    """
    settings = runtime.settings
    limits = replace(
        runtime.limits, max_file_bytes=max_bytes, read_timeout_s=settings.video_read_timeout_s
    )
    spool = Spool(file)
    try:
        if runtime.uploads >= settings.max_uploads:
            raise RequestError("overloaded", "too many uploads at a time.", retry_after=10)
        with runtime.video_budget.reserve() as take:
            arrival = Arrival(request, spool, field, limits, take)
            runtime.uploads += 1
            try:
                yield arrival
            finally:
                runtime.uploads -= 1
                await arrival.close()
    finally:
        spool.close()


def frames_limits(settings: Settings) -> Any:
    """How much video is labelled while a client waits; a :class:`VideoLimits`."""
    from captioner.vision.video import VideoLimits

    return VideoLimits(
        max_bytes=settings.frames_max_bytes,
        max_duration_s=settings.frames_max_s,
        max_samples=settings.frames_max_frames,
        max_seconds=settings.video_read_timeout_s + settings.max_deadline_s,
    )


def job_limits(settings: Settings) -> Any:
    """How much video a job may be; a :class:`VideoLimits`."""
    from captioner.vision.video import VideoLimits

    return VideoLimits(
        max_bytes=settings.jobs_max_bytes,
        max_duration_s=settings.jobs_max_s,
        max_samples=settings.jobs_max_frames,
        max_seconds=settings.jobs_time_s,
    )


def unusable(runtime: Runtime, options: dict[str, Any]) -> None:
    """Raise the answer where captions are asked for and there is no captioner."""
    if options.get("captions"):
        captioner = runtime.models.get("caption")
        if captioner is None:
            raise RequestError("model_not_available", "this service has no captioner.")
        captioner.check_usable()
