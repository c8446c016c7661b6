"""``/livez``, ``/readyz``, ``/healthz``: plain text for probes.

Under BentoML a GET is answered by BentoML, which asks the service class the same questions; these
endpoints describe it, and answer every other method.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.endpoint import Endpoint
from serving.runtime import Runtime


async def live(request: Request, runtime: Runtime) -> Response:
    """Whether the process should be left running."""
    return _answer(runtime.is_alive())


async def ready(request: Request, runtime: Runtime) -> Response:
    """Whether requests should be sent here."""
    return _answer(await runtime.is_ready())


def _answer(good: bool) -> Response:
    return PlainTextResponse("\n" if good else "no\n", 200 if good else 503)


_TEXT: dict[str, Any] = {"text/plain": {"type": "string"}}
_ANSWERS = {200: _TEXT, 503: _TEXT}

LIVEZ = Endpoint(
    method="GET", path="/livez", handler=live, summary="Is the process alive?",
    description="503: a model has been stuck for too long, and a restart is due.",
    produces=("text/plain",), answers=_ANSWERS,
)  # fmt: skip
READYZ = Endpoint(
    method="GET", path="/readyz", handler=ready, summary="Can it take requests?",
    description=(
        "200 only after every model that could be loaded has captioned a warm-up photo; before "
        "that connections are not answered. GET /models says which bundles could not be used."
    ),
    produces=("text/plain",), answers=_ANSWERS,
)  # fmt: skip
HEALTHZ = Endpoint(
    method="GET", path="/healthz", handler=live, summary="The same as /livez",
    produces=("text/plain",), answers=_ANSWERS,
)  # fmt: skip
