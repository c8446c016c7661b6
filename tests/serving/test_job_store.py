"""The table of jobs: every state, and what several processes do with it at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.jobs.store import FORGET_S, MAX_ATTEMPTS, DiskFull, Job, JobStore, QueueFull, new_id

KEEP_S = 100.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    opened = JobStore(tmp_path / "jobs.sqlite", clock=clock)
    yield opened
    opened.close()


def add(store: JobStore, job_id: str | None = None, **more) -> Job:
    given = {
        "options": {"every_s": 0.5},
        "input_bytes": 10,
        "duration_s": 20.0,
        "max_queued": 100,
        "max_bytes": 1000,
    }
    return store.add(job_id or new_id(), **(given | more))


def succeed(store: JobStore, job: Job) -> bool:
    return store.succeed(job.id, model="m@1", frames=7, result_bytes=5, keep_s=KEEP_S)


def test_a_job_from_beginning_to_end(store: JobStore, clock: Clock) -> None:
    job = add(store)
    assert (job.state, job.created, job.options) == ("queued", 1000.0, {"every_s": 0.5})
    assert job.progress == 0
    clock.now += 1
    claimed = store.claim()
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.started, claimed.attempts) == (
        job.id, "running", 1001.0, 1,
    )  # fmt: skip
    assert store.claim() is None
    assert store.progress(job.id, 3, 5.0)
    halfway = store.get(job.id)
    assert halfway is not None
    assert (halfway.frames_done, halfway.progress) == (3, 0.25)
    clock.now += 1
    assert succeed(store, job)
    done = store.get(job.id)
    assert done is not None
    assert (done.state, done.finished, done.expires) == ("succeeded", 1002.0, 1002.0 + KEEP_S)
    assert (done.model, done.frames_done, done.stored_bytes, done.progress) == ("m@1", 7, 5, 1.0)


def test_jobs_are_claimed_in_the_order_in_which_they_came(store: JobStore, clock: Clock) -> None:
    ids = []
    for _ in range(5):
        clock.now += 1
        ids.append(add(store).id)
    assert [job.id for _ in range(5) if (job := store.claim())] == ids


def test_two_processes_never_claim_the_same(tmp_path: Path, store: JobStore) -> None:
    jobs = [add(store) for _ in range(40)]

    def work(_: int) -> list[str]:
        own = JobStore(tmp_path / "jobs.sqlite")
        found = []
        while (job := own.claim()) is not None:
            found.append(job.id)
        own.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        claimed = [job_id for found in pool.map(work, range(4)) for job_id in found]
    assert sorted(claimed) == sorted(job.id for job in jobs)


def test_a_cancelled_job_goes_on_nowhere(store: JobStore) -> None:
    waiting, running = add(store), add(store)
    assert store.cancel(waiting.id, keep_s=KEEP_S)
    claimed = store.claim()
    assert claimed is not None
    assert claimed.id == running.id
    assert store.cancel(running.id, keep_s=KEEP_S)
    assert not store.progress(running.id, 1, 1.0)
    assert not succeed(store, running)
    assert not store.fail(running.id, "internal", "", keep_s=KEEP_S)
    assert not store.cancel(running.id, keep_s=KEEP_S)
    assert store.counts() == {"cancelled": 2}
    assert store.stored_bytes() == 0


def test_what_has_not_ended_is_not_forgotten(store: JobStore) -> None:
    job = add(store)
    assert not store.remove(job.id)
    store.claim()
    assert not store.remove(job.id)
    store.fail(job.id, "invalid_video", "damaged.", keep_s=KEEP_S)
    failed = store.get(job.id)
    assert failed is not None
    assert (failed.state, failed.error_code, failed.error_message) == (
        "failed", "invalid_video", "damaged.",
    )  # fmt: skip
    assert store.remove(job.id)
    assert store.get(job.id) is None
    assert not store.remove(job.id)


def test_what_nobody_runs_is_queued_again_but_not_for_ever(store: JobStore) -> None:
    job = add(store)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claimed = store.claim()
        assert claimed is not None
        assert claimed.attempts == attempt
        store.progress(job.id, 5, 5.0)
        store.give_back(keep_s=KEEP_S)
    failed = store.get(job.id)
    assert failed is not None
    assert (failed.state, failed.error_code) == ("failed", "job_interrupted")


def test_a_service_that_ends_in_order_costs_no_attempt(store: JobStore) -> None:
    job = add(store)
    for _ in range(2 * MAX_ATTEMPTS):
        store.claim()
        store.give_back(keep_s=KEEP_S, counts=False)
    again = store.claim()
    assert again is not None
    assert (again.id, again.attempts, again.frames_done) == (job.id, 1, 0)


def test_results_expire_and_are_forgotten(store: JobStore, clock: Clock) -> None:
    done, waiting = add(store), add(store)
    claimed = store.claim()
    assert claimed is not None
    assert succeed(store, claimed)
    clock.now += KEEP_S - 1
    assert store.expire() == []
    clock.now += 2
    assert store.expire() == [done.id]
    expired = store.get(done.id)
    assert expired is not None
    assert (expired.state, expired.stored_bytes) == ("expired", 0)
    clock.now += FORGET_S
    assert store.expire() == []
    assert store.get(done.id) is None
    assert store.get(waiting.id) is not None, "what waits does not expire"


def test_the_queue_and_the_disk_have_an_end(store: JobStore) -> None:
    add(store, max_queued=2)
    add(store, max_queued=2)
    with pytest.raises(QueueFull):
        add(store, max_queued=2)
    with pytest.raises(DiskFull):
        add(store, input_bytes=981, max_bytes=1000)
    add(store, input_bytes=980, max_bytes=1000)
    assert store.stored_bytes() == 1000


def test_a_job_that_could_not_be_placed_was_never_there(store: JobStore) -> None:
    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        add(store, place=fail)
    assert store.counts() == {}
    add(store)


def test_the_same_key_is_the_same_job(store: JobStore) -> None:
    placed: list[int] = []
    first = add(store, idempotency_key="k" * 16, place=lambda: placed.append(1))
    second = add(store, idempotency_key="k" * 16, place=lambda: placed.append(2))
    assert (second.id, placed) == (first.id, [1])
    assert store.by_key("k" * 16) == first
    store.cancel(first.id, keep_s=KEEP_S)
    third = add(store, idempotency_key="k" * 16)
    assert third.id != first.id, "a job that was ended does not answer for a new one"


def test_it_is_there_after_a_restart_and_nobody_else_can_read_it(
    tmp_path: Path, store: JobStore
) -> None:
    job = add(store)
    store.claim()
    again = JobStore(tmp_path / "jobs.sqlite")
    assert [found.id for found in again.running()] == [job.id]
    again.close()
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_ids_say_nothing_and_are_never_the_same() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(job_id) == 32 and int(job_id, 16) >= 0 for job_id in ids)


@pytest.mark.parametrize("content", [b"no table" * 100, b""])
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(content)
    if content:
        with pytest.raises(sqlite3.DatabaseError):
            JobStore(path)
    else:
        JobStore(path).close()


def test_a_table_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match="version 99"):
        JobStore(path)
    assert os.path.getsize(path) > 0
