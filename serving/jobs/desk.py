"""What the endpoints ask about jobs, without ever holding up the event loop.

A directory that cannot be used takes only the videos with it: the service says so and goes on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from serving.jobs.files import StateFiles, default_directory
from serving.jobs.runner import Runner
from serving.jobs.store import DiskFull, Job, JobStore, QueueFull
from serving.responses import RequestError
from serving.settings import Settings
from serving.threads import Threads

T = TypeVar("T")
log = logging.getLogger("serving.jobs")


class JobDesk:
    """Built once a process; ``start`` and ``close`` frame its life in the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: StateFiles | None = None
        self._store: JobStore | None = None
        self._runner: Runner | None = None
        self._thread = Threads(1, "jobs")

    async def start(self) -> None:
        """Open the directory, and look for jobs that an earlier service has left."""
        place = self._settings.state_dir
        try:
            await self._thread.run(self._open, Path(place) if place else default_directory())
        except (OSError, RuntimeError, sqlite3.Error) as error:  # RuntimeError: no home directory
            log.error("videos are not taken, their directory cannot be used: %s", error)

    async def close(self) -> None:
        """Queue again what runs, end its process, close the table."""
        if self._runner is not None:
            await self._thread.run(self._runner.close)
        if self._store is not None:
            await self._thread.run(self._store.close)
        self._store = self._files = self._runner = None
        self._thread.close()

    @property
    def files(self) -> StateFiles:
        """The directory.

        Raises:
            RequestError: storage_unavailable.
        """
        if self._files is None:
            raise _unavailable()
        return self._files

    async def nameless(self) -> IO[bytes]:
        """A file for a video that is labelled at once."""
        return await self._disk(self.files.nameless)

    async def arriving(self, job_id: str) -> IO[bytes]:
        """A file for the video of a job to be."""
        files = self.files
        return await self._disk(lambda: files.arriving(job_id))

    async def discard(self, job_id: str) -> None:
        """The video of a job that was not to be."""
        files = self.files
        await self._disk(lambda: files.discard(job_id))

    async def add(
        self,
        job_id: str,
        *,
        options: dict[str, Any],
        input_bytes: int,
        duration_s: float | None,
        idempotency_key: str | None,
    ) -> Job:
        """Queue a job whose video has arrived.

        Raises:
            RequestError: overloaded or storage_full.
        """
        files, settings = self.files, self._settings
        try:
            job = await self._ask(
                lambda store: store.add(
                    job_id,
                    options=options,
                    input_bytes=input_bytes,
                    duration_s=duration_s,
                    idempotency_key=idempotency_key,
                    max_queued=settings.jobs_queue,
                    max_bytes=settings.jobs_disk_bytes,
                    place=lambda: files.keep(job_id),
                )
            )
        except QueueFull:
            raise RequestError(
                "overloaded", f"{settings.jobs_queue} jobs are waiting already.", retry_after=60
            ) from None
        except DiskFull:
            raise _full() from None
        self._wake()
        return job

    async def check_room(self, size: int) -> None:
        """Refuse a video of so many bytes before it is sent, where there is no room for it.

        Raises:
            RequestError: overloaded or storage_full.
        """
        settings = self._settings
        counts, stored = await self._ask(lambda store: (store.counts(), store.stored_bytes()))
        if counts.get("queued", 0) >= settings.jobs_queue:
            raise RequestError(
                "overloaded", f"{settings.jobs_queue} jobs are waiting already.", retry_after=60
            )
        if stored + size > settings.jobs_disk_bytes:
            raise _full()

    async def get(self, job_id: str) -> Job:
        """The job of this id.

        Raises:
            RequestError: job_not_found.
        """
        job = await self._ask(lambda store: store.get(job_id))
        if job is None:
            raise RequestError("job_not_found", "there is no job of this id.")
        return job

    async def by_key(self, key: str) -> Job | None:
        """The job that was sent with this idempotency key."""
        return await self._ask(lambda store: store.by_key(key))

    async def end(self, job_id: str) -> Job | None:
        """Cancel a job that waits or runs, which is given; remove one that has ended: None.

        Raises:
            RequestError: job_not_found.
        """
        files, keep_s = self.files, self._settings.jobs_keep_s

        def end(store: JobStore) -> bool:
            cancelled = store.cancel(job_id, keep_s=keep_s)
            if not cancelled and not store.remove(job_id):
                raise RequestError("job_not_found", "there is no job of this id.")
            files.video(job_id).unlink(missing_ok=True)
            files.remove_results(job_id)
            return cancelled

        cancelled = await self._ask(end)
        self._wake()
        return await self.get(job_id) if cancelled else None

    async def open_result(self, job_id: str, name: str) -> IO[bytes]:
        """A finished job's result in the format of this name.

        Raises:
            RequestError: job_expired, where it has just been thrown away.
        """
        path = self.files.result(job_id, name)
        try:
            return await self._disk(lambda: path.open("rb"))
        except FileNotFoundError:
            raise RequestError("job_expired", "its result is not kept any more.") from None

    async def open_so_far(self, job_id: str) -> IO[bytes] | None:
        """The lines of NDJSON that a job has written until now; None where there are none yet."""
        path = self.files.part(job_id, "ndjson")
        try:
            return await self._disk(lambda: path.open("rb"))
        except FileNotFoundError:
            return None

    async def skip_lines(self, file: IO[bytes], count: int) -> None:
        """Go on behind so many lines."""

        def skip() -> None:
            for _ in range(count):
                if not file.readline():
                    break

        await self._disk(skip)

    async def read(self, file: IO[bytes], size: int) -> bytes:
        """The next bytes of a file."""
        return await self._disk(lambda: file.read(size))

    async def read_line(self, file: IO[bytes]) -> bytes:
        """The next line of a file."""
        return await self._disk(file.readline)

    async def counts(self) -> dict[str, int]:
        """How many jobs there are of each state; empty where there is no table."""
        if self._store is None:
            return {}
        return await self._ask(lambda store: store.counts())

    def _open(self, directory: Path) -> None:
        files = StateFiles(directory)
        self._store = JobStore(files.table)
        self._files = files
        self._runner = Runner(self._settings, files)
        self._runner.start()

    async def _ask(self, question: Callable[[JobStore], T]) -> T:
        store = self._store
        if store is None:
            raise _unavailable()
        try:
            return await self._thread.run(question, store)
        except (sqlite3.Error, OSError) as error:
            log.exception("the table of jobs cannot be used")
            raise _unavailable() from error

    async def _disk(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.run(work)
        except FileNotFoundError:
            raise
        except OSError as error:
            log.exception("the directory for videos cannot be used")
            raise _unavailable() from error

    def _wake(self) -> None:
        if self._runner is not None:
            self._runner.wake()


def _unavailable() -> RequestError:
    return RequestError(
        "storage_unavailable", "the service cannot store videos at present.", retry_after=30
    )


def _full() -> RequestError:
    return RequestError("storage_full", "there is no room on disk for the video.", retry_after=60)
