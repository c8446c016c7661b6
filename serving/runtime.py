"""What one process of the service holds: models, threads for decoding, metrics, budgets."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from captioner.errors import UserError
from serving.hosting import Hosted, HostedModel, Load
from serving.jobs.desk import JobDesk
from serving.metrics import Metrics
from serving.multipart import BodyLimits
from serving.responses import RequestError
from serving.settings import Settings
from serving.threads import Threads
from serving.upload import Budget

T = TypeVar("T")
CLOSING_GRACE_S = 20.0
TIDY_EVERY_S = 1.0
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
log = logging.getLogger("serving.runtime")


class Runtime:
    """Built once a process; ``start`` and ``close`` frame its life in the event loop."""

    def __init__(self, settings: Settings, hosted: Sequence[Hosted], load: Load) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.budget = Budget(settings.max_buffered_bytes)
        self.limits = BodyLimits(
            max_file_bytes=settings.max_file_bytes,
            max_field_bytes=settings.max_field_bytes,
            max_parts=settings.max_parts,
            read_timeout_s=settings.read_timeout_s,
            stall_timeout_s=settings.stall_timeout_s,
        )
        self.video_budget = Budget(settings.jobs_disk_bytes)
        self.uploads = 0
        self.jobs = JobDesk(settings)
        self.models: dict[str, HostedModel] = {}
        self.started_at = time.time()
        self._hosted = tuple(hosted)
        self._load = load
        self._decoders: Threads | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._state = "starting"

    async def start(self) -> None:
        """Load every bundle; afterwards the service is ready."""
        share = available_cores() // self.settings.workers
        set_threads(self.settings.threads or max(1, share))
        self._decoders = Threads(self.settings.decode_threads, "decode")
        for hosted in self._hosted:
            self.models[hosted.task] = HostedModel(hosted, self.settings, self.metrics)
        for model in self.models.values():  # one after the other: loading is work for all cores
            await model.start(self._load)
        self._share_captioner()
        return_freed_memory()
        self._tidying = asyncio.create_task(self._tidy(), name="tidy")
        if any(hosted.task == "frames" for hosted in self._hosted):
            await self.jobs.start()
        self._state = "ready"

    def _share_captioner(self) -> None:
        # Segments of videos are captioned by the model that captions photos, in memory once.
        captions, frames = self.models.get("caption"), self.models.get("frames")
        if captions and frames and captions.state == frames.state == "ready":
            frames.task.caption_with(captions.task)

    async def _tidy(self) -> None:
        """Gives memory back whenever the models have nothing more to do."""
        worked = False
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            works = any(model.works for model in self.models.values())
            if worked and not works:  # not under load: others wait while it is looked through
                await asyncio.to_thread(return_freed_memory)
            worked = works

    async def close(self) -> None:
        """Refuse what is new, finish what waits, let the threads go."""
        self._state = "ending"
        if self._tidying is not None:
            self._tidying.cancel()
        await asyncio.gather(
            self.jobs.close(), *(model.close(CLOSING_GRACE_S) for model in self.models.values())
        )
        if self._decoders is not None:
            self._decoders.close()

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``degraded`` (a model cannot work) or ``ending``."""
        broken = any(
            model.state in ("failed", "failing", "stuck") for model in self.models.values()
        )
        return "degraded" if self._state == "ready" and broken else self._state

    async def is_ready(self) -> bool:
        """Whether traffic should come here. Tries a failing model again."""
        if self._state != "ready":
            return False
        used = [m for m in self.models.values() if m.state in ("ready", "failing", "stuck")]
        return all([await model.recovers() for model in used])

    def is_alive(self) -> bool:
        """False when only a restart helps: a model has been stuck for too long."""
        return all(model.state != "stuck" for model in self.models.values())

    async def decode(self, function: Callable[..., T], *arguments: Any, deadline: float) -> T:
        """``function(*arguments)`` in a decoding thread, within the deadline (event loop's time).

        Raises:
            RequestError: overloaded where too much waits to be decoded, or deadline_exceeded.
        """
        if self._decoders is None:
            raise RequestError("not_ready", "the service is starting.", retry_after=5)
        if self._decoders.pending >= self.settings.max_queue:
            raise RequestError("overloaded", "too much waits to be decoded.", retry_after=2)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._decoders.run(function, *arguments)
        except TimeoutError:
            raise RequestError(
                "deadline_exceeded", "what was sent was not decoded in time.", retry_after=2
            ) from None
        except MemoryError:
            raise UserError("what was sent needs more memory than there is.") from None


def available_cores() -> int:
    """Cores that this process may use: its affinity, or a container's quota where that is less."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit: other systems, or "max"
        return cores


def return_freed_memory() -> None:
    """Gives what was freed back to the system: glibc would keep it, a tenth of all there is."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # other C libraries have none
        trim(0)


def set_threads(threads: int) -> None:
    """How many threads one of torch's operators uses."""
    import torch

    torch.set_num_threads(threads)
