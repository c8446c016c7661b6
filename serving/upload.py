"""A request's body, within limits: bytes counted and clocks watched while it arrives.

Everything stays in memory, and all bodies together within :class:`Budget`. Nothing is written to
disk, no name a client sends is used, and no URL or path is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from serving.edge import ClientGone
from serving.multipart import BodyLimits, MultipartForm, Upload, content_type
from serving.options import Pairs, pairs_of
from serving.responses import RequestError, quoted

T = TypeVar("T")
MULTIPART_EXTRA = 2**20  # boundaries, part headers and text fields on top of one file
RAW_TYPES = re.compile(r"image/[a-z0-9!#$&^_.+-]+|application/octet-stream|")
FORM = "application/x-www-form-urlencoded"
_URL = re.compile(rb"\s*[a-z][a-z0-9+.-]{1,20}://[!-~]{1,2000}\s*", re.IGNORECASE)


class Budget:
    """Bytes of bodies that one process holds at a time, over all its requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    @contextlib.contextmanager
    def reserve(self) -> Iterator[Callable[[int], None]]:
        """A function that takes so many bytes more; all are given back at the end of the block.

        It raises ``overloaded`` where the budget has too little left.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self.held + size > self.limit:
                raise RequestError("overloaded", "too many uploads at a time.", retry_after=2)
            self.held += size
            taken += size

        try:
            yield take
        finally:
            self.held -= taken


async def read_upload(
    request: Request,
    take: Callable[[int], None],
    limits: BodyLimits,
    *,
    file_field: str,
    text_fields: frozenset[str],
) -> Upload:
    """The file in a request's body, with the form's text fields.

    The body is the file itself (``image/*``, ``application/octet-stream`` or no type at all) or a
    ``multipart/form-data`` with one part ``file_field`` and any of ``text_fields``.

    Raises:
        RequestError: anything else, or more than the limits.
        ClientGone: the client left before the end.
    """
    media_type, parameters = content_type(request.headers.get("content-type", ""))
    form: MultipartForm | None = None
    limit = limits.max_file_bytes
    if media_type == "multipart/form-data":
        limit += MULTIPART_EXTRA
    _check_head(request, media_type, limit)
    if media_type == "multipart/form-data":
        form = MultipartForm(parameters.get("boundary", ""), file_field, text_fields, limits)

    body = bytearray()
    size = 0

    def consume(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        take(len(chunk))
        if form is None:
            body.extend(chunk)
        else:
            form.feed(chunk)

    await receive_body(request.receive, consume, limits)
    if size == 0:
        raise RequestError("empty_body", "the request has no body.", hint=_how(file_field))
    if media_type == FORM:
        _refuse_form(bytes(body), file_field)
    upload = form.finish() if form is not None else Upload(bytes(body), [])
    if len(upload.file) <= 2048 and _URL.fullmatch(upload.file):
        raise RequestError(
            "not_a_file", "the body is a URL, and URLs are not fetched.", hint=_how(file_field)
        )
    return upload


async def read_bytes(
    request: Request, take: Callable[[int], None], limits: BodyLimits, *, media_type: str
) -> bytes:
    """The body of an endpoint that takes one media type and no file, such as JSON."""
    limit = limits.max_field_bytes
    given, _ = content_type(request.headers.get("content-type", ""))
    _check_length(request, limit)
    _check_encoding(request)
    if given != media_type:
        raise _unsupported(given, media_type)
    body = bytearray()

    def consume(chunk: bytes) -> None:
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        take(len(chunk))
        body.extend(chunk)

    await receive_body(request.receive, consume, limits)
    if not body:
        raise RequestError("empty_body", "the request has no body.")
    return bytes(body)


async def receive_body(
    receive: Receive, consume: Callable[[bytes], None], limits: BodyLimits
) -> None:
    """Hand every chunk to ``consume``; ``request_timeout`` where they come too slowly."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.read_timeout_s
    while True:
        try:
            async with asyncio.timeout_at(min(end, loop.time() + limits.stall_timeout_s)):
                message = await receive()
        except TimeoutError:
            raise RequestError("request_timeout", "the body did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        if chunk := message.get("body", b""):
            consume(chunk)
        if not message.get("more_body", False):
            return


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled when the client leaves. The body must be read.

    Raises:
        ClientGone: the client left first.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        watcher.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _check_head(request: Request, media_type: str, limit: int) -> None:
    _check_length(request, limit)
    _check_encoding(request)
    if media_type in ("multipart/form-data", FORM) or RAW_TYPES.fullmatch(media_type):
        return
    raise _unsupported(media_type, "multipart/form-data, image/* or application/octet-stream")


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise RequestError("invalid_header", f"Content-Length is {quoted(length)}.")
    if int(length) > limit:
        raise _too_large(limit)


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise RequestError(
            "unsupported_content_encoding",
            f"the body is encoded as {quoted(encoding)}.",
            hint="Send it as it is.",
        )


def _unsupported(given: str, wanted: str) -> RequestError:
    named = quoted(given) if given else "missing"
    return RequestError(
        "unsupported_media_type", f"the Content-Type is {named}.", hint=f"Send {wanted}."
    )


def _too_large(limit: int) -> RequestError:
    return RequestError("payload_too_large", f"the body is larger than {limit} bytes.")


def _how(file_field: str) -> str:
    return (
        f"Send a file's bytes: curl -F {file_field}=@photo.jpg …, or --data-binary @photo.jpg "
        "with Content-Type: image/jpeg."
    )


def _refuse_form(body: bytes, file_field: str) -> None:
    """A URL-encoded form carries no file: say what was meant, and open nothing."""
    names: Pairs = []
    with contextlib.suppress(RequestError):
        names = pairs_of(body[:4096])
    if any(name == file_field for name, _ in names):
        raise RequestError(
            "not_a_file", f"{file_field!r} is text, not a file.", hint=_how(file_field)
        )
    raise RequestError("missing_field", f"there is no file {file_field!r}.", hint=_how(file_field))
