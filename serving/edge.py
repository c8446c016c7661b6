"""What holds for every request, whoever answers it: BentoML's health checks included.

The edge refuses foreign Host names, gives each request an id, closes what was not read to its end
without resetting the connection, counts, and logs. Nothing that it lets in may end without an
answer: BentoML's time-out would wait for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import hosts
from serving.log import MAX_PATH
from serving.metrics import UNMATCHED, Metrics
from serving.responses import RequestError, error_code, error_response, quoted

HEALTH = ("/livez", "/readyz", "/healthz")
QUIET = (*HEALTH, "/metrics")
BENTOML_OWN = ("/schema.json",)  # BentoML's list of mounts, which describes nothing of ours
_SOON_S = 0.1  # a body that is nearly here is read to its end, and the connection stays usable
LINGER_S = 5.0  # for a client that is still sending to see the answer
CLIENT_GONE = 499
CUT_SHORT = 504  # cancelled from outside before an answer: BentoML's time-out, or the end

log = logging.getLogger("serving.request")


class ClientGone(Exception):
    """The client closed its connection: nobody waits for an answer."""


@dataclass
class RequestInfo:
    """What is known about one request; lies in ``scope["captioner"]``."""

    request_id: str
    route: str = UNMATCHED
    status: int = 0
    error: str = ""
    client_gone: bool = False
    bytes_in: int = 0
    body_complete: bool = False
    body_begun: bool = False
    answer_begun: bool = False
    answers_early: bool = False  # the endpoint goes on reading while it answers
    timing_ms: dict[str, float] = field(default_factory=dict)


class Edge:
    """The outermost ASGI layer of ours."""

    def __init__(self, app: ASGIApp, *, own_hosts: tuple[str, ...], metrics: Metrics) -> None:
        self.app = app
        self.own_hosts = own_hosts
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        info = RequestInfo(_request_id(headers), body_complete=not _has_body(headers))
        scope["captioner"] = info
        guard = _Guard(info, headers, receive, send)
        started = time.perf_counter()
        self.metrics.in_flight.inc()
        try:
            await self._answer(scope, guard, headers, info)
        finally:
            self.metrics.in_flight.dec()
            seconds = time.perf_counter() - started
            status = CLIENT_GONE if info.client_gone else info.status or CUT_SHORT
            self.metrics.request(info.route, scope["method"], status, info.error, seconds)
            _log_request(scope, info, status, seconds)

    async def _answer(
        self, scope: Scope, guard: _Guard, headers: Headers, info: RequestInfo
    ) -> None:
        path = scope["path"]
        try:
            if not hosts.is_allowed(headers.getlist("host"), self.own_hosts):
                raise RequestError(
                    "host_not_allowed",
                    f"this service has no name {quoted(', '.join(headers.getlist('host')))}.",
                    hint="CAPTIONER_ALLOWED_HOSTS adds names.",
                )
            if not path.startswith("/") or re.search(r"[\x00-\x1f]", path) or path in BENTOML_OWN:
                raise RequestError("not_found", f"there is no endpoint {quoted(path)}.")
            if path in HEALTH:
                info.route = path
            await self.app(scope, guard.receive, guard.send)
        except Exception as error:
            info.error = error_code(error)
            if info.error == "internal":
                fields = {"request_id": info.request_id}
                log.exception("request failed", extra={"fields": fields})
            if info.answer_begun:
                raise  # the server cuts the connection: a client sees that the answer is not whole
            await error_response(error, info.request_id)(scope, guard.receive, guard.send)


class _Guard:
    """``receive`` and ``send`` of one request, watched."""

    def __init__(self, info: RequestInfo, headers: Headers, receive: Receive, send: Send) -> None:
        self._info = info
        self._receive = receive
        self._send = send
        self._waits_to_send = headers.get("expect", "").lower() == "100-continue"
        self._lingers = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._info.body_begun = True
            self._info.bytes_in += len(message.get("body", b""))
            self._info.body_complete |= not message.get("more_body", False)
        elif message["type"] == "http.disconnect" and not self._info.answer_begun:
            self._info.client_gone = True
        return message

    async def send(self, message: Message) -> None:
        info = self._info
        if message["type"] == "http.response.start":
            info.status = message["status"]
            headers = MutableHeaders(scope=message)
            if not info.body_complete and not info.client_gone:
                if not info.answers_early:
                    await self._discard(_SOON_S)
                if not info.body_complete:
                    headers["connection"] = "close"
                    self._lingers = True
            headers["x-request-id"] = info.request_id
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-content-type-options", "nosniff")
            info.answer_begun = True
        elif self._lingers and not message.get("more_body", False):
            # The whole answer goes out first; the server closes only after the empty rest.
            await self._send({**message, "more_body": True})
            await self._discard(LINGER_S)
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard(self, seconds: float) -> None:
        """Read on for a while and keep nothing.

        Closing a connection with unread bytes resets it, and a client that is still sending may
        lose an answer that it has already received. Not for one that waits for ``100 Continue``
        before it sends, nor for one that has been too slow.
        """
        if self._info.status == 408 or (self._waits_to_send and not self._info.body_begun):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._info.body_complete:
                    if (await self.receive())["type"] == "http.disconnect":
                        return


def _request_id(headers: Headers) -> str:
    given = headers.getlist("x-request-id")
    if len(given) == 1 and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given[0]):
        return given[0]
    return uuid.uuid4().hex


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _log_request(scope: Scope, info: RequestInfo, status: int, seconds: float) -> None:
    quiet = info.route in QUIET and status < 400
    level = logging.DEBUG if quiet else logging.INFO
    fields = {
        "request_id": info.request_id,
        "method": scope["method"][:20],
        "route": info.route,
        "path": scope["path"][:MAX_PATH],
        "status": status,
        "error": info.error,
        "ms": round(1000 * seconds, 1),
        "bytes_in": info.bytes_in,
        **({"timing_ms": info.timing_ms} if info.timing_ms else {}),
    }
    log.log(level, "request", extra={"fields": fields})
