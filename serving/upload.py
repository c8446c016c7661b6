"""A request's body, within limits: bytes counted and clocks watched while it arrives.

A photo stays in memory, and all bodies together within :class:`Budget`; a video goes to a
:class:`serving.spool.Spool`. No name a client sends is used, and no URL or path is followed.
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
from serving.multipart import BodyLimits, FileField, MultipartForm, content_type
from serving.options import Pairs, pairs_of
from serving.responses import RequestError, quoted

T = TypeVar("T")
MULTIPART_EXTRA = 2**20  # boundaries, part headers and text fields on top of one file
RAW_TYPES = ("application/octet-stream", "")
MEDIA_SUBTYPE = r"/[a-z0-9!#$&^_.+-]+"
ALSO = {"video": ("image/gif", "application/mp4")}
FORM = "application/x-www-form-urlencoded"
MAX_URL = 4096
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


class FileBody:
    """A request's body that is one file, or a form with one file and text fields.

    The file is the body itself (its media type, ``application/octet-stream`` or no type at all) or
    the one file of a ``multipart/form-data``. Its bytes go to ``write`` as they come.

    Raises RequestError for a head that is refused.
    """

    def __init__(
        self,
        request: Request,
        take: Callable[[int], None],
        limits: BodyLimits,
        file: FileField,
        write: Callable[[bytes], object],
    ) -> None:
        self.size = 0
        self._receive = request.receive
        self._take = take
        self._limits = limits
        self._file = file
        self._write = write
        self._begun = b""  # enough of a small body to say what else it is
        self._media_type, parameters = content_type(request.headers.get("content-type", ""))
        multipart = self._media_type == "multipart/form-data"
        self._limit = limits.max_file_bytes + (MULTIPART_EXTRA if multipart else 0)
        _check_length(request, self._limit, hint=file.larger)
        _check_encoding(request)
        if not (
            multipart or self._media_type in (FORM, *RAW_TYPES, *ALSO.get(file.media, ()))
        ) and (not re.fullmatch(file.media + MEDIA_SUBTYPE, self._media_type)):
            wanted = f"multipart/form-data, {file.media}/* or application/octet-stream"
            raise _unsupported(self._media_type, wanted)
        self._form: MultipartForm | None = None
        if multipart:
            boundary = parameters.get("boundary", "")
            self._form = MultipartForm(boundary, file, limits, self._keep)

    @property
    def options(self) -> Pairs | None:
        """Text fields that stood before the file; None until it begins."""
        return self._form.before_file if self._form is not None else []

    async def read(self) -> Pairs:
        """Take the body to its end; gives its text fields in their order.

        Raises:
            RequestError: anything that is no such body, or more than the limits.
            ClientGone: the client left before the end.
        """
        await receive_body(self._receive, self._consume, self._limits)
        if self.size == 0:
            raise RequestError("empty_body", "the request has no body.", hint=_how(self._file))
        if self._media_type == FORM:
            _refuse_form(self._begun, self._file)
        fields = self._form.finish() if self._form is not None else []
        if len(self._begun) <= MAX_URL and _URL.fullmatch(self._begun):
            raise RequestError(
                "not_a_file",
                "the body is a URL, and URLs are not fetched.",
                hint=_how(self._file),
            )
        return fields

    def _consume(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise _too_large(self._limit, self._file.larger)
        self._take(len(chunk))
        if self._form is not None:
            self._form.feed(chunk)
        else:
            self._keep(chunk)

    def _keep(self, data: bytes) -> None:
        if len(self._begun) <= MAX_URL:
            self._begun += data[: MAX_URL + 1]
        self._write(data)


async def read_upload(
    request: Request, take: Callable[[int], None], limits: BodyLimits, file: FileField
) -> tuple[bytes, Pairs]:
    """The file in a request's body, whole and in memory, and the form's text fields.

    Raises as :class:`FileBody`.
    """
    data = bytearray()
    fields = await FileBody(request, take, limits, file, data.extend).read()
    return bytes(data), fields


async def read_bytes(
    request: Request,
    take: Callable[[int], None],
    limits: BodyLimits,
    *,
    media_type: str,
    max_bytes: int | None = None,
) -> bytes:
    """The body of an endpoint that takes one media type and no file, such as JSON."""
    limit = limits.max_field_bytes if max_bytes is None else max_bytes
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


def _check_length(request: Request, limit: int, *, hint: str = "") -> None:
    length = request.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise RequestError("invalid_header", f"Content-Length is {quoted(length)}.")
    if int(length) > limit:
        raise _too_large(limit, hint)


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


def _too_large(limit: int, hint: str = "") -> RequestError:
    return RequestError("payload_too_large", f"the body is larger than {limit} bytes.", hint=hint)


def _how(file: FileField) -> str:
    return (
        f"Send a file's bytes: curl -F {file.name}=@{file.example} …, or --data-binary "
        f"@{file.example} with Content-Type: {file.media_type}."
    )


def _refuse_form(begun: bytes, file: FileField) -> None:
    """A URL-encoded form carries no file: say what was meant, and open nothing."""
    names: Pairs = []
    with contextlib.suppress(RequestError):
        names = pairs_of(begun)
    if any(name == file.name for name, _ in names):
        raise RequestError("not_a_file", f"{file.name!r} is text, not a file.", hint=_how(file))
    raise RequestError("missing_field", f"there is no file {file.name!r}.", hint=_how(file))
