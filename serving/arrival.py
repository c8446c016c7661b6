"""A video that arrives with a request, and its client, who may leave at any moment.

One task takes the body, and after it waits for the client's departure; nobody else may receive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from captioner.errors import UserError
from serving.edge import ClientGone
from serving.multipart import BodyLimits, FileField
from serving.options import Pairs
from serving.spool import Abandoned, Spool
from serving.upload import FileBody

T = TypeVar("T")
HEAD_BYTES = 4096  # of a file, to see what it is: captioner.vision.containers looks at so many


class Arrival:
    """The request's body on its way into ``spool``; close it when the request has ended.

    ``first_byte_at`` and ``complete_at``: the event loop's times; None until then.

    Raises RequestError for a head that is refused.
    """

    def __init__(
        self,
        request: Request,
        spool: Spool,
        file: FileField,
        limits: BodyLimits,
        take: Callable[[int], None],
    ) -> None:
        self.spool = spool
        self.gone = asyncio.Event()
        self.first_byte_at: float | None = None
        self.complete_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._receive = request.receive
        self._body = FileBody(request, take, limits, file, self._write)
        self._reading = asyncio.create_task(self._read())
        self._watching = asyncio.create_task(self._watch())

    @property
    def head(self) -> bytes:
        """The file's first bytes, as many as are here."""
        return self.spool.read_at(0, HEAD_BYTES, wait=False)

    async def begun(self) -> Pairs | None:
        """Wait until the file's head is here; gives the form's fields before it.

        None when all of the body is here instead.

        Raises as :meth:`complete`.
        """
        await self._begun.wait()
        if self._reading.done():
            await self._reading
            return None
        return self._body.options

    async def complete(self) -> Pairs:
        """Wait until the whole body is here; gives the form's fields.

        Raises:
            RequestError: the body is refused.
            ClientGone: the client left before its end.
        """
        return await asyncio.shield(self._reading)

    async def unless_gone(self, work: Awaitable[T]) -> T:
        """The result of ``work``, which is cancelled when the client leaves.

        Raises:
            ClientGone: the client left first.
        """
        task = asyncio.ensure_future(work)
        leaving = asyncio.create_task(self.gone.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            leaving.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def close(self) -> None:
        """Stop receiving and let the bytes go, whoever may be reading them."""
        for task in (self._reading, self._watching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        self.spool.close()

    async def _read(self) -> Pairs:
        try:
            fields = await self._body.read()
        except BaseException as error:
            reason = error if isinstance(error, UserError) else Abandoned("the client left.")
            self.spool.fail(reason)
            if isinstance(error, ClientGone):
                self.gone.set()
            raise
        else:
            self.spool.finish()
            self.complete_at = self._loop.time()
            return fields
        finally:
            self._begun.set()

    async def _watch(self) -> None:
        await asyncio.wait([self._reading])
        if self._reading.cancelled() or self._reading.exception() is not None:
            return
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    def _write(self, data: bytes) -> None:
        if self.first_byte_at is None:
            self.first_byte_at = self._loop.time()
        self.spool.write(data)
        if self.spool.size >= HEAD_BYTES:
            self._begun.set()
