"""``GET /models``: what is installed, under which licence, and where it fails."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.endpoint import Endpoint
from serving.responses import json_response
from serving.runtime import Runtime
from serving.settings import Settings


async def models(request: Request, runtime: Runtime) -> Response:
    """Every task of the service with the cards of its bundles; of translators their pairs."""
    entries = [
        entry | {"limits": _limits(task, runtime.settings)}
        for task, model in runtime.models.items()
        for entry in model.describe()
    ]
    return json_response({"models": entries})


def _limits(task: str, settings: Settings) -> dict[str, float]:
    if task == "frames":
        return {
            "max_file_bytes": settings.frames_max_bytes,
            "max_s": settings.frames_max_s,
            "max_frames": settings.frames_max_frames,
            "max_queue": settings.frames_queue,
            "max_streams": settings.frames_streams,
            "deadline_ms": round(1000 * settings.frames_deadline_s),
        }
    if task == "generate":
        return {
            "max_characters": settings.max_text_characters,
            "max_queue": settings.generate_queue,
            "max_streams": settings.generate_streams,
            "deadline_ms": round(1000 * settings.generate_deadline_s),
        }
    size: dict[str, float] = {"max_file_bytes": settings.max_file_bytes}
    if task == "translate":
        size = {"max_texts": settings.max_texts, "max_characters": settings.max_text_characters}
    return size | {
        "max_queue": settings.max_queue,
        "max_batch": settings.max_batch,
        "deadline_ms": round(1000 * settings.deadline_s),
    }


_MODEL = {
    "type": "object",
    "properties": {
        "task": {"type": "string"},
        "state": {"enum": ["loading", "ready", "failing", "stuck", "missing", "failed"]},
        "name": {"type": "string"},
        "version": {"type": "string"},
        "source": {"type": "string", "description": "Of a translator: from which language."},
        "target": {"type": "string", "description": "Of a translator: to which language."},
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
