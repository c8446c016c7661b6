"""What lies on disk for videos, in a directory that only this user can read.

    jobs.sqlite        the table
    runner.lock        held by the one instance whose process works
    uploads/ID.part    a video that is arriving, locked by whoever writes it
    uploads/ID         a video that waits for its job, or is read by it
    results/ID.json …  a result, in each format; ID.json.part … while it is being written

A video of ``/frames`` has no name at all: its file is gone with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

PART = ".part"


class StateFiles:
    """The directory, made where it is missing. Raises OSError where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table = directory / "jobs.sqlite"
        self.uploads = directory / "uploads"
        self.results = directory / "results"
        for path in (directory, self.uploads, self.results):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid == os.getuid():
                path.chmod(0o700)
        with self.nameless():
            pass  # or it cannot be written to

    def nameless(self) -> IO[bytes]:
        """A new file that no other process can find."""
        return tempfile.TemporaryFile(dir=self.uploads, buffering=0)

    def arriving(self, job_id: str) -> IO[bytes]:
        """A new file for the video of a job that is not in the table yet."""
        while True:
            descriptor = os.open(self._part(job_id), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # tells the sweeper that somebody writes
            if os.fstat(descriptor).st_nlink:  # or it has swept in between
                return os.fdopen(descriptor, "r+b", 0)
            os.close(descriptor)

    def keep(self, job_id: str) -> None:
        """What has arrived is the job's video from now on."""
        self._part(job_id).rename(self.video(job_id))

    def discard(self, job_id: str) -> None:
        """What was arriving is not wanted."""
        self._part(job_id).unlink(missing_ok=True)

    def video(self, job_id: str) -> Path:
        """Where a job's video lies."""
        return self.uploads / job_id

    def create(self, path: Path) -> IO[bytes]:
        """A new file at ``path``, in place of one that is there."""
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        return os.fdopen(os.open(path, flags, 0o600), "wb")

    def result(self, job_id: str, name: str) -> Path:
        """Where a job's result lies in the format of this name."""
        return self.results / f"{job_id}.{name}"

    def part(self, job_id: str, name: str) -> Path:
        """Where it is written until it is whole."""
        return self.result(job_id, name + PART)

    def remove_results(self, job_id: str) -> None:
        """Throw a job's result away, in every format."""
        for path in self.results.glob(f"{job_id}.*"):
            path.unlink(missing_ok=True)

    def sweep(self, waiting: Iterable[str], finished: Iterable[str]) -> None:
        """Remove every file that is no waiting job's video and no finished job's result.

        Call it while no job can be added or finished.
        """
        waiting, finished = set(waiting), set(finished)
        for path in self.uploads.iterdir():
            if path.suffix == PART:
                _remove_abandoned(path)
            elif path.name not in waiting:
                path.unlink(missing_ok=True)
        for path in self.results.iterdir():
            job_id = path.name.partition(".")[0]
            if job_id not in finished and job_id not in waiting:  # a waiting one's is being written
                path.unlink(missing_ok=True)

    def lock_runner(self) -> int | None:
        """A descriptor that stands for being the one who runs jobs; None where another is.

        Whoever inherits it holds the lock, too: it is free when all of them have ended.
        """
        descriptor = os.open(self.directory / "runner.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _part(self, job_id: str) -> Path:
        return self.uploads / (job_id + PART)


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)


def default_directory() -> Path:
    """Where state lies by default, after the XDG base directory specification."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return base / "captioner"
