"""The table of jobs. Several processes use it at a time; a job's state changes in one statement.

    queued -> running -> succeeded | failed          cancelled from either
    succeeded | failed | cancelled -> expired -> forgotten

Times are seconds since 1970. SQLite is in WAL mode: whoever reads waits for nobody.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
BUSY_S = 5.0
MAX_ATTEMPTS = 3
"""A job that was begun so often, and whose process ended each time, has failed."""

FORGET_S = 7 * 24 * 3600.0
"""After this time an expired job's id says nothing any more."""

FINAL = ("succeeded", "failed", "cancelled", "expired")
STATES = ("queued", "running", *FINAL)

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    expires REAL,
    options TEXT NOT NULL,
    input_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    duration_s REAL,
    frames_done INTEGER NOT NULL DEFAULT 0,
    seconds_done REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    model TEXT,
    error_code TEXT,
    error_message TEXT,
    idempotency_key TEXT UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
"""


class QueueFull(Exception):
    """So many jobs wait already."""


class DiskFull(Exception):
    """Videos and results of all jobs together have reached their limit."""


@dataclass(frozen=True)
class Job:
    """A row: one video, what is to be done with it, and how far that is."""

    id: str
    state: str
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    options: dict[str, Any]
    input_bytes: int
    stored_bytes: int
    duration_s: float | None
    frames_done: int
    seconds_done: float
    attempts: int
    model: str | None
    error_code: str | None
    error_message: str | None

    @property
    def progress(self) -> float | None:
        """The share that is done, 0 to 1; None where the video does not say how long it is."""
        if self.state == "succeeded":
            return 1.0
        if not self.duration_s:
            return None
        return min(1.0, self.seconds_done / self.duration_s)


COLUMNS = tuple(Job.__dataclass_fields__)


def new_id() -> str:
    """128 random bits: who knows a job's id may see and end it."""
    return secrets.token_hex(16)


class JobStore:
    """The table in the file ``path``; each thread of a process opens its own.

    Raises sqlite3.Error where the file cannot be used, also from every method.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would let others read it
        self._clock = clock
        self._database = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # told once, never lost
            [(version,)] = self._database.execute("PRAGMA user_version")
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"{path.name} is of version {version}, not {VERSION}")
            with self.transaction():
                for statement in _TABLE.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that happens inside, or nothing; no other process writes meanwhile."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    # ---- what a client asks

    def add(
        self,
        job_id: str,
        *,
        options: dict[str, Any],
        input_bytes: int,
        duration_s: float | None,
        max_queued: int,
        max_bytes: int,
        idempotency_key: str | None = None,
        place: Callable[[], object] = lambda: None,
    ) -> Job:
        """Queue a job; ``place`` puts its video where the job will look for it.

        Gives the earlier job of the same ``idempotency_key``, without a call of ``place``. Raises
        QueueFull or DiskFull.
        """
        with self.transaction():
            if idempotency_key is not None and (earlier := self.by_key(idempotency_key)):
                return earlier
            if self.counts().get("queued", 0) >= max_queued:
                raise QueueFull
            if self.stored_bytes() + input_bytes > max_bytes:
                raise DiskFull
            self._database.execute(
                "INSERT INTO jobs (id, state, created, options, input_bytes, stored_bytes,"
                " duration_s, idempotency_key) VALUES (?, 'queued', ?, ?, ?, ?, ?, ?)",
                (job_id, self._clock(), json.dumps(options), input_bytes, input_bytes, duration_s,
                 idempotency_key),
            )  # fmt: skip
            place()
        job = self.get(job_id)
        assert job is not None
        return job

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        return self._one("SELECT {} FROM jobs WHERE id = ?", job_id)

    def by_key(self, key: str) -> Job | None:
        """The job that was sent with this idempotency key."""
        return self._one("SELECT {} FROM jobs WHERE idempotency_key = ?", key)

    def cancel(self, job_id: str, *, keep_s: float) -> bool:
        """End a job that waits or runs; False where it is neither. Whoever runs it notices."""
        now = self._clock()
        return self._changed(
            "UPDATE jobs SET state = 'cancelled', finished = ?, expires = ?, stored_bytes = 0,"
            " idempotency_key = NULL WHERE id = ? AND state IN ('queued', 'running')",
            now,
            now + keep_s,
            job_id,
        )

    def remove(self, job_id: str) -> bool:
        """Forget a job that has ended; False where it has not."""
        return self._changed(
            "DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", job_id
        )

    # ---- what the process that works asks

    def claim(self) -> Job | None:
        """The job that has waited longest, which now runs."""
        return self._one(
            "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1,"
            " frames_done = 0, seconds_done = 0 WHERE id ="
            " (SELECT id FROM jobs WHERE state = 'queued' ORDER BY created, rowid LIMIT 1)"
            " RETURNING {}",
            self._clock(),
        )

    def progress(self, job_id: str, frames_done: int, seconds_done: float) -> bool:
        """Note how far a job is; False where it shall not go on."""
        return self._changed(
            "UPDATE jobs SET frames_done = ?, seconds_done = ? WHERE id = ? AND state = 'running'",
            frames_done,
            seconds_done,
            job_id,
        )

    def succeed(
        self, job_id: str, *, model: str, frames: int, result_bytes: int, keep_s: float
    ) -> bool:
        """The result lies there; False where nobody wants it any more."""
        now = self._clock()
        return self._changed(
            "UPDATE jobs SET state = 'succeeded', finished = ?, expires = ?, model = ?,"
            " frames_done = ?, stored_bytes = ? WHERE id = ? AND state = 'running'",
            now,
            now + keep_s,
            model,
            frames,
            result_bytes,
            job_id,
        )

    def fail(self, job_id: str, code: str, message: str, *, keep_s: float) -> bool:
        """The job has no result, for this reason."""
        now = self._clock()
        return self._changed(
            "UPDATE jobs SET state = 'failed', finished = ?, expires = ?, error_code = ?,"
            " error_message = ?, stored_bytes = 0 WHERE id = ? AND state = 'running'",
            now,
            now + keep_s,
            code,
            message,
            job_id,
        )

    # ---- what the runner asks

    def running(self) -> list[Job]:
        """The jobs that run."""
        return self._all("SELECT {} FROM jobs WHERE state = 'running'")

    def give_back(self, *, keep_s: float, counts: bool = True) -> None:
        """Queue again what runs: nobody works on it. ``counts``: the attempt does.

        What was attempted too often has failed: the process that ran it ended each time.
        """
        with self.transaction():
            if counts:
                for job in self.running():
                    if job.attempts >= MAX_ATTEMPTS:
                        message = f"the process that ran it ended {job.attempts} times."
                        self.fail(job.id, "job_interrupted", message, keep_s=keep_s)
            self._database.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts - ?"
                " WHERE state = 'running'",
                (0 if counts else 1,),
            )

    def expire(self) -> list[str]:
        """Jobs whose time is over, whose result is to be thrown away; forget the oldest of all."""
        now = self._clock()
        self._database.execute(
            "DELETE FROM jobs WHERE state = 'expired' AND expires < ?", (now - FORGET_S,)
        )
        rows = self._database.execute(
            "UPDATE jobs SET state = 'expired', stored_bytes = 0, idempotency_key = NULL"
            " WHERE state IN ('succeeded', 'failed', 'cancelled') AND expires < ? RETURNING id",
            (now,),
        ).fetchall()
        return [job_id for (job_id,) in rows]

    def ids_with_files(self) -> tuple[set[str], set[str]]:
        """Jobs that need their video, and jobs that have a result."""
        rows = self._database.execute(
            "SELECT id, state FROM jobs WHERE state IN ('queued', 'running', 'succeeded')"
        ).fetchall()
        waiting = {job_id for job_id, state in rows if state != "succeeded"}
        return waiting, {job_id for job_id, _ in rows} - waiting

    # ---- what both ask

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each state."""
        return dict(
            self._database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()
        )

    def stored_bytes(self) -> int:
        """Of all videos and results on disk."""
        [(size,)] = self._database.execute("SELECT COALESCE(SUM(stored_bytes), 0) FROM jobs")
        return int(size)

    def _one(self, statement: str, *values: Any) -> Job | None:
        found = self._all(statement, *values)
        return found[0] if found else None

    def _all(self, statement: str, *values: Any) -> list[Job]:
        rows = self._database.execute(statement.format(", ".join(COLUMNS)), values).fetchall()
        return [_job(dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def _changed(self, statement: str, *values: Any) -> bool:
        return self._database.execute(statement, values).rowcount == 1


def _job(row: dict[str, Any]) -> Job:
    return Job(**row | {"options": json.loads(row["options"])})
