"""``GET /``, the page or a few lines of JSON, and ``GET /page/…``, what the page is made of.

The page uses the public endpoints and nothing else. Its files are read once, at the start; what is
not among them is not there, so that no path is ever opened for a client.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from serving import VERSION
from serving.accept import prefers
from serving.endpoint import Endpoint
from serving.responses import RequestError, json_bytes, quoted
from serving.runtime import Runtime

FOLDER = Path(__file__).resolve().parent.parent / "page"
INDEX_FILE = "index.html"
KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # photos that a person has chosen are shown from blobs
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # text that would become markup throws instead
        "trusted-types 'none'",
    )
)
GUARDS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# Kept by the browser, but asked about each time: a new version of the service is seen at once.
CACHING = "no-cache"


@dataclass(frozen=True)
class PageFile:
    """One file of the page: its bytes, their type, and a name for exactly these bytes."""

    content: bytes
    media_type: str
    etag: str


def read_page(folder: Path = FOLDER) -> dict[str, PageFile]:
    """The page's files by name."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in KINDS:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[path.name] = PageFile(content, KINDS[path.suffix], etag)
    return files


PAGE: Mapping[str, PageFile] = read_page()


async def index(request: Request, runtime: Runtime) -> Response:
    """The page for a browser, JSON for everything else."""
    if prefers(request.headers.getlist("accept"), "text/html"):
        return _answer(request, PAGE[INDEX_FILE], {"vary": "Accept"})
    endpoints = [
        f"{method.upper()} {path}"
        for path, item in request.app.state.document["paths"].items()
        for method in item
    ]
    body = {"service": "captioner", "version": VERSION, "endpoints": endpoints}
    return Response(json_bytes(body), 200, {"vary": "Accept"}, media_type="application/json")


async def file(request: Request, runtime: Runtime) -> Response:
    """A style sheet, a module, a picture."""
    name = request.path_params["name"]
    found = PAGE.get(name)
    if found is None:
        raise RequestError("not_found", f"the page has no file {quoted(name)}.")
    return _answer(request, found, {})


def _answer(request: Request, found: PageFile, headers: dict[str, str]) -> Response:
    headers = GUARDS | {"cache-control": CACHING, "etag": found.etag} | headers
    if found.etag in re.split(r"\s*,\s*", request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(found.content, 200, headers, media_type=found.media_type)


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "A file that the page at / names.",
    "schema": {"type": "string", "enum": sorted(PAGE)},
}

INDEX = Endpoint(
    method="GET",
    path="/",
    handler=index,
    summary="The page in the browser",
    description="For a browser the page, which uses these endpoints; otherwise what there is.",
    produces=("application/json", "text/html"),
    answers={
        200: {
            "application/json": {"type": "object", "required": ["service", "version", "endpoints"]},
            "text/html": {"type": "string"},
        },
        304: {},
    },
)
FILE = Endpoint(
    method="GET",
    path="/page/{name}",
    handler=file,
    summary="What the page is made of",
    produces=tuple(sorted(KINDS.values())),
    parameters=(_NAME,),
    answers={
        200: {kind: {"type": "string"} for kind in sorted(KINDS.values())},
        304: {},
    },
    errors=("not_found",),
)
