"""A loaded bundle in this process: its state, its thread, and its batcher or its streams."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from captioner.errors import MissingBundle, UserError
from serving.batcher import Answer, MicroBatcher
from serving.metrics import Metrics
from serving.responses import RequestError
from serving.settings import Settings
from serving.streams import Places, Streams
from serving.threads import Threads

State = Literal["loading", "ready", "failing", "stuck", "missing", "failed"]
Load = Callable[[str, str | tuple[str, ...] | None], Any]
FAILURES_UNTIL_FAILING = 5
log = logging.getLogger("serving.hosting")


@dataclass(frozen=True)
class Hosted:
    """How a task of ``captioner.load`` is served.

    ``warm_up(task, size)`` computes a made-up batch of that size, and raises where it cannot.
    ``run(task, items)`` computes a batch and gives a result or an exception for each item; without
    it the task gives its results one by one, in threads of its requests (``HostedModel.streams``),
    as many at a time as ``places`` says. ``entries(task)``: its bundles in ``GET /models``.
    """

    task: str
    warm_up: Callable[[Any, int], None]
    run: Callable[[Any, Sequence[Any]], Sequence[Any]] | None = None
    places: Callable[[Settings], Places] | None = None
    entries: Callable[[Any], list[dict[str, Any]]] = lambda task: [entry(task)]


def entry(model: Any, **more: Any) -> dict[str, Any]:
    """A bundle in ``GET /models``, of whatever has opened it."""
    name, _, version = str(model.model).partition("@")
    about = {"name": name, "version": version}
    return about | more | {"card": dict(model.card), "metrics": dict(model.metrics)}


class HostedModel:
    """One task, loaded and computed in a thread of its own."""

    def __init__(self, hosted: Hosted, settings: Settings, metrics: Metrics) -> None:
        self.hosted = hosted
        self.task: Any = None
        self._entries: list[dict[str, Any]] = []
        self.load_s = 0.0
        self._settings = settings
        self._state: State = "loading"
        self._problem = ""
        self._thread = Threads(1, f"model-{hosted.task}")
        self._batcher: MicroBatcher[Any, Any] | None = None
        self._streams: Streams | None = None
        self._engine: MicroBatcher[Any, Any] | Streams
        if (run := hosted.run) is not None:
            self._engine = self._batcher = MicroBatcher(
                lambda items: run(self.task, items),
                self._thread,
                max_batch=settings.max_batch,
                max_queue=settings.max_queue,
                observer=metrics.for_task(hosted.task),
            )
        elif hosted.places is not None:
            places = hosted.places(settings)
            observer = metrics.for_streams(hosted.task, places.results)
            self._engine = self._streams = Streams(hosted.task, places, observer)
        else:
            raise TypeError(f"{hosted.task} has neither run nor places")

    @property
    def state(self) -> State:
        """What the model can do at present."""
        if self._state == "ready" and self._engine.busy_s > self._settings.stuck_s:
            return "stuck"
        if self._state == "ready" and self._engine.failures_in_a_row >= FAILURES_UNTIL_FAILING:
            return "failing"
        return self._state

    @property
    def waiting(self) -> int:
        """Items in the queue."""
        return self._engine.depth

    @property
    def works(self) -> bool:
        """Whether it is computing now."""
        return self._engine.works

    async def start(self, load: Load) -> None:
        """Load the bundle and warm it up. A bundle that cannot be used disables its endpoint only.

        Loading is in the model's own thread, so that thread settings of libraries hold there.
        """
        name = self._settings.models.get(self.hosted.task)
        began = time.perf_counter()
        try:
            await self._thread.run(self._load, load, name)
        except MissingBundle as error:
            self._state, self._problem = "missing", str(error)
            log.warning("no bundle for %s: %s", self.hosted.task, error)
        except UserError as error:
            self._state, self._problem = "failed", str(error)
            log.error("the bundle for %s is not used: %s", self.hosted.task, error)
        except Exception:
            self._state, self._problem = "failed", "it could not be loaded; see the log"
            log.exception("the bundle for %s could not be loaded", self.hosted.task)
        else:
            self.load_s = time.perf_counter() - began
            self._entries = self.hosted.entries(self.task)
            self._state = "ready"
            self._engine.start()
            fields = {
                "task": self.hosted.task,
                "model": self.task.model,
                "s": round(self.load_s, 2),
            }
            log.info("model ready", extra={"fields": fields})
            for bundle, problem in getattr(self.task, "problems", {}).items():
                log.error("the bundle %s is not used: %s", bundle, problem)

    def check_usable(self) -> None:
        """Raise the answer of an endpoint whose model cannot work: before a body is read."""
        task = self.hosted.task
        if self._state == "loading":
            raise RequestError("not_ready", f"the model for {task} is being loaded.", retry_after=5)
        if self._state != "ready":
            why = "installed" if self._state == "missing" else "usable"
            raise RequestError(
                "model_not_available",
                f"no bundle for the task {task!r} is {why} in this service.",
                hint="GET /models lists what there is.",
            )

    async def submit(self, item: Any, *, key: Hashable | None, deadline: float) -> Answer[Any]:
        """The model's answer; see :meth:`serving.batcher.MicroBatcher.submit`."""
        self.check_usable()
        if self._batcher is None:
            raise TypeError(f"{self.hosted.task} takes no batches")
        return await self._batcher.submit(item, key=key, deadline=deadline)

    @property
    def streams(self) -> Streams:
        """What a task without ``run`` gives its results by."""
        self.check_usable()
        if self._streams is None:
            raise TypeError(f"{self.hosted.task} takes batches")
        return self._streams

    async def recovers(self) -> bool:
        """Whether a failing model computes a made-up item now; its failures are then forgotten."""
        if self.state != "failing":
            return self.state == "ready"
        try:
            async with asyncio.timeout(2.0):
                await self._thread.run(self.hosted.warm_up, self.task, 1)
        except Exception:
            return False
        self._engine.failures_in_a_row = 0
        return True

    def describe(self) -> list[dict[str, Any]]:
        """The task's entries in ``GET /models``: one for each bundle, at least one."""
        state = {"task": self.hosted.task, "state": self.state}
        found = [state | entry for entry in self._entries if self._state == "ready"]
        found += [
            {"task": self.hosted.task, "state": "failed", "name": name, "problem": _said(error)}
            for name, error in getattr(self.task, "problems", {}).items()
        ]
        return found or [state | ({"problem": _said(self._problem)} if self._problem else {})]

    async def close(self, grace_s: float) -> None:
        """Finish the queue within the grace and let the thread go."""
        await self._engine.close(grace_s)
        self._thread.close()

    def _load(self, load: Load, name: str | tuple[str, ...] | None) -> None:
        self.task = load(self.hosted.task, name)
        sizes = {1} if self._batcher is None else {1, self._settings.max_batch}
        for size in sorted(sizes):
            self.hosted.warm_up(self.task, size)


def _said(problem: object) -> str:
    # Whoever asks need not know where things lie on this machine; the log says it.
    return re.sub(r"(?<!\S)(/[^\s/]+)*/(?=[^\s/])", "", str(problem))
