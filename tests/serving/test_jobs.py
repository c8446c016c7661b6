"""``/frames/jobs``: from an upload to a result, with the process that really works."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from captioner.tasks import load
from serving.frame_answers import MEDIA_TYPES
from serving.jobs import runner

NO_JOB = "0" * 32


@pytest.fixture(scope="module")
def videos(kit, bundles: Path, tmp_path_factory: pytest.TempPathFactory):
    """A service whose jobs may have 200 seconds of video; three may wait."""
    settings = {
        "state_dir": str(tmp_path_factory.mktemp("state")),
        "jobs_max_s": 200.0,
        "jobs_max_bytes": 3_000_000,
        "jobs_queue": 3,
        "jobs_disk_bytes": 20_000_000,
    }
    with kit.running(**kit.load_from(bundles), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def clip(make_clip) -> bytes:
    return make_clip()


@pytest.fixture(scope="module")
def long(make_clip) -> bytes:
    """Enough frames that a job of them is seen at work."""
    return make_clip([("red", 60.0), ("blue", 60.0)])


def submit(service, body: bytes, query: str = "", **headers: str) -> httpx.Response:
    with service.client() as client:
        return client.post(f"/frames/jobs{query}", files={"video": body}, headers=headers)


def place(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    found = answer.headers["location"]
    assert found == f"/frames/jobs/{answer.json()['job']['id']}"
    return found


def get(service, path: str, **more) -> httpx.Response:
    with service.client() as client:
        return client.get(path, **more)


def delete(service, path: str) -> httpx.Response:
    with service.client() as client:
        return client.delete(path)


def state(service, path: str) -> str:
    return get(service, path).json()["job"]["state"]


def ended(service, path: str) -> dict:
    end = time.monotonic() + 120
    while (job := get(service, path).json()["job"])["state"] in ("queued", "running"):
        assert time.monotonic() < end, job
        time.sleep(0.05)
    return job


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def files(service, folder: str = "uploads") -> list[str]:
    place = Path(service.runtime.settings.state_dir) / folder
    return sorted(path.name for path in place.iterdir())


def change(service, path: str, **columns: object) -> None:
    table = Path(service.runtime.settings.state_dir) / "jobs.sqlite"
    with sqlite3.connect(table, timeout=10) as database:
        names = ", ".join(f"{name} = ?" for name in columns)
        job_id = path.rpartition("/")[2]
        database.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*columns.values(), job_id))
    database.close()


def test_a_job_gives_what_the_endpoint_gives_in_every_format(
    videos, kit, bundles, clip: bytes
) -> None:
    own = load("frames", model=str(bundles / "frames"))(clip, every_s=0.2).to_dict()
    answer = submit(videos, clip, "?every_s=0.2")
    job = answer.json()["job"]
    assert re.fullmatch("[0-9a-f]{32}", job["id"])
    assert (job["state"], job["progress"], job["options"]) == ("queued", 0, {"every_s": 0.2})
    assert job["video"] == {"bytes": len(clip), "duration_s": 3.0}
    path = place(answer)
    assert error_of(get(videos, f"{path}/result")) == (409, "job_not_finished")
    job = ended(videos, path)
    assert (job["state"], job["progress"], job["error"]) == ("succeeded", 1, None)
    assert (job["model"], job["frames_labelled"]) == ("frames@0", 15)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]
    assert job["result"] == f"{path}/result"
    result = get(videos, f"{path}/result").json()
    for part in ("frames", "segments", "clip", "video", "truncated", "warnings"):
        assert result[part] == own[part]
    with videos.client() as client:
        for name, kind in MEDIA_TYPES.items():
            whole = client.post(f"/frames?every_s=0.2&format={name}", files={"video": clip})
            for found in (
                client.get(f"{path}/result?format={name}"),
                client.get(f"{path}/result", headers={"Accept": kind}),
            ):
                assert found.status_code == 200
                assert found.headers["content-type"] == whole.headers["content-type"]
                if name in ("json", "ndjson", "sse"):  # these hold the times that it took
                    assert found.text.count('"index"') == whole.text.count('"index"') == 15
                else:
                    assert found.content == whole.content
        head = client.head(f"{path}/result")
        assert head.status_code == 200
        assert head.content == b""
        lines = client.get(f"{path}/result?format=ndjson").text.splitlines()
        assert json.loads(lines[-1])["type"] == "summary"
    assert error_of(get(videos, f"{path}/result?format=xml")) == (422, "invalid_option")
    assert error_of(get(videos, f"{path}/result", headers={"Accept": "image/png"})) == (
        406, "not_acceptable",
    )  # fmt: skip
    kit.wait_until(lambda: files(videos) == [])  # the video is not needed any more
    assert delete(videos, path).status_code == 204
    assert error_of(get(videos, path)) == (404, "job_not_found")
    assert error_of(delete(videos, path)) == (404, "job_not_found")
    assert files(videos, "results") == []


def test_captions_in_a_job(videos, clip: bytes) -> None:
    path = place(submit(videos, clip, "?every_s=0.5&captions=true"))
    assert ended(videos, path)["state"] == "succeeded"
    segments = get(videos, f"{path}/result").json()["segments"]
    assert all(isinstance(segment["caption"], str) for segment in segments)


def test_a_job_that_runs_says_how_far_it_is_and_is_cancelled(
    videos, kit, long: bytes, clip: bytes
) -> None:
    running = place(submit(videos, long, "?every_s=0"))
    waiting = place(submit(videos, long, "?every_s=0"))
    after = place(submit(videos, clip))
    kit.wait_until(lambda: get(videos, running).json()["job"]["frames_labelled"] > 0, 60)
    first = get(videos, running).json()["job"]["progress"]
    kit.wait_until(lambda: get(videos, running).json()["job"]["progress"] > first, 60)
    assert state(videos, waiting) == "queued"
    for path in (waiting, running):
        answer = delete(videos, path)
        assert answer.status_code == 202
        assert answer.json()["job"]["state"] == "cancelled"
        assert error_of(get(videos, f"{path}/result")) == (410, "job_cancelled")
    assert ended(videos, after)["state"] == "succeeded", "the next one runs"
    kit.wait_until(lambda: files(videos) == [])
    kept = {name.partition(".")[0] for name in files(videos, "results")}
    assert not kept & {running.rpartition("/")[2], waiting.rpartition("/")[2]}
    for path in (waiting, running, after):
        assert delete(videos, path).status_code == 204


def test_labels_are_there_while_the_job_runs(videos, kit, long: bytes) -> None:
    path = place(submit(videos, long, "?every_s=0"))
    events = f"{path}/result?format=ndjson"

    def lines(after: int = 0) -> list[dict]:
        answer = get(videos, f"{events}&after={after}")
        return [json.loads(line) for line in answer.text.splitlines()]

    kit.wait_until(lambda: get(videos, path).json()["job"]["frames_labelled"] > 0, 60)
    told = get(videos, path).json()["job"]["frames_labelled"]
    *first, end = lines()
    assert end["type"] == "error"
    assert end["error"]["code"] == "job_not_finished"
    assert len(first) >= told
    assert [line["index"] for line in first] == list(range(len(first)))
    kit.wait_until(lambda: lines(len(first))[0]["type"] == "frame", 60)
    streamed = get(videos, f"{path}/result", headers={"Accept": "text/event-stream"})
    assert streamed.text.startswith("event: frame\ndata: {")
    assert "job_not_finished" in streamed.text
    assert error_of(get(videos, f"{path}/result")) == (409, "job_not_finished")
    assert error_of(get(videos, f"{path}/result?format=csv&after=1")) == (422, "invalid_option")
    assert ended(videos, path)["state"] == "succeeded"
    *labelled, summary = lines()
    assert labelled[: len(first)] == first
    assert summary["type"] == "summary"
    assert lines(len(labelled) - 2) == [*labelled[-2:], summary]
    assert lines(10**9) == [summary]
    head = get(videos, f"{events}&after={len(labelled)}").headers
    assert int(head["content-length"]) == len(json.dumps(summary, ensure_ascii=False)) + 1
    assert delete(videos, path).status_code == 204


def test_jobs_that_wait_have_an_end(videos, kit, long: bytes, clip: bytes) -> None:
    paths = [place(submit(videos, long, "?every_s=0"))]
    kit.wait_until(lambda: state(videos, paths[0]) == "running", 60)
    paths += [place(submit(videos, clip)) for _ in range(3)]
    refused = submit(videos, clip)
    assert error_of(refused) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    with videos.client() as client:
        text = client.get("/metrics").text
        assert client.get("/status").json()["jobs"]["queued"] == 3
    assert 'captioner_jobs{state="queued"} 3.0' in text
    for path in paths:
        assert delete(videos, path).status_code == 202
    kit.wait_until(lambda: files(videos) == [])


def test_a_disk_that_is_full_is_told_before_the_video_is_sent(videos, clip: bytes) -> None:
    path = place(submit(videos, clip))
    ended(videos, path)
    change(videos, path, stored_bytes=20_000_000)
    answer = submit(videos, clip)
    assert error_of(answer) == (503, "storage_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert files(videos) == []
    delete(videos, path)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_file"),
        (b"not a video" * 1000, 415, "unsupported_video_format"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "unsupported_video_format"),
        (b"http://127.0.0.1:9/clip.mp4", 400, "not_a_file"),
        (bytes(4_000_000), 413, "payload_too_large"),
    ],
    ids=["empty", "text", "playlist", "url", "large"],
)
def test_what_is_no_video_is_refused_at_once(videos, body: bytes, status: int, code: str) -> None:
    assert error_of(submit(videos, body)) == (status, code)
    assert files(videos) == []
    assert videos.runtime.video_budget.held == 0


def test_what_is_too_long_is_refused_by_its_header_and_else_on_the_way(videos, make_clip) -> None:
    shots = [("red", 210.0)]
    assert error_of(submit(videos, make_clip(shots))) == (413, "video_too_long")
    assert error_of(submit(videos, make_clip(), "?every_s=0&fps=1")) == (422, "invalid_option")
    assert error_of(submit(videos, make_clip(), "?format=vtt")) == (400, "unknown_field")
    assert files(videos) == []


def test_a_job_that_fails_says_why(videos, kit, make_clip) -> None:
    """A file that was written live does not say how long it is."""
    live = make_clip([("red", 210.0)], container="matroska", options={"live": "1"})
    answer = submit(videos, live, "?every_s=10")
    assert answer.json()["job"]["progress"] is None
    path = place(answer)
    job = ended(videos, path)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "video_too_long"
    answer = get(videos, f"{path}/result")
    assert error_of(answer) == (413, "video_too_long")
    assert answer.json()["error"]["message"] == job["error"]["message"]
    kit.wait_until(lambda: files(videos) == [])
    assert delete(videos, path).status_code == 204


def test_results_expire(videos, kit, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SWEEP_S", 0.1)
    path = place(submit(videos, clip))
    ended(videos, path)
    change(videos, path, expires=time.time() - 1)
    assert error_of(get(videos, f"{path}/result")) == (410, "job_expired")
    kit.wait_until(lambda: state(videos, path) == "expired", 60)
    job_id = path.rpartition("/")[2]
    kit.wait_until(lambda: not [name for name in files(videos, "results") if job_id in name])
    assert error_of(get(videos, f"{path}/result")) == (410, "job_expired")


@pytest.mark.parametrize("job_id", [NO_JOB, "x", "..", "%2e%2e%2fjobs.sqlite", "a" * 5000])
def test_ids_of_no_job(videos, job_id: str) -> None:
    codes = {error_of(get(videos, f"/frames/jobs/{job_id}"))[1],
             error_of(get(videos, f"/frames/jobs/{job_id}/result"))[1],
             error_of(delete(videos, f"/frames/jobs/{job_id}"))[1]}  # fmt: skip
    assert codes <= {"job_not_found", "not_found", "method_not_allowed"}
    assert error_of(get(videos, f"/frames/jobs/{NO_JOB}"))[0] == 404


def test_the_same_key_is_the_same_job(videos, clip: bytes) -> None:
    key = {"Idempotency-Key": "b1f6c0de-0000-4000-8000-000000000001"}
    first, second = submit(videos, clip, **key), submit(videos, clip, **key)
    assert place(first) == place(second)
    other = place(submit(videos, clip))
    assert other != place(first)
    assert error_of(submit(videos, clip, **{"Idempotency-Key": "short"})) == (
        400, "invalid_header",
    )  # fmt: skip
    for path in (place(first), other):
        ended(videos, path)


def test_a_client_that_leaves_while_sending_leaves_nothing(videos, kit, long: bytes) -> None:
    before = get(videos, "/status").json()["jobs"]
    kit.wait_until(lambda: files(videos) == [])
    for share in (0.0, 0.1, 0.9):
        with videos.connection() as connection:
            connection.sendall(
                b"POST /frames/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
                b"Content-Length: %d\r\n\r\n" % len(long)
            )
            connection.sendall(long[: int(len(long) * share)])
            kit.wait_until(lambda: videos.runtime.uploads == 1)
            assert len(files(videos)) == 1
            connection.shutdown(socket.SHUT_RDWR)
        kit.wait_until(lambda: files(videos) == [] and videos.runtime.uploads == 0)
    assert get(videos, "/status").json()["jobs"].get("queued") == before.get("queued")


@pytest.mark.slow
def test_jobs_outlive_a_service_that_ends(kit, bundles, tmp_path: Path, long, clip) -> None:
    settings = {**kit.load_from(bundles), "state_dir": str(tmp_path)}
    with kit.running(**settings) as first:
        running, waiting = (place(submit(first, body, "?every_s=0.5")) for body in (long, clip))
        key = {"Idempotency-Key": "k" * 16}
        again = place(submit(first, clip, "", **key))
        kit.wait_until(lambda: state(first, running) == "running", 60)
    assert sorted(path.name for path in (tmp_path / "uploads").iterdir()) == sorted(
        path.rpartition("/")[2] for path in (running, waiting, again)
    )
    with kit.running(**settings) as second:
        assert place(submit(second, clip, "", **key)) == again
        for path in (running, waiting, again):
            assert ended(second, path)["state"] == "succeeded"
            assert get(second, f"{path}/result").status_code == 200
        assert list((tmp_path / "uploads").iterdir()) == []
