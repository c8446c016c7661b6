"""The OpenAPI 3.1 document, built from the endpoint table and the error table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from serving import VERSION
from serving.endpoint import Endpoint
from serving.options import Option
from serving.responses import ERRORS, RETRIED
from serving.settings import Settings

DESCRIPTION = """\
Captions for photos, labels for videos, translations, texts that go on from a prompt. Every answer
carries `X-Request-ID`, taken from the request where it is 1 to 64 letters, digits, `.`, `_` or `-`.
Every error is a JSON object `{"error": {"code", "message", "request_id"}}`; its code is stable, its
message is for people. 429 and 503 carry `Retry-After`. Requests must name one of the service's own
hosts. What HTTP itself forbids (a malformed request line, header or Content-Length) is refused with
a plain-text 400 by the server underneath. Unknown paths are 404 `not_found`, and nothing is
redirected.
"""

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "enum": list(ERRORS)},
                "message": {"type": "string"},
                "request_id": {"type": "string"},
            },
            "required": ["code", "message", "request_id"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_REQUEST_ID = {"description": "Names this request in the log.", "schema": {"type": "string"}}
_RETRY_AFTER = {
    "description": "Seconds to wait before another attempt.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 60},
}
_LOCATION = {"description": "Where the job is.", "schema": {"type": "string"}}
_ALLOW = {"description": "The methods that are possible.", "schema": {"type": "string"}}


def build_document(endpoints: Sequence[Endpoint], settings: Settings) -> dict[str, Any]:
    """The document of these endpoints under these settings."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for endpoint in endpoints:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "captioner",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "x-limits": {
                "max_file_bytes": settings.max_file_bytes,
                "max_field_bytes": settings.max_field_bytes,
                "max_parts": settings.max_parts,
                "max_queue": settings.max_queue,
                "read_timeout_s": settings.read_timeout_s,
                "deadline_s": settings.deadline_s,
                "frames_max_bytes": settings.frames_max_bytes,
                "frames_max_s": settings.frames_max_s,
                "frames_max_frames": settings.frames_max_frames,
                "jobs_max_bytes": settings.jobs_max_bytes,
                "jobs_max_s": settings.jobs_max_s,
                "jobs_max_frames": settings.jobs_max_frames,
                "jobs_queue": settings.jobs_queue,
                "jobs_keep_s": settings.jobs_keep_s,
                "max_json_bytes": settings.max_json_bytes,
                "max_texts": settings.max_texts,
                "max_text_characters": settings.max_text_characters,
                "generate_deadline_s": settings.generate_deadline_s,
            },
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {"schemas": {"Error": _ERROR}, "headers": {"X-Request-ID": _REQUEST_ID}},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}_{_name_of(endpoint.path)}",
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": [*map(_query_parameter, endpoint.options), *endpoint.parameters],
        "requestBody": endpoint.request_body,
        "responses": _responses(endpoint),
    }
    return {key: value for key, value in operation.items() if value}


def _name_of(path: str) -> str:
    return re.sub(r"[^a-z.]+", "_", path).strip("_") or "index"


def _query_parameter(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "in": "query",
        "description": option.description,
        "schema": option.schema(),
    }


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in endpoint.all_errors:
        by_status[ERRORS[code].status].append(code)
    responses: dict[str, Any] = {}
    for status in sorted({*endpoint.answers, *by_status}):
        codes = by_status.get(status, [])
        content = {
            media_type: {"schema": schema}
            for media_type, schema in endpoint.answers.get(status, {}).items()
        }
        if codes:
            content["application/json"] = {"schema": {"$ref": "#/components/schemas/Error"}}
        meanings = "\n".join(f"- `{code}`: {ERRORS[code].meaning}" for code in codes)
        headers: dict[str, Any] = {
            "X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"},
        }
        if set(codes) & set(RETRIED):
            headers["Retry-After"] = _RETRY_AFTER
        if "method_not_allowed" in codes:
            headers["Allow"] = _ALLOW
        if status in (201, 202) and "{" not in endpoint.path:
            headers["Location"] = _LOCATION
        responses[str(status)] = {
            "description": meanings or "As asked for.",
            "headers": headers,
            **({"content": content} if content else {}),
        }
    return responses
