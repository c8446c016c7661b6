"""``GET /models``: what is installed, under which licence, and where it fails."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.endpoint import Endpoint
from serving.responses import json_response
from serving.runtime import Runtime


async def models(request: Request, runtime: Runtime) -> Response:
    """Every task of the service with its bundle's card."""
    settings = runtime.settings
    limits = {
        "max_file_bytes": settings.max_file_bytes,
        "max_queue": settings.max_queue,
        "max_batch": settings.max_batch,
        "deadline_ms": round(1000 * settings.deadline_s),
    }
    entries = [model.describe() | {"limits": limits} for model in runtime.models.values()]
    return json_response({"models": entries})


_MODEL = {
    "type": "object",
    "properties": {
        "task": {"type": "string"},
        "state": {"enum": ["loading", "ready", "failing", "stuck", "missing", "failed"]},
        "name": {"type": "string"},
        "version": {"type": "string"},
        "limits": {"type": "object", "additionalProperties": {"type": "number"}},
        "card": {
            "type": "object",
            "description": "Licence, origin, limits and known failures of the bundle.",
        },
        "metrics": {"type": "object", "description": "What was measured, and how."},
        "problem": {"type": "string", "description": "Why the bundle is not used."},
    },
    "required": ["task", "state", "limits"],
}

MODELS = Endpoint(
    method="GET",
    path="/models",
    handler=models,
    summary="Installed models",
    answers={
        200: {
            "application/json": {
                "type": "object",
                "properties": {"models": {"type": "array", "items": _MODEL}},
                "required": ["models"],
            }
        }
    },
)
