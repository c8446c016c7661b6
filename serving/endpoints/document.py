"""``GET /docs.json``, the OpenAPI document, and ``GET /``, a few lines that lead to it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving import VERSION
from serving.accept import prefers
from serving.endpoint import Endpoint
from serving.responses import json_response
from serving.runtime import Runtime


async def document(request: Request, runtime: Runtime) -> Response:
    """The document of exactly the endpoints that this application has."""
    return json_response(request.app.state.document)


async def index(request: Request, runtime: Runtime) -> Response:
    """Where to go from here: a page for a browser, JSON for everything else."""
    operations = [
        (method.upper(), path, operation["summary"])
        for path, item in request.app.state.document["paths"].items()
        for method, operation in item.items()
    ]
    if prefers(request.headers.getlist("accept"), "text/html"):
        rows = "".join(
            f"<tr><td>{method}<td><code>{path}</code><td>{summary}"
            for method, path, summary in operations
        )
        page = HTMLResponse(f"{_HEAD}<h1>captioner {VERSION}</h1><table>{rows}</table>{_EXAMPLE}")
        page.headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'none'"
        return page
    endpoints = [f"{method} {path}" for method, path, _ in operations]
    return json_response({"service": "captioner", "version": VERSION, "endpoints": endpoints})


_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>captioner</title>'
_EXAMPLE = "<p><code>curl -F image=@photo.jpg localhost:3000/caption</code>"

DOCUMENT = Endpoint(
    method="GET",
    path="/docs.json",
    handler=document,
    summary="This document",
    answers={200: {"application/json": {"type": "object", "required": ["openapi", "paths"]}}},
)
INDEX = Endpoint(
    method="GET",
    path="/",
    handler=index,
    summary="Index",
    produces=("application/json", "text/html"),
    answers={
        200: {
            "application/json": {"type": "object", "required": ["service", "version", "endpoints"]},
            "text/html": {"type": "string"},
        }
    },
)
