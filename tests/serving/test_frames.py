"""``POST /frames``: what a client gets, in which form, and what it is refused."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import httpx
import pytest

from captioner.tasks import load
from captioner.tasks.frame_formats import FORMATS
from serving.frame_answers import MEDIA_TYPES, STREAMED

FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def videos(kit, bundles: Path):
    """A service that labels at most 5 seconds, 40 frames and 300 kB while a client waits."""
    limits = {"frames_max_s": 5.0, "frames_max_frames": 40, "frames_max_bytes": 300_000}
    with kit.running(**kit.load_from(bundles), **limits) as service:
        yield service


@pytest.fixture(scope="module")
def clip(make_clip) -> bytes:
    return make_clip()


def post(service, body: bytes | None = None, query: str = "", **more) -> httpx.Response:
    with service.client() as client:
        if body is not None:
            more["files"] = {"video": body}
        return client.post(f"/frames{query}", **more)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def events(answer: httpx.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_labels_have_everything_a_user_needs(service, clip: bytes) -> None:
    answer = post(service, clip, "?every_s=0.5")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert [frame["index"] for frame in body["frames"]] == [0, 5, 10, 15, 20, 25]
    assert [frame["time_s"] for frame in body["frames"]] == [0, 0.5, 1, 1.5, 2, 2.5]
    best = [frame["labels"][0]["label"] for frame in body["frames"]]
    assert best == ["red", "red", "blue", "blue", "green", "green"]
    assert [(s["label"], s["start_s"], s["end_s"]) for s in body["segments"]] == [
        ("red", 0, 1), ("blue", 1, 2), ("green", 2, 3),
    ]  # fmt: skip
    assert body["clip"]["labels"]
    assert body["video"]["frames_read"] == 30
    assert body["truncated"] is False
    assert body["model"] == "frames@0"
    assert {"decode", "encode", "label", "queue", "total"} <= body["timing_ms"].keys()


def test_models_names_the_limits_of_videos(videos) -> None:
    with videos.client() as client:
        models = client.get("/models").json()["models"]
    (limits,) = [entry["limits"] for entry in models if entry["task"] == "frames"]
    assert limits == {
        "max_file_bytes": 300_000, "max_s": 5.0, "max_frames": 40, "max_queue": 8,
        "max_streams": 2, "deadline_ms": 60_000,
    }  # fmt: skip


def test_what_the_service_says_is_what_the_library_says(videos, bundles, clip: bytes) -> None:
    own = load("frames", model=str(bundles / "frames"))(clip, every_s=0.2, top_k=3).to_dict()
    body = post(videos, clip, "?every_s=0.2&top_k=3").json()
    for part in ("frames", "segments", "clip", "video", "truncated", "warnings"):
        assert body[part] == own[part]


def test_the_table_of_formats_is_the_librarys() -> None:
    assert {name: kind.media_type for name, kind in FORMATS.items()} | {
        "sse": "text/event-stream"
    } == MEDIA_TYPES


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_every_format_by_name_and_by_accept(videos, bundles, clip: bytes, name: str) -> None:
    own = load("frames", model=str(bundles / "frames"))(clip, every_s=0.5).to_dict()
    kind = MEDIA_TYPES[name]
    answers = [
        post(videos, clip, f"?every_s=0.5&format={name}"),
        post(videos, clip, "?every_s=0.5", headers={"Accept": f"image/png, {kind}"}),
        post(videos, clip, f"?every_s=0.5&format={name}", headers={"Accept": "text/csv"}),
        post(videos, data={"every_s": "0.5", "format": name}, files={"video": clip}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == kind
        if name in ("vtt", "srt", "csv"):
            assert answer.text == FORMATS[name].write(own)
        elif name == "json":
            assert answer.json()["segments"] == own["segments"]
        else:
            lines = answer.text
            if name == "sse":
                *parts, done, end = answer.text.split("\n\n")
                assert (done, end) == ("data: [DONE]", "")
                heads, lines = zip(*(part.split("\ndata: ") for part in parts), strict=True)
                kinds = [json.loads(line)["type"] for line in lines]
                assert list(heads) == [f"event: {kind}" for kind in kinds]
                lines = "\n".join(lines)
            found = [json.loads(line) for line in lines.splitlines()]
            assert [f | {"type": "frame"} for f in own["frames"]] == found[:-1]
            assert found[-1]["type"] == "summary"
            assert found[-1]["segments"] == own["segments"]
    assert (answers[0].headers.get("connection") == "close") <= (name in STREAMED)


def test_a_table_for_a_spreadsheet(videos, clip: bytes) -> None:
    rows = list(csv.DictReader(post(videos, clip, "?format=csv").text.splitlines()))
    assert [row["label"] for row in rows] == ["red", "blue", "green"]


def test_types_that_are_not_made_are_refused(videos, clip: bytes) -> None:
    for accept in ("image/png", "application/json;q=0", "text/html"):
        assert error_of(post(videos, clip, headers={"Accept": accept})) == (406, "not_acceptable")
    assert error_of(post(videos, clip, "?format=xml")) == (422, "invalid_option")


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska", "avi"])
@pytest.mark.parametrize("kind", ["video/mp4", "application/octet-stream", "VIDEO/x-anything"])
def test_the_body_may_be_the_video_itself(videos, make_clip, container: str, kind: str) -> None:
    body = make_clip(container=container)
    answer = post(videos, query="?every_s=0.5", content=body, headers={"Content-Type": kind})
    assert len(answer.json()["frames"]) == 6


def test_segments_get_captions(service, clip: bytes) -> None:
    body = post(service, clip, "?every_s=0.5&captions=true").json()
    assert len(body["segments"]) == 3
    assert all(isinstance(segment["caption"], str) for segment in body["segments"])
    assert "caption" not in post(service, clip).json()["segments"][0]


def test_the_model_that_captions_photos_captions_segments(kit, bundles: Path) -> None:
    given = kit.load_from(bundles)["load"]
    tasks = {}

    def load(name: str, model: str | None) -> object:
        return tasks.setdefault(name, given(name, model))

    with kit.running(load=load):
        assert tasks["frames"]._segment_captions()._captioner is tasks["caption"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("every_s=-1", 422, "invalid_option"),
        ("every_s=nan", 422, "invalid_option"),
        ("every_s=1e999", 422, "invalid_option"),
        ("fps=0", 422, "invalid_option"),
        ("top_k=1.5", 422, "invalid_option"),
        ("min_score=2", 422, "invalid_option"),
        ("key_frames=maybe", 422, "invalid_option"),
        ("every_s=1&fps=1", 422, "invalid_option"),
        ("every_s=1&every_s=1", 400, "duplicate_field"),
        ("step=3", 400, "unknown_field"),
        ("n=3", 400, "unknown_field"),
    ],
)
@pytest.mark.parametrize("format", ["json", "ndjson"])
def test_options_are_checked(
    videos, clip: bytes, query: str, status: int, code: str, format: str
) -> None:
    assert error_of(post(videos, clip, f"?format={format}&{query}")) == (status, code)
    fields = [part.split("=") for part in query.split("&")]
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    )
    body += b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\n' + clip
    answer = post(
        videos,
        query=f"?format={format}",
        content=body + b"\r\n--b--\r\n",
        headers={"Content-Type": FORM},
    )
    assert error_of(answer) == (status, code)


def test_an_option_behind_the_file_counts_where_nothing_is_streamed(videos, clip: bytes) -> None:
    fields = [("video", ("v", clip)), ("every_s", (None, "1"))]
    assert len(post(videos, files=fields).json()["frames"]) == 3
    assert error_of(post(videos, files=[*fields, ("every_s", (None, "2"))])) == (
        400, "duplicate_field",
    )  # fmt: skip


@pytest.mark.parametrize("format", ["json", "ndjson", "vtt"])
def test_what_is_too_much_names_the_jobs(videos, make_clip, format: str) -> None:
    long = make_clip([("red", 8.0)])
    refused = [
        post(videos, long, f"?format={format}"),
        post(videos, make_clip([("red", 4.5)]), f"?format={format}&every_s=0"),
        post(videos, long + bytes(400_000), f"?format={format}"),
        post(videos, query=f"?format={format}", content=iter([long, *[bytes(200_000)] * 4]),
             headers={"Content-Type": "video/mp4"}),
    ]  # fmt: skip
    codes = [error_of(answer) for answer in refused]
    assert codes == [(413, "use_jobs")] * 2 + [(413, "payload_too_large")] * 2
    for answer in refused:
        assert "/frames/jobs" in answer.json()["error"]["message"]


def test_a_deadline_ends_the_work(videos, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that would take: here until the answer has come."""
    task = videos.runtime.models["frames"].task
    encode, answered = task.encode, threading.Event()
    monkeypatch.setattr(task, "encode", lambda pixels: (answered.wait(60), encode(pixels))[1])
    answer = post(videos, clip, headers={"X-Timeout-Ms": "300"})
    answered.set()
    assert error_of(answer) == (503, "deadline_exceeded")
    assert error_of(post(videos, clip, headers={"X-Timeout-Ms": "5"})) == (400, "invalid_header")
    monkeypatch.undo()
    assert post(videos, clip).status_code == 200


def test_a_fault_of_the_model_is_a_typed_500_and_the_last_record_of_a_stream(
    videos, kit, make_clip, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = videos.runtime.models["frames"].task
    encode, calls = task.encode, []

    def fail(pixels):
        calls.append(len(pixels))
        if len(calls) > 2:
            raise RuntimeError("a secret")
        return encode(pixels)

    monkeypatch.setattr(task, "encode", fail)
    *labelled, last = events(post(videos, clip, "?format=ndjson"))
    assert 1 <= len(labelled) <= 3
    assert last["error"]["code"] == "internal"
    assert "secret" not in str(last)
    assert error_of(post(videos, clip)) == (500, "internal")
    monkeypatch.undo()
    assert post(videos, clip).status_code == 200
    with videos.client() as client:
        assert client.get("/readyz").status_code == 200


def test_without_a_bundle_only_videos_are_gone(kit, bundles: Path, clip: bytes) -> None:
    def load_captions(task: str, model: str | None):
        return load(task, model=str(bundles / "caption") if task == "caption" else "absent")

    with kit.running(load=load_captions) as service, service.client() as client:
        assert error_of(post(service, clip)) == (404, "model_not_available")
        assert error_of(client.post("/frames/jobs", files={"video": clip})) == (
            404, "model_not_available",
        )  # fmt: skip
        assert client.post("/caption", files={"image": kit.photo()}).status_code == 200
        states = {m["task"]: m["state"] for m in client.get("/models").json()["models"]}
        assert (states["caption"], states["frames"]) == ("ready", "missing")
        assert client.get("/status").json()["state"] == "ready"
        assert client.get("/readyz").status_code == 200


def test_captions_without_a_captioner_are_refused(kit, bundles: Path, clip: bytes) -> None:
    def load_frames(task: str, model: str | None):
        return load(task, model=str(bundles / "frames") if task == "frames" else "absent")

    with kit.running(load=load_frames) as service:
        assert error_of(post(service, clip, "?captions=1")) == (404, "model_not_available")
        assert post(service, clip).status_code == 200


def test_a_directory_that_cannot_be_used_takes_only_videos_with_it(
    kit, bundles: Path, clip: bytes, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file, no directory")
    with (
        kit.running(**kit.load_from(bundles), state_dir=str(tmp_path / "state")) as service,
        service.client() as client,
    ):
        for path in ("/frames", "/frames/jobs"):
            answer = client.post(path, files={"video": clip})
            assert error_of(answer) == (503, "storage_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert error_of(client.get(f"/frames/jobs/{'0' * 32}")) == (503, "storage_unavailable")
        assert client.post("/caption", files={"image": kit.photo()}).status_code == 200


def test_what_was_labelled_is_counted(videos, clip: bytes) -> None:
    def count() -> float:
        with videos.client() as client:
            lines = client.get("/metrics").text.splitlines()
        [line] = [line for line in lines if line.startswith("captioner_frames_labelled_total")]
        return float(line.split()[-1])

    before = count()
    post(videos, clip, "?every_s=0.5")
    post(videos, clip, "?every_s=0.5&format=ndjson")
    assert count() == before + 12
