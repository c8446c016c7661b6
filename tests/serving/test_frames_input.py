"""What a client may send as a video and what it is told, over real HTTP: one case a line.

Each is sent as a form, as a raw body whose labels are streamed, and as a job. After each no byte of
it is kept, and the next request works.
"""

from __future__ import annotations

import csv
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image


def video(
    container: str = "mp4",
    codec: str = "libx264",
    *,
    times: list[int] | None = None,
    sound: bool = False,
    picture: bool = True,
    noise: bool = False,
) -> bytes:
    """Twenty frames of 64 x 48, at 10 a second or at these milliseconds; with sound, or only it."""
    buffer = io.BytesIO()
    randomly = np.random.default_rng(0)
    with av.open(buffer, "w", format=container) as output:
        stream = tone = None
        if picture:
            stream = output.add_stream(codec, rate=10)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = {"mjpeg": "yuvj420p", "cinepak": "rgb24"}.get(codec, "yuv420p")
            stream.codec_context.time_base = Fraction(1, 1000)
        if sound:
            tone = output.add_stream("aac", rate=8000, layout="mono")
        for shown in times or range(0, 2000, 100):
            pixels = np.full((48, 64, 3), (200, 30, 30), np.uint8)
            if noise:
                pixels = randomly.integers(0, 256, pixels.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = shown, Fraction(1, 1000)
            if stream is not None:
                output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), "fltp", "mono")
            silence.rate, silence.pts = 8000, 0
            output.mux([*tone.encode(silence), *tone.encode(None)])
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, kind)
    return buffer.getvalue()


def with_rate(scale: int, rate: int) -> bytes:
    data = bytearray(video("avi", "mpeg4"))
    place = data.index(b"strh") + 8 + 20  # dwScale and dwRate of the stream's header
    data[place : place + 8] = struct.pack("<II", scale, rate)
    return bytes(data)


def said_to_be(width: int, height: int) -> bytes:
    data = bytearray(video("avi", "mjpeg"))
    place = data.index(b"strf") + 12
    data[place : place + 8] = struct.pack("<II", width, height)
    return bytes(data)


def flipped(seed: int) -> bytes:
    data, randomly = bytearray(video("matroska", noise=True)), random.Random(seed)
    for _ in range(30):
        data[randomly.randrange(len(data))] ^= 1 << randomly.randrange(8)
    return bytes(data)


def cut(container: str, share: float) -> bytes:
    data = video(container, noise=True)
    return data[: int(len(data) * share)]


@dataclass
class Case:
    """What is sent, and what is answered: a status with an error's code, or 200 with a number of
    frames (None: any). ``truncated``: what the answer says.
    """

    id: str
    make: Callable[[], bytes]
    status: int = 200
    code: str = ""
    frames: int | None = None
    truncated: bool | None = None
    job: int | None = None  # the status of a job, where it is another


SECRET = "file:///etc/passwd"
CASES = [
    Case("mp4", video, frames=20, truncated=False),
    Case("sound-beside-it", lambda: video(sound=True), frames=20),
    Case("variable-rate", lambda: video("matroska", times=[0, 40, 500, 510, 2000]), frames=5),
    # By its header it has 1000 frames a second, 2000 in all; by its index the 20 that there are.
    Case("no-rate", lambda: with_rate(1, 0), frames=20, truncated=False),
    Case("no-rate-and-no-scale", lambda: with_rate(0, 0), frames=20),
    Case("a-frame-in-an-hour", lambda: with_rate(3600, 1), 413, "use_jobs", job=413),
    Case("empty", lambda: b"", 400, "empty_file"),
    Case("random", lambda: random.Random(0).randbytes(20_000), 415, "unsupported_video_format"),
    Case("one-byte", lambda: b"\0", 415, "unsupported_video_format"),
    Case("a-jpeg", lambda: picture("JPEG"), 415, "unsupported_video_format"),
    Case("a-png", lambda: picture("PNG"), 415, "unsupported_video_format"),
    Case("a-gif-of-one-frame", lambda: picture("GIF"), frames=1),
    Case("cut-without-index", lambda: cut("mp4", 0.5), 422, "invalid_video"),
    Case("cut-with-index", lambda: cut("matroska", 0.5), truncated=True),
    Case("cut-transport-stream", lambda: cut("mpegts", 0.5)[:-50], truncated=True),
    Case("header-alone", lambda: video("matroska")[:300], 422, "invalid_video"),
    *[Case(f"flipped-{seed}", lambda seed=seed: flipped(seed), 0) for seed in range(6)],
    Case("no-video-stream", lambda: video(sound=True, picture=False), 422, "no_video_stream"),
    Case("a-codec-of-long-ago", lambda: video("avi", "cinepak"), 415, "unsupported_video_format"),
    Case("8000-by-8000", lambda: said_to_be(8000, 8000), 413, "video_too_large"),
    Case("30000-by-30000", lambda: said_to_be(30000, 30000), 413, "video_too_large"),
    Case("ten-hours", lambda: video("matroska", times=[0, 100, 36_000_000]), 413, "use_jobs"),
    Case("two-minutes", lambda: video("matroska", times=[0, 100, 120_000]), 413, "use_jobs",
         job=202),
    Case("playlist", lambda: f"#EXTM3U\n#EXTINF:2,\n{SECRET}\n#EXT-X-ENDLIST\n".encode(), 415,
         "unsupported_video_format"),
    Case("concat", lambda: f"ffconcat version 1.0\nfile '{SECRET}'\n".encode(), 415,
         "unsupported_video_format"),
    Case("session", lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", 415,
         "unsupported_video_format"),
    Case("url", lambda: b"http://127.0.0.1:9/clip.mp4", 400, "not_a_file"),
    Case("path", lambda: b"/etc/passwd", 415, "unsupported_video_format"),
]  # fmt: skip


@pytest.fixture(scope="module")
def send(service, kit):
    """Everything that a case's bytes are sent as."""

    def of(body: bytes, query: str = "?every_s=0") -> dict[str, httpx.Response]:
        with service.client() as client:
            raw = {"content": body, "headers": {"Content-Type": "video/mp4"}}
            answers = {
                "form": client.post(f"/frames{query}", files={"video": ("a.m3u8", body)}),
                "stream": client.post(f"/frames{query}&format=ndjson", **raw),
                "job": client.post(f"/frames/jobs{query}", **raw),
            }
            if "location" in answers["job"].headers:
                client.delete(answers["job"].headers["location"])
            status = client.get("/status").json()
            assert status["videos_arriving"] == 0
            assert status["jobs"].get("queued", 0) == 0
        if service.runtime is not None:
            uploads = Path(service.runtime.settings.state_dir) / "uploads"
            kit.wait_until(lambda: not [*uploads.iterdir()])
        return answers

    return of


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_video(send, kit, case: Case) -> None:
    answers = send(case.make())
    for how, answer in answers.items():
        status = case.job if how == "job" and case.job else case.status
        if status == 0:  # damage: whatever came out of it, or a typed error
            assert answer.status_code in (200, 202, 415, 422), answer.text
        elif status == 200:
            assert answer.status_code == (202 if how == "job" else 200), answer.text
        else:
            assert answer.status_code == status, (how, answer.text)
        if answer.status_code >= 400:
            code = answer.json()["error"]["code"]
            assert code == case.code or status == 0 or how != "form"
            assert "/etc" not in answer.text
    if answers["form"].status_code == 200:
        body = answers["form"].json()
        assert case.frames in (None, len(body["frames"]))
        assert case.truncated in (None, body["truncated"])
        lines = [json.loads(line) for line in answers["stream"].text.splitlines()]
        assert [line["type"] for line in lines[:-1]] == ["frame"] * len(body["frames"])
        assert lines[-1]["type"] == "summary"
        assert lines[-1]["truncated"] == body["truncated"]


FORM = "multipart/form-data; boundary=b"


def form(*parts: tuple[str, bytes], close: bool = True) -> bytes:
    body = b"".join(b"--b\r\nContent-Disposition: form-data; name=" + name.encode() + b"\r\n\r\n"
                    + content + b"\r\n" for name, content in parts)  # fmt: skip
    return body + (b"--b--\r\n" if close else b"")


FILE = '"video"; filename="../../clip.mp4"'


@pytest.mark.parametrize("path", ["/frames", "/frames/jobs", "/frames?format=ndjson"])
@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (form(('"clip"; filename="a"', b"x" * 5000)), FORM, 400, "missing_field"),
        (form(("every_s", b"1")), FORM, 400, "missing_field"),
        (form(("video", b"/etc/passwd")), FORM, 400, "not_a_file"),
        (form(("video", b"http://127.0.0.1:9/")), FORM, 400, "not_a_file"),
        (form((FILE, b"")), FORM, 400, "empty_file"),
        (form(("size", b"1"), (FILE, b"")), FORM, 400, "unknown_field"),
        (form(('"every_s"; filename="a"', b"1"), (FILE, b"")), FORM, 400, "invalid_multipart"),
        (form((FILE, b"x"), close=False), FORM, 400, "invalid_multipart"),
        (form((FILE, b"x")), "multipart/form-data", 400, "invalid_multipart"),
        (b"", "video/mp4", 400, "empty_body"),
        (b"x", "image/jpeg", 415, "unsupported_media_type"),
        (b"x", "text/plain", 415, "unsupported_media_type"),
        (b'{"video":"clip.mp4"}', "application/json", 415, "unsupported_media_type"),
        (b"video=clip.mp4", "application/x-www-form-urlencoded", 400, "not_a_file"),
        (b"GIF89a" * 100, "application/x-www-form-urlencoded", 400, "missing_field"),
    ],
    ids=["wrong-field", "no-file", "path", "url", "empty-file", "extra-field", "option-as-file",
         "not-closed", "no-boundary", "empty-body", "image", "text", "json", "urlencoded",
         "urlencoded-video"],
)  # fmt: skip
def test_bodies_that_hold_no_video(
    service, path: str, body: bytes, kind: str, status: int, code: str
) -> None:
    with service.client() as client:
        answer = client.post(path, content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert client.get("/status").json()["videos_arriving"] == 0


def test_the_field_may_come_twice_only_once(service) -> None:
    clip = video()
    body = form((FILE, clip), (FILE, clip))
    with service.client() as client:
        answer = client.post("/frames", content=body, headers={"Content-Type": FORM})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_files")


@pytest.mark.data
def test_every_real_clip_is_labelled_or_refused_in_type(service, data_dir: Path) -> None:
    folder = data_dir / "video_clips"
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    assert len(rows) > 30
    refused = {"audio_only.mp4": "no_video_stream", "broken_no_moov.mp4": "invalid_video"}
    with service.client() as client:
        for row in rows:
            name = row["file"]
            body = (folder / name).read_bytes()
            raw = {"content": body, "headers": {"Content-Type": "application/octet-stream"}}
            whole = client.post("/frames?every_s=0.5", files={"video": (name, body)})
            streamed = client.post("/frames?every_s=0.5&format=ndjson", **raw)
            if name in refused:
                assert whole.status_code == streamed.status_code == 422
                assert whole.json()["error"]["code"] == refused[name]
                assert streamed.json()["error"]["code"] == refused[name]
                continue
            assert (whole.status_code, streamed.status_code) == (200, 200), (name, whole.text)
            found = whole.json()
            assert found["truncated"] is (name == "broken_truncated.ts"), name
            lines = [json.loads(line) for line in streamed.text.splitlines()]
            assert lines[-1]["truncated"] is found["truncated"], name
            assert len(lines) - 1 == len(found["frames"]), name
            assert found["video"]["frames_read"] == int(row["frames"]), name
            first = found["frames"][0]["time_s"]
            assert first == pytest.approx(float(row["first_frame_s_pyav"]), abs=1e-3), name
        assert client.get("/status").json()["videos_arriving"] == 0
