"""The BentoML service: processes, life cycle, packaging. HTTP is the Starlette app it mounts.

``bentoml serve serving.service:Captioner`` starts it; ``python -m serving`` does so with a home
directory, time-outs and telemetry set as they should be.
"""

from __future__ import annotations

import os
from typing import Any, cast

# BentoML sends usage data unless this is exactly "true"; it looks once, when serving begins.
os.environ["BENTOML_DO_NOT_TRACK"] = "true"

import bentoml

from serving import log
from serving.app import create_app, edge_options
from serving.edge import Edge
from serving.orphan import end_with_parent
from serving.runtime import Runtime
from serving.settings import Settings

settings = Settings.from_environment()
log.configure(settings.log_level)
app = create_app(settings)


@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="captioner",
    workers=settings.workers,
    # Only a back-stop: the limits of our own are shorter. It keeps a timer for each request until
    # it fires, so it is not made longer than it has to be.
    traffic={"timeout": settings.longest_request_s},
    http={"host": settings.host, "port": settings.port},
    envs=[
        {"name": "BENTOML_DO_NOT_TRACK", "value": "true"},
        # One heap for all threads: under load it saves a tenth of the memory, and no time.
        {"name": "MALLOC_ARENA_MAX", "value": "1"},
        # Made kernels are kept for each shape, megabytes of them, were there no end to it.
        {"name": "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "value": "64"},
        # Idle threads sleep instead of spinning: where others want the cores too, and here decoding
        # always does, spinning halves the throughput.
        {"name": "OMP_WAIT_POLICY", "value": "PASSIVE"},
    ],
    # No spans, which nobody collects: each would be held by the timer above.
    tracing={"excluded_urls": ["."]},
    metrics={"enabled": False},  # its labels hold raw paths; ours are in serving/metrics.py
    logging={"access": {"enabled": False}},  # ours is in serving/edge.py
)
class Captioner:
    """Captions for photos over HTTP; see ``/docs.json``. BentoML makes one in each worker."""

    def __init__(self) -> None:
        end_with_parent()

    async def __is_ready__(self) -> bool:
        return await _runtime().is_ready()

    async def __is_alive__(self) -> bool:
        return _runtime().is_alive()


def _runtime() -> Runtime:
    runtime: Runtime = app.state.runtime
    return runtime


# The decorator has made a bentoml.Service of the class.
cast(Any, Captioner).add_asgi_middleware(Edge, **edge_options(app))
