"""Every error that a client can meet, and the JSON bodies of all answers.

An error's body is ``{"error": {"code", "message", "request_id"}}``. The code is stable and chooses
the status in ``ERRORS``; the library's errors (:mod:`captioner.errors`) are mapped by the same
table. Nothing of a stack trace or of a path on this machine is ever in a body.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from starlette.responses import Response

from captioner.errors import UserError


class Kind(NamedTuple):
    """What one error code means to a client."""

    status: int
    meaning: str


ERRORS: dict[str, Kind] = {
    "host_not_allowed": Kind(400, "The Host header names none of this service's own names."),
    "invalid_header": Kind(400, "A request header has a value that cannot be used."),
    "invalid_query": Kind(400, "The query string is not valid percent-encoded UTF-8."),
    "unknown_field": Kind(400, "An option, query parameter or form field that does not exist."),
    "unknown_option": Kind(400, "An option that does not exist."),
    "duplicate_field": Kind(400, "An option or field was sent more than once."),
    "missing_field": Kind(400, "A required field is missing."),
    "empty_body": Kind(400, "The request has no body."),
    "empty_file": Kind(400, "The file has 0 bytes."),
    "not_a_file": Kind(400, "Text, a path or a URL where a file's bytes belong; none is opened."),
    "too_many_files": Kind(400, "More than one file in a field that takes one."),
    "too_many_parts": Kind(400, "More parts or options than the limit."),
    "invalid_multipart": Kind(400, "The multipart body is malformed, cut or not closed."),
    "late_field": Kind(400, "A form's option stands behind the file whose labels are streamed."),
    "invalid_json": Kind(400, "The body is not valid JSON in UTF-8."),
    "not_found": Kind(404, "No endpoint at this path."),
    "model_not_available": Kind(404, "No usable bundle for this endpoint's task is installed."),
    "job_not_found": Kind(404, "No job has this id, or it is long forgotten."),
    "method_not_allowed": Kind(405, "The endpoint does not take this method; see Allow."),
    "not_acceptable": Kind(406, "The Accept header excludes every type this endpoint produces."),
    "request_timeout": Kind(408, "The body did not arrive in time."),
    "job_not_finished": Kind(409, "The job waits or runs; there is no result yet."),
    "job_cancelled": Kind(410, "The job was cancelled and has no result."),
    "job_expired": Kind(410, "The job's result is not kept any more."),
    "use_jobs": Kind(413, "The video is longer than this endpoint labels; /frames/jobs takes it."),
    "payload_too_large": Kind(413, "The body, or one field of it, is larger than the limit."),
    "unsupported_media_type": Kind(415, "The endpoint does not take this Content-Type."),
    "unsupported_content_encoding": Kind(415, "Compressed bodies are not taken."),
    "unsupported_image_format": Kind(415, "The bytes are no image format that is read."),
    "invalid_image": Kind(422, "The image is damaged or truncated."),
    "image_too_large": Kind(422, "The image has more pixels than the limit."),
    "unsupported_video_format": Kind(415, "The bytes are no video container that is read."),
    "invalid_video": Kind(422, "The video is damaged, or no picture comes out of it."),
    "no_video_stream": Kind(422, "The file holds no video stream."),
    "video_too_large": Kind(413, "The video has more bytes, pixels or frames than the limit."),
    "video_too_long": Kind(413, "The video lasts longer than the limit."),
    "video_timeout": Kind(422, "Reading the video takes longer than the limit."),
    "job_timeout": Kind(422, "Labelling the video took longer than a job may."),
    "image_too_small": Kind(422, "A side of the image is shorter than the limit."),
    "invalid_text": Kind(422, "The text cannot be read as it is."),
    "empty_text": Kind(422, "The text is empty, or nothing but white space."),
    "text_too_long": Kind(413, "More characters, or more texts, than the limit."),
    "unknown_characters": Kind(422, "The text has characters that the model has never seen."),
    "unsupported_language_pair": Kind(422, "No model, or not only one, translates between these."),
    "unknown_model": Kind(422, "Of the models for this task none has the name."),
    "invalid_option": Kind(422, "An option's value is out of range or contradicts another."),
    "invalid_input": Kind(422, "The input cannot be used."),
    "overloaded": Kind(429, "Too much is waiting already; try again after Retry-After."),
    "job_interrupted": Kind(500, "The process that ran the job ended each time it was tried."),
    "internal": Kind(500, "A fault of the service; its log has the request id."),
    "not_ready": Kind(503, "The model is still being loaded; try again after Retry-After."),
    "shutting_down": Kind(503, "The service is ending; try again after Retry-After."),
    "deadline_exceeded": Kind(503, "No answer within the deadline; try again after Retry-After."),
    "storage_full": Kind(503, "No room on disk for the video; try again after Retry-After."),
    "storage_unavailable": Kind(503, "Videos cannot be stored; try again after Retry-After."),
}
RETRIED = (
    "overloaded", "not_ready", "shutting_down", "deadline_exceeded", "storage_full",
    "storage_unavailable",
)  # fmt: skip
"""Errors that another attempt may not meet: their answers carry Retry-After."""

MAX_QUOTED = 80


class RequestError(UserError):
    """A request that is refused with ``code``, a key of ``ERRORS``.

    ``retry_after`` is in seconds; ``headers`` go into the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.headers = dict(headers or {})
        if code in RETRIED:
            self.headers["retry-after"] = str(min(60, max(1, math.ceil(retry_after or 1))))


class JobFailure(RequestError):
    """How a job has failed, told again: a key of ``ERRORS`` and a message."""


def quoted(text: str) -> str:
    """What a client sent, fit for a message: printable ASCII, in quotes, not long."""
    short = text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…"
    return ascii(short).replace("\\u2026", "...")


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8. Raises ValueError for NaN and infinity: neither is JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(json_bytes(value), status, headers, media_type="application/json")


def error_code(error: Exception) -> str:
    """The code that a client is told. What is no :class:`UserError`, or one whose code is not in
    ``ERRORS`` (a damaged bundle is the operator's, not the client's), is ``internal``.
    """
    return error.code if isinstance(error, UserError) and error.code in ERRORS else "internal"


def error_response(error: Exception, request_id: str) -> Response:
    """The answer for an exception; ``internal`` is not explained to the client."""
    code = error_code(error)
    headers = error.headers if isinstance(error, RequestError) else None
    return json_response(error_body(error, request_id), ERRORS[code].status, headers)


def error_body(error: Exception, request_id: str) -> dict[str, Any]:
    """The body of that answer, which is also the last record of a stream that failed."""
    code = error_code(error)
    message = str(error) if code != "internal" else "The service failed to answer this request."
    return {"error": {"code": code, "message": message, "request_id": request_id}}
