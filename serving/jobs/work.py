"""The process that runs jobs, one after the other, and ends when there are no more.

Apart from the service: a long video neither slows photos down, since the kernel gives this process
what others leave, nor takes the service with it when a decoder fails in a way that nobody catches.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from captioner.errors import BundleError, UserError
from serving import log as logs
from serving.jobs.files import StateFiles
from serving.jobs.results import ResultFiles
from serving.jobs.store import Job, JobStore
from serving.orphan import end_with_parent
from serving.responses import RequestError, error_code
from serving.runtime import available_cores, set_threads
from serving.settings import Settings
from serving.video_request import job_limits

NICENESS = 5
LINGER_S = 10.0
"""Without a job for so long it ends: its memory is for others."""

LOOK_S = 0.1
REPORT_S = 0.5
RESULT_BYTES = 2**30
log = logging.getLogger("serving.jobs")


class NotWanted(Exception):
    """The job was cancelled while it ran."""


def main(parent: int) -> int:
    """Run jobs until there are none for a while; ``parent`` is the service's process."""
    end_with_parent(signal.SIGKILL, parent=parent)
    settings = Settings.from_environment()
    logs.configure(settings.log_level)
    os.nice(NICENESS)
    _limit(settings)
    set_threads(settings.threads or available_cores())
    files = StateFiles(Path(settings.state_dir))
    store = JobStore(files.table)
    worker = Worker(settings, files, store)
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < LINGER_S:
        if (job := store.claim()) is None:
            time.sleep(LOOK_S)
            continue
        worker.work(job)
        idle_since = time.monotonic()
    return 0


class Worker:
    """Jobs to results with one model, which is loaded for the first."""

    def __init__(self, settings: Settings, files: StateFiles, store: JobStore) -> None:
        self._settings = settings
        self._files = files
        self._store = store
        self._task: Any = None

    def work(self, job: Job) -> None:
        """Run one job to its end, whatever that is."""
        keep_s = self._settings.jobs_keep_s
        began = time.monotonic()
        outcome = "succeeded"
        try:
            self._limit_processor()
            result_bytes, frames = self._label(job)
            wanted = self._store.succeed(
                job.id,
                model=self._task.model,
                frames=frames,
                result_bytes=result_bytes,
                keep_s=keep_s,
            )
            if not wanted:
                raise NotWanted
        except NotWanted:
            outcome = "cancelled"
            self._files.remove_results(job.id)
        except Exception as error:
            outcome, message = _explained(error)
            if outcome == "internal":
                log.exception("a job failed", extra={"fields": {"job": job.id[:8]}})
            self._files.remove_results(job.id)
            self._store.fail(job.id, outcome, message, keep_s=keep_s)
        self._files.video(job.id).unlink(missing_ok=True)
        seconds = round(time.monotonic() - began, 1)
        fields = {"job": job.id[:8], "outcome": outcome, "s": seconds, "bytes": job.input_bytes}
        log.info("job", extra={"fields": fields})

    def _label(self, job: Job) -> tuple[int, int]:
        """The size of the result, in all formats, and how many frames were labelled."""
        from captioner.tasks.frame_options import FrameLabels, FrameOptions

        task = self._task = self._task or load(self._settings)
        options = FrameOptions(**job.options)
        end = time.monotonic() + self._settings.jobs_time_s
        reported, frames = 0.0, 0
        with (
            self._files.video(job.id).open("rb") as video,
            task.stream(video, options, limits=job_limits(self._settings)) as stream,
            ResultFiles(self._files, job.id) as result,
        ):
            start_s = stream.info.start_s
            for event in stream:
                result.write(event)
                now = time.monotonic()
                if now > end:
                    raise RequestError(
                        "job_timeout",
                        f"it took more than {self._settings.jobs_time_s:g} seconds.",
                    )
                if isinstance(event, FrameLabels):
                    frames += 1
                    if now - reported > REPORT_S:
                        reported = now
                        result.show()
                        done_s = max(0.0, event.time_s - start_s)
                        if not self._store.progress(job.id, frames, done_s):
                            raise NotWanted
            return result.finish(), frames

    def _limit_processor(self) -> None:
        """What the kernel does where nothing else ends a job; the next one has more again."""
        spent = time.process_time()
        seconds = int(spent + (self._settings.jobs_time_s + 60) * available_cores()) + 1
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))


def load(settings: Settings) -> Any:
    """The task, with the same bundles as in the service."""
    import captioner

    task = captioner.load("frames", model=settings.models.get("frames"))
    if "caption" in settings.models:
        task.caption_with(captioner.load("caption", model=settings.models["caption"]))
    return task


def _explained(error: Exception) -> tuple[str, str]:
    if isinstance(error, BundleError):
        return "model_not_available", "no usable bundle for the task 'frames' is installed."
    code = error_code(error)
    if code == "internal" or not isinstance(error, UserError):
        return "internal", "the service failed to label this video."
    return code, str(error)


def _limit(settings: Settings) -> None:
    memory, size = settings.jobs_memory_bytes, min(RESULT_BYTES, settings.jobs_disk_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then it is an error of the write
