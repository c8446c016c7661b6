"""The endpoint table as a Starlette application; ``create_app`` puts everything together.

Every path answers every method and every fault in the same JSON form; nothing is redirected.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.accept import is_acceptable
from serving.edge import ClientGone, Edge, RequestInfo
from serving.endpoint import Endpoint
from serving.endpoints import ENDPOINTS
from serving.hosting import Load
from serving.openapi import build_document
from serving.options import pairs_of, read_options
from serving.responses import RequestError, error_code, error_response, quoted
from serving.runtime import Runtime
from serving.settings import Settings

log = logging.getLogger("serving.app")


def load_task(task: str, model: str | tuple[str, ...] | None) -> Any:
    """``captioner.load``, imported when it is needed: the supervisor process needs no torch."""
    import captioner

    return captioner.load(task, model=model)


def create_app(
    settings: Settings, *, load: Load = load_task, endpoints: Sequence[Endpoint] = ENDPOINTS
) -> Starlette:
    """The application; its lifespan loads the models. Serve it behind :func:`guarded`."""
    hosted = {e.hosted.task: e.hosted for e in endpoints if e.hosted is not None}
    runtime = Runtime(settings, list(hosted.values()), load)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.close()

    by_path: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        by_path[endpoint.path].append(endpoint)
    routes = [Route(path, _Path(path, those, runtime)) for path, those in by_path.items()]
    middleware = [_cors(settings, endpoints)] if settings.cors_origins else []
    app = Starlette(
        routes=[*routes, Route("/{path:path}", _Nowhere())],
        middleware=middleware,
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.document = build_document(endpoints, settings)
    return app


def guarded(app: Starlette) -> Edge:
    """The application behind its edge, as one ASGI application without BentoML."""
    return Edge(app, **edge_options(app))


def edge_options(app: Starlette) -> dict[str, Any]:
    """What the edge in front of ``app`` has to know."""
    runtime: Runtime = app.state.runtime
    return {"own_hosts": runtime.settings.own_hosts, "metrics": runtime.metrics}


class _Path:
    """All endpoints at one path."""

    def __init__(self, path: str, endpoints: Sequence[Endpoint], runtime: Runtime) -> None:
        self._path = path
        self._runtime = runtime
        self._by_method = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", self._by_method["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        info: RequestInfo = scope["captioner"]
        info.route = self._path
        try:
            response = await self._answer(Request(scope, receive))
        except ClientGone:
            info.client_gone, info.error = True, "client_gone"
            response = Response(status_code=400)  # nobody reads it; whoever waits for one is freed
        except Exception as error:
            info.error = error_code(error)
            if info.error == "internal":
                log.exception("request failed", extra={"fields": {"request_id": info.request_id}})
            response = error_response(error, info.request_id)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        endpoint = self._by_method.get(request.method)
        if endpoint is None:
            raise RequestError(
                "method_not_allowed",
                f"{quoted(request.method)} is not possible here.",
                headers={"allow": ", ".join(sorted(self._by_method))},
            )
        if not is_acceptable(request.headers.getlist("accept"), endpoint.produces):
            raise RequestError(
                "not_acceptable", f"this endpoint produces {' or '.join(endpoint.produces)}."
            )
        query = pairs_of(request.scope["query_string"], max_pairs=self._runtime.settings.max_parts)
        read_options(query, endpoint.options)  # refused before a body is read
        if endpoint.hosted is not None:
            model = self._runtime.models.get(endpoint.hosted.task)
            if model is None:
                raise RequestError("not_ready", "the service is starting.", retry_after=5)
            model.check_usable()
        return await endpoint.handler(request, self._runtime)


class _Nowhere:
    """Every path that is no endpoint."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        info: RequestInfo = scope["captioner"]
        info.error = "not_found"
        path = scope["path"]
        error = RequestError(
            "not_found", f"there is no endpoint {quoted(path)}.", hint="GET /docs.json lists them."
        )
        await error_response(error, info.request_id)(scope, receive, send)


def _cors(settings: Settings, endpoints: Sequence[Endpoint]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=sorted({endpoint.method for endpoint in endpoints}),
        allow_headers=["Content-Type", "Idempotency-Key", "X-Request-ID", "X-Timeout-Ms"],
        expose_headers=["Location", "Retry-After", "X-Request-ID"],
    )
