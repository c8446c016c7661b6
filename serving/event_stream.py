"""An answer that is sent piece by piece, and says at its end whether it is whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.edge import ClientGone, RequestInfo
from serving.responses import error_body, error_code

PING_S = 15.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream; charset=utf-8"
log = logging.getLogger("serving.stream")


class EventStream(Response):
    """What each of ``next_chunk()`` gives, until that gives None; then ``done``.

    An error on the way is the last chunk instead, ``failure`` of its JSON body. ``close`` is called
    in any case, before the answer ends: an upload that is refused is then nobody's any more.
    ``pings``: server-sent comments while there is nothing to send.
    """

    def __init__(
        self,
        next_chunk: Callable[[], Awaitable[bytes | None]],
        close: Callable[[], Awaitable[None]],
        failure: Callable[[dict[str, Any]], bytes],
        *,
        content_type: str = SSE,
        done: bytes = DONE,
        pings: bool = True,
    ) -> None:
        super().__init__(headers={"content-type": content_type, "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._next_chunk = next_chunk
        self._close = close
        self._failure = failure
        self._done = done
        self._pings = pings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it."""
        info: RequestInfo = scope["captioner"]
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = b""
        try:
            while (chunk := await self._with_pings(send)) is not None:
                await _send(send, chunk)
            last = self._done
        except ClientGone:
            info.client_gone, info.error = True, "client_gone"
        except Exception as error:
            info.error = error_code(error)
            if info.error == "internal":
                fields = {"request_id": info.request_id}
                log.exception("request failed", extra={"fields": fields})
            last = self._failure(error_body(error, info.request_id))
        finally:
            await self._close()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _with_pings(self, send: Send) -> bytes | None:
        if not self._pings:
            return await self._next_chunk()
        waiting = asyncio.ensure_future(self._next_chunk())
        try:
            while True:
                done, _ = await asyncio.wait([waiting], timeout=PING_S)
                if done:
                    return waiting.result()
                await _send(send, PING)
        finally:
            waiting.cancel()


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
