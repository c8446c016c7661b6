"""Work that gives its results one by one: a few requests at a time, each in threads of its own.

A place is what a request needs to begin. One that is still arriving takes a place only where others
are left: a client that sends slowly holds up nobody whose video is here. The threads have a lower
priority than those of other models, so that videos and long texts leave photos their speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from captioner.errors import UserError
from serving.batcher import ModelFailure
from serving.responses import RequestError
from serving.threads import Threads

T = TypeVar("T")
NICENESS = 5
log = logging.getLogger("serving.streams")


@dataclass(frozen=True)
class Places:
    """How many requests work at a time, and how many more may wait; and what is said of them."""

    count: int
    max_waiting: int
    doing: str
    """Such as ``videos are being labelled``."""
    otherwise: str = ""
    """What else a client can do that has waited in vain."""
    results: str = "captioner_frames_labelled"
    """The metric that counts results."""


class Observer(Protocol):
    """What is told about waiting, and about how work ended."""

    def first(self, seconds: float) -> None:
        """A client has got its first result after so many seconds."""

    def ended(self, results: int, seconds: float) -> None:
        """A request has got its last result, so many seconds after it began."""

    def lost(self, reason: str) -> None:
        """A request was ``rejected``, ``expired`` or ``cancelled``."""

    def depth(self, waiting: int) -> None:
        """So many requests wait now."""


class Streams:
    """The places, and the requests that wait for one."""

    def __init__(self, name: str, places: Places, observer: Observer) -> None:
        self.failures_in_a_row = 0
        self._places = places
        self._count = places.count
        self.observer = observer
        self._taken = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._running: set[Stream[Any]] = set()
        self._threads = Threads(places.count, name)

    @property
    def depth(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    @property
    def works(self) -> bool:
        """Whether a result is being made."""
        return bool(self._running)

    @property
    def busy_s(self) -> float:
        """For how many seconds work has been going on that should have ended."""
        now = asyncio.get_running_loop().time()
        return max(
            (now - stream.aborted_at for stream in self._running if stream.aborted), default=0.0
        )

    def start(self) -> None:
        """Nothing is to be begun."""

    async def close(self, grace_s: float) -> None:
        """Refuse new work, let what has begun end within the grace, then end it."""
        self._closing = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(_ending())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        for stream in list(self._running):
            stream.abort(_ending())
        self._threads.close()

    def take_early(self) -> bool:
        """Take a place for a request that is still arriving, where that leaves others."""
        if self._closing or self._waiting or self._taken >= max(1, self._count - 1):
            return False
        self._take()
        return True

    async def take(self, deadline: float) -> None:
        """Take a place, when there is one.

        Raises:
            RequestError: overloaded, deadline_exceeded or shutting_down.
        """
        if self._closing:
            raise _ending()
        if self._taken < self._count and not self._waiting:
            self._take()
            return
        if len(self._waiting) >= self._places.max_waiting:
            self.observer.lost("rejected")
            raise RequestError(
                "overloaded",
                f"{self._taken} {self._places.doing} and {len(self._waiting)} wait.",
                retry_after=5.0 * (1 + len(self._waiting)),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self.observer.depth(len(self._waiting))
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()  # it came too late
            if isinstance(error, TimeoutError):
                self.observer.lost("expired")
                raise RequestError(
                    "deadline_exceeded",
                    "the request's turn did not come in time.",
                    hint=f"X-Timeout-Ms asks for more time{self._places.otherwise}.",
                    retry_after=10,
                ) from None
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            self.observer.depth(len(self._waiting))

    def give_back(self) -> None:
        """Let the next one have a place; a stream does so itself when its thread has ended."""
        self._taken -= 1
        while self._waiting and self._taken < self._count:
            turn = self._waiting.pop(0)
            if not turn.done():
                self._take()
                turn.set_result(None)
        if not self._taken:
            self._idle.set()

    def begin(
        self,
        work: Callable[[], Iterator[T]],
        *,
        stop: Callable[[UserError], None],
        count: Callable[[T], int] = lambda _: 1,
    ) -> Stream[T]:
        """Begin to iterate over ``work()`` in a thread; whoever calls has taken a place for it.

        ``stop`` is called once to make an iteration that waits end soon. ``count``: how many
        results an item is.
        """
        stream: Stream[T] = Stream(work, stop, count, self._threads)
        self._running.add(stream)
        stream.ended.add_done_callback(lambda _: self._ended(stream))
        return stream

    def _ended(self, stream: Stream[Any]) -> None:
        self._running.discard(stream)
        if stream.failed:
            self.failures_in_a_row += 1
        elif not stream.aborted:
            self.failures_in_a_row = 0
        if stream.aborted:
            self.observer.lost("cancelled")
        else:
            self.observer.ended(stream.results, stream.seconds)
        self.give_back()

    def _take(self) -> None:
        self._taken += 1
        self._idle.clear()


class Stream(Generic[T]):
    """Results of one request, in the order in which its thread gives them.

    ``ended``: done when the thread has let everything go.
    """

    def __init__(
        self,
        work: Callable[[], Iterator[T]],
        stop: Callable[[UserError], None],
        count: Callable[[T], int],
        threads: Threads,
    ) -> None:
        self.results = 0
        self.failed = False
        self.aborted = False
        self.aborted_at = 0.0
        self.seconds = 0.0
        self._work = work
        self._stop = stop
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._given: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._stopped = threading.Event()
        self._since = self._loop.time()
        self.ended = threads.run(self._iterate)
        self.ended.add_done_callback(self._end)

    async def next(self) -> T | None:
        """The next result, None after the last.

        Raises:
            UserError: what the work says, or what it was aborted with.
            ModelFailure: a fault of ours.
        """
        item = await self._given.get()
        if item is None or isinstance(item, Exception):
            self._given.put_nowait(item)  # whoever asks again hears the same
        if isinstance(item, UserError):
            raise item
        if isinstance(item, Exception):
            raise ModelFailure("the model failed") from item
        return item

    def abort(self, error: UserError) -> None:
        """End the work; the next result is ``error``. Does nothing after the end."""
        if self.ended.done() or self._stopped.is_set():
            return
        self.aborted, self.aborted_at = True, self._loop.time()
        self._stopped.set()
        self._stop(error)
        while not self._given.empty():
            self._given.get_nowait()
        self._given.put_nowait(error)

    def _iterate(self) -> None:
        lower_priority()
        results = self._work()
        try:
            for result in results:
                if self._stopped.is_set():
                    return
                self._loop.call_soon_threadsafe(self._give, result)
        finally:
            if hasattr(results, "close"):
                results.close()

    def _give(self, result: T) -> None:
        if not self._stopped.is_set():
            self.results += self._count(result)
            self._given.put_nowait(result)

    def _end(self, ended: asyncio.Future[None]) -> None:
        self.seconds = self._loop.time() - self._since
        error = None if ended.cancelled() else ended.exception()
        if self.aborted:
            return
        self.failed = error is not None and not isinstance(error, UserError)
        self._given.put_nowait(error if isinstance(error, Exception) else None)


def lower_priority() -> None:
    """Let other threads of this process, and what they start, go first. Linux only.

    Threads that this one starts from now on inherit it.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _ending() -> RequestError:
    return RequestError("shutting_down", "the service is ending.", retry_after=5)
