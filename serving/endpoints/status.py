"""``GET /status`` for people and scripts, ``GET /metrics`` for Prometheus."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from serving import VERSION
from serving.endpoint import Endpoint
from serving.metrics import CONTENT_TYPE
from serving.responses import json_response
from serving.runtime import Runtime


async def status(request: Request, runtime: Runtime) -> Response:
    """What this process is doing."""
    models = [
        {
            "task": task,
            "state": model.state,
            "waiting": model.waiting,
            "load_s": round(model.load_s, 3),
        }
        for task, model in runtime.models.items()
    ]
    return json_response(
        {
            "state": runtime.state,
            "version": VERSION,
            "uptime_s": round(time.time() - runtime.started_at, 3),
            "buffered_bytes": runtime.budget.held,
            "videos_arriving": runtime.uploads,
            "jobs": await runtime.jobs.counts(),
            "models": models,
        }
    )


async def metrics(request: Request, runtime: Runtime) -> Response:
    """Counters of all processes together."""
    runtime.metrics.jobs(await runtime.jobs.counts())
    return Response(runtime.metrics.exposition(), media_type=CONTENT_TYPE)


_STATUS = {
    "type": "object",
    "properties": {
        "state": {"enum": ["starting", "ready", "degraded", "ending"]},
        "version": {"type": "string"},
        "uptime_s": {"type": "number"},
        "buffered_bytes": {"type": "integer", "minimum": 0},
        "videos_arriving": {"type": "integer", "minimum": 0},
        "jobs": {
            "type": "object",
            "description": "How many there are of each state, for all processes together.",
            "additionalProperties": {"type": "integer", "minimum": 0},
        },
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "task": {"type": "string"},
                    "state": {"type": "string"},
                    "waiting": {"type": "integer", "minimum": 0},
                    "load_s": {"type": "number"},
                },
                "required": ["task", "state", "waiting"],
            },
        },
    },
    "required": ["state", "version", "uptime_s", "models"],
}

STATUS = Endpoint(
    method="GET",
    path="/status",
    handler=status,
    summary="State of the service",
    answers={200: {"application/json": _STATUS}},
)
METRICS = Endpoint(
    method="GET",
    path="/metrics",
    handler=metrics,
    summary="Prometheus metrics",
    description="Labels are bounded: routes by template, known methods, statuses, tasks.",
    produces=("text/plain",),
    answers={200: {"text/plain": {"type": "string"}}},
)
