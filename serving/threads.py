"""Threads for work that must not hold up the event loop: decoding, and the model."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple["asyncio.Future[Any]", Callable[[], Any]]


class Threads:
    """``count`` threads that take jobs in order.

    Unlike an executor's they are daemons: a model that hangs cannot keep the process from ending.
    """

    def __init__(self, count: int, name: str) -> None:
        self.pending = 0
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """A future of ``function(*arguments)``. Cancelled before its turn, it is never called."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.pending += 1
        future.add_done_callback(self._count_down)
        self._jobs.put((future, lambda: function(*arguments)))
        return future

    def close(self) -> None:
        """Let the threads end after the jobs they have; returns at once."""
        for _ in self._threads:
            self._jobs.put(None)

    def _count_down(self, _: asyncio.Future[Any]) -> None:
        self.pending -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.cancelled():
                continue
            value, error = _outcome(call)
            with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, value, error)
            del future, call, job, value, error  # or an idle thread would keep a photo alive


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return call(), None
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            return None, error
        # A future refuses StopIteration and would stay open for ever; SystemExit would end the
        # event loop.
        failure = RuntimeError(f"{type(error).__name__} out of a job")
        failure.__cause__ = error
        return None, failure


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
