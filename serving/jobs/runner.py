"""Looks after the process that runs jobs: starts it when there are some, ends it, clears up.

Of all workers of a service, and of all services that share a directory, one holds the lock and
does this. The process holds the lock with it: both gone, the next one knows that whatever is
marked as running is run by nobody.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from serving.jobs.files import StateFiles
from serving.jobs.store import JobStore
from serving.settings import Settings

LOOK_S = 0.5
SWEEP_S = 30.0
OVERDUE_S = 15.0
"""A job that has not ended so long after its time is ended with its process."""

IDLE_S = 60.0
"""A process that is there so long without a job hangs: by itself it would have ended."""

MOST_PAUSE_S = 60.0
"""Between two starts of a process that fails each time."""

STOP_S = 5.0
log = logging.getLogger("serving.jobs")


class Runner:
    """A thread of this process; ``start`` and ``close`` frame its life."""

    def __init__(self, settings: Settings, files: StateFiles) -> None:
        self._settings = settings
        self._files = files
        self._child: subprocess.Popen[bytes] | None = None
        self._idle_since = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="jobs-runner", daemon=True)

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: a job has come, or one has been cancelled."""
        self._wake.set()

    def close(self) -> None:
        """End the process that works; what it runs is queued again. Waits for it."""
        self._closing = True
        self._wake.set()
        self._thread.join(STOP_S + LOOK_S + 10)

    def _run(self) -> None:
        lock: int | None = None
        try:
            while not self._closing and (lock := self._files.lock_runner()) is None:
                self._pause()
            if lock is not None:
                with contextlib.closing(JobStore(self._files.table)) as store:
                    self._look_after(store, lock)
        except Exception:
            log.exception("jobs are not run any more")
        finally:
            self._end_child()
            if lock is not None:
                os.close(lock)

    def _look_after(self, store: JobStore, lock: int) -> None:
        self._give_back(store)
        swept = -SWEEP_S
        while not self._closing:
            if time.monotonic() - swept >= SWEEP_S:
                swept = time.monotonic()
                self._attempt(lambda: self._sweep(store))
            self._attempt(lambda: self._look(store, lock))
            self._pause()
        self._end_child()
        self._give_back(store, counts=False)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception:  # a locked table, a full disk: it may pass
            log.exception("looking after jobs failed")
            time.sleep(LOOK_S)

    def _look(self, store: JobStore, lock: int) -> None:
        now = time.monotonic()
        if self._child is not None and (code := self._child.poll()) is not None:
            self._child = None
            if code:
                log.warning("the process that runs jobs ended with %d", code)
            self._failures = self._failures + 1 if code else 0
            self._not_before = now + min(MOST_PAUSE_S, 2.0**self._failures - 1)
            self._give_back(store)
        if self._child is not None:
            if self._hangs(store, now):
                log.warning("the process that runs jobs does not come to an end; it is killed")
                self._child.kill()
                self._child.wait()
        elif store.counts().get("queued") and now >= self._not_before:
            self._child = start_worker(self._settings, self._files, lock)
            self._idle_since = now

    def _give_back(self, store: JobStore, *, counts: bool = True) -> None:
        for job in store.running():  # what an attempt found is not shown as the next one's
            self._files.remove_results(job.id)
        store.give_back(keep_s=self._settings.jobs_keep_s, counts=counts)

    def _hangs(self, store: JobStore, now: float) -> bool:
        running = store.running()
        if running:
            self._idle_since = now
        for job in running:
            if job.started and time.time() - job.started > self._settings.jobs_time_s + OVERDUE_S:
                store.fail(
                    job.id,
                    "job_timeout",
                    f"it took more than {self._settings.jobs_time_s:g} seconds.",
                    keep_s=self._settings.jobs_keep_s,
                )
                return True
        return now - self._idle_since > IDLE_S

    def _sweep(self, store: JobStore) -> None:
        for job_id in store.expire():
            self._files.remove_results(job_id)
        with store.transaction():
            self._files.sweep(*store.ids_with_files())

    def _end_child(self) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def _pause(self) -> None:
        self._wake.wait(LOOK_S)
        self._wake.clear()


def start_worker(settings: Settings, files: StateFiles, lock: int) -> subprocess.Popen[bytes]:
    """``python -m serving.jobs`` with these settings, and no way to the network by a proxy."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("PROMETHEUS_")
    }
    settings_of_it = settings.as_environment() | {"CAPTIONER_STATE_DIR": str(files.directory)}
    return subprocess.Popen(
        [sys.executable, "-m", "serving.jobs", str(os.getpid())],
        env=inherited | settings_of_it,
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,  # Ctrl-C is for the service, which ends it in its own time
    )
