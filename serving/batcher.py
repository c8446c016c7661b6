"""Many requests, one model: what arrives while the model computes becomes its next batch.

An item never waits for company: with the model idle it goes at once, alone. Batches form only
while the model is busy, and only of items with equal keys (options that cannot differ by row).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from captioner.errors import UserError
from serving.responses import RequestError
from serving.threads import Threads

In = TypeVar("In")
Out = TypeVar("Out")
log = logging.getLogger("serving.batcher")


class ModelFailure(Exception):
    """The model failed on an item; its cause says how. A fault of ours, never of the client."""


class WrongLength(Exception):
    """The model returned more or fewer results than items: nobody knows whose is whose."""


class Answer(NamedTuple, Generic[Out]):
    """A result and where its time went: seconds in the queue and in the model."""

    value: Out
    queue_s: float
    model_s: float
    batch_size: int


class Observer(Protocol):
    """What is told about every batch and every item that was not computed."""

    def batch(self, size: int, model_s: float, queue_s: Sequence[float]) -> None:
        """A batch has been computed."""

    def lost(self, reason: str) -> None:
        """An item was ``rejected``, ``expired`` or ``cancelled``, or a batch ``retried``."""

    def depth(self, waiting: int) -> None:
        """So many items wait now."""


class _Silent:
    def batch(self, size: int, model_s: float, queue_s: Sequence[float]) -> None: ...
    def lost(self, reason: str) -> None: ...
    def depth(self, waiting: int) -> None: ...


@dataclass(eq=False)
class _Entry(Generic[In, Out]):
    item: In
    key: Hashable | None
    deadline: float
    future: asyncio.Future[Answer[Out]]
    since: float


class MicroBatcher(Generic[In, Out]):
    """A bounded queue before ``run``, which computes one batch at a time in ``thread``.

    ``run`` gets the items and returns as many results in their order; a result may be an exception,
    which is then its item's alone. Where ``run`` raises on several items, each is tried once by
    itself, so that only the culprit fails. A result of another length fails the whole batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out | Exception]],
        thread: Threads,
        *,
        max_batch: int = 8,
        max_queue: int = 64,
        observer: Observer | None = None,
    ) -> None:
        self._run = run
        self._thread = thread
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._observer: Observer = observer or _Silent()
        self._queue: deque[_Entry[In, Out]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._consumer: asyncio.Task[None] | None = None
        self._item_s = 0.05  # smoothed seconds per item, for Retry-After
        self._busy_since: float | None = None
        self.failures_in_a_row = 0

    @property
    def depth(self) -> int:
        """Items that wait for the model."""
        return len(self._queue)

    @property
    def works(self) -> bool:
        """Whether a batch is being computed."""
        return self._busy_since is not None

    @property
    def busy_s(self) -> float:
        """For how many seconds the model has been computing its present batch."""
        if self._busy_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._busy_since

    def start(self) -> None:
        """Begin to compute; call once, in the event loop."""
        self._consumer = asyncio.create_task(self._consume(), name="micro-batcher")

    async def submit(self, item: In, *, key: Hashable | None, deadline: float) -> Answer[Out]:
        """The model's answer for ``item``. Cancelling the call takes the item out of the queue.

        Args:
            item: what ``run`` takes.
            key: items with equal keys may share a batch; None shares with nobody.
            deadline: the event loop's time at which waiting ends.

        Raises:
            RequestError: overloaded, deadline_exceeded or shutting_down.
            UserError: what the model says about this item.
            ModelFailure: the model failed.
        """
        if self._closing:
            raise RequestError("shutting_down", "the service is ending.", retry_after=5)
        if len(self._queue) >= self._max_queue:
            self._observer.lost("rejected")
            wait = len(self._queue) * self._item_s
            raise RequestError(
                "overloaded", f"{len(self._queue)} requests are waiting already.", retry_after=wait
            )
        loop = asyncio.get_running_loop()
        entry: _Entry[In, Out] = _Entry(item, key, deadline, loop.create_future(), loop.time())
        self._queue.append(entry)
        self._observer.depth(len(self._queue))
        self._wake.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await entry.future
        except TimeoutError:
            self._observer.lost("expired")
            raise RequestError(
                "deadline_exceeded",
                f"no answer within {deadline - entry.since:.3g} s.",
                hint="X-Timeout-Ms asks for more time.",
                retry_after=len(self._queue) * self._item_s,
            ) from None
        except asyncio.CancelledError:
            self._observer.lost("cancelled")
            raise
        finally:
            if entry in self._queue:
                self._queue.remove(entry)
                self._observer.depth(len(self._queue))

    async def close(self, grace_s: float) -> None:
        """Refuse new items, compute the waiting ones within the grace, fail what is left."""
        self._closing = True
        self._wake.set()
        if self._consumer is not None:
            await asyncio.wait([self._consumer], timeout=grace_s)
            self._consumer.cancel()
        for entry in self._queue:
            if not entry.future.done():
                entry.future.set_exception(
                    RequestError("shutting_down", "the service is ending.", retry_after=5)
                )

    async def _consume(self) -> None:
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            batch = self._take()
            if batch:
                await self._compute(batch)
            else:
                await asyncio.sleep(0)  # let those whose time is over leave the queue

    def _take(self) -> list[_Entry[In, Out]]:
        now = asyncio.get_running_loop().time()
        alive = [e for e in self._queue if not e.future.done() and e.deadline > now]
        if not alive:
            return []
        key = alive[0].key
        same = [e for e in alive if e.key == key] if key is not None else alive[:1]
        batch = same[: self._max_batch]
        for entry in batch:
            self._queue.remove(entry)
        self._observer.depth(len(self._queue))
        return batch

    async def _compute(self, batch: list[_Entry[In, Out]]) -> None:
        outcomes, model_s = await self._attempt(batch)
        retry = isinstance(outcomes, Exception) and not isinstance(outcomes, WrongLength)
        if retry and len(batch) > 1:
            log.warning("a batch of %d failed; each is tried alone: %r", len(batch), outcomes)
            self._observer.lost("retried")
            for entry in batch:
                if not entry.future.done():
                    single, single_s = await self._attempt([entry])
                    self._settle([entry], single, single_s)
            return
        self._settle(batch, outcomes, model_s)

    async def _attempt(
        self, batch: list[_Entry[In, Out]]
    ) -> tuple[list[Out | Exception] | Exception, float]:
        """Results of the batch, or the exception that took all of them; and the seconds."""
        loop = asyncio.get_running_loop()
        started = self._busy_since = loop.time()
        items = [entry.item for entry in batch]
        try:
            outcomes: list[Out | Exception] | Exception
            outcomes = list(await self._thread.run(self._run, items))
            if len(outcomes) != len(batch):
                outcomes = WrongLength(f"{len(outcomes)} results for {len(batch)} items")
        except Exception as error:
            outcomes = error
        finally:
            self._busy_since = None
        seconds = loop.time() - started
        self._item_s += 0.2 * (seconds / len(batch) - self._item_s)
        self._observer.batch(len(batch), seconds, [started - entry.since for entry in batch])
        return outcomes, seconds

    def _settle(
        self,
        batch: list[_Entry[In, Out]],
        outcomes: list[Out | Exception] | Exception,
        model_s: float,
    ) -> None:
        now = asyncio.get_running_loop().time()
        each: Sequence[Any] = outcomes if isinstance(outcomes, list) else [outcomes] * len(batch)
        for entry, outcome in zip(batch, each, strict=True):
            faulty = isinstance(outcome, Exception) and not isinstance(outcome, UserError)
            self.failures_in_a_row = self.failures_in_a_row + 1 if faulty else 0
            if entry.future.done():
                continue
            if faulty:
                failure = ModelFailure("the model failed")
                failure.__cause__ = outcome
                entry.future.set_exception(failure)
            elif isinstance(outcome, UserError):
                entry.future.set_exception(outcome)
            else:
                waited = now - entry.since - model_s
                answer = Answer(outcome, max(0.0, waited), model_s, len(batch))
                entry.future.set_result(answer)
