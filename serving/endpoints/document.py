"""``GET /docs.json``, the OpenAPI document."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.endpoint import Endpoint
from serving.responses import json_response
from serving.runtime import Runtime


async def document(request: Request, runtime: Runtime) -> Response:
    """The document of exactly the endpoints that this application has."""
    return json_response(request.app.state.document)


DOCUMENT = Endpoint(
    method="GET",
    path="/docs.json",
    handler=document,
    summary="This document",
    answers={200: {"application/json": {"type": "object", "required": ["openapi", "paths"]}}},
)
