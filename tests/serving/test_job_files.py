"""What lies on disk for videos, and what is cleared away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from serving.jobs.files import StateFiles, default_directory
from serving.jobs.runner import Runner
from serving.jobs.store import JobStore
from serving.settings import Settings


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path / "a" / "state")


def test_only_this_user_can_look_into_it(files: StateFiles) -> None:
    with files.arriving("1" * 32):
        pass
    files.create(files.result("1" * 32, "json")).close()
    for path in [files.directory, *files.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_a_file_without_a_name_leaves_none(files: StateFiles) -> None:
    with files.nameless() as file:
        file.write(b"x")
        assert list(files.uploads.iterdir()) == []


def test_an_upload_becomes_a_jobs_video_or_nothing(files: StateFiles) -> None:
    with files.arriving("a") as file:
        file.write(b"video")
        files.keep("a")
    assert files.video("a").read_bytes() == b"video"
    files.discard("a")
    assert files.video("a").exists()
    with files.arriving("b"):
        files.discard("b")
    assert [path.name for path in files.uploads.iterdir()] == ["a"]


def test_sweeping_keeps_what_jobs_need_and_what_arrives(files: StateFiles) -> None:
    for name in ("waiting", "finished", "gone"):
        files.video(name).write_bytes(b"")
        for kind in ("json", "vtt.part"):
            files.result(name, kind).write_bytes(b"")
    with files.arriving("arriving"), files.arriving("left"):
        pass
    with files.arriving("now"):
        files.sweep({"waiting"}, {"finished"})
        assert {path.name for path in files.uploads.iterdir()} == {"waiting", "now.part"}
    assert {path.name for path in files.results.iterdir()} == {
        "waiting.json", "waiting.vtt.part", "finished.json", "finished.vtt.part",
    }  # fmt: skip


def test_lines_of_an_attempt_that_was_broken_off_are_gone_before_the_next(
    files: StateFiles, kit
) -> None:
    with contextlib.closing(JobStore(files.table)) as store:
        store.add("a", options={}, input_bytes=1, duration_s=None, max_queued=1, max_bytes=1)
        store.claim()
        lines = files.part("a", "ndjson")
        files.create(lines).close()
        runner = Runner(Settings(state_dir=str(files.directory)), files)
        runner.start()
        try:
            kit.wait_until(lambda: not lines.exists())
        finally:
            runner.close()
        job = store.get("a")
        assert job is not None
        assert job.state == "queued"


def test_one_runs_jobs_at_a_time_and_the_next_one_after_it(files: StateFiles) -> None:
    lock = files.lock_runner()
    assert lock is not None
    assert files.lock_runner() is None
    inherited = os.dup(lock)
    os.close(lock)
    assert files.lock_runner() is None, "who inherited it holds it, too"
    os.close(inherited)
    again = files.lock_runner()
    assert again is not None
    os.close(again)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        StateFiles(tmp_path / "state")


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(OSError, match="exists"):
        StateFiles(tmp_path / "state")


def test_by_default_it_is_where_state_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert default_directory() == Path("/var/state/captioner")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/somebody")
    assert default_directory() == Path("/somebody/.local/state/captioner")
