"""Labels while the video is still arriving: how soon, and what happens when it goes wrong."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving import edge

FASTSTART = {"movflags": "faststart"}
LONG = [("red", 1.5), ("blue", 1.5), ("green", 1.0)]
STATE = "captioner-state-of-streams"


@pytest.fixture(scope="module")
def videos(kit, bundles: Path, tmp_path_factory: pytest.TempPathFactory):
    """A service that labels at most 5 seconds, of two videos at a time."""
    settings = {
        "state_dir": str(tmp_path_factory.mktemp(STATE)),
        "frames_max_s": 5.0,
        "frames_streams": 2,
        "frames_queue": 1,
        "stall_timeout_s": 1.0,
    }
    with kit.running(**kit.load_from(bundles), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def clips(make_clip) -> dict[str, bytes]:
    """Four seconds in every container that can be read in order, some 100 kB each."""
    return {
        "mp4": faststart(make_clip(LONG, noise=30)),
        "mpegts": make_clip(LONG, noise=30, container="mpegts"),
        "matroska": make_clip(LONG, noise=30, container="matroska"),
    }


def faststart(clip: bytes) -> bytes:
    """The same MP4 with its index before its pictures."""
    import io
    import tempfile

    import av

    with (
        tempfile.NamedTemporaryFile(suffix=".mp4") as file,
        av.open(io.BytesIO(clip)) as source,
        av.open(file.name, "w", format="mp4", options=FASTSTART) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
        target.close()
        return Path(file.name).read_bytes()


@dataclass
class Duplex:
    """A client that sends and hears at the same time."""

    connection: socket.socket
    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, dict]] = field(default_factory=list)
    head: bytes = b""
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, data: bytes) -> None:
        self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def kinds(self) -> list[str]:
        return [line["type"] for _, line in self.lines]

    def _listen(self) -> None:
        file = self.connection.makefile("rb")
        try:
            while (line := file.readline().strip()) or not self.head:
                if not line:
                    break
                self.head += line + b"\n"
            for line in file:
                if line.startswith(b"{"):
                    self.lines.append((time.monotonic() - self.began, json.loads(line)))
        except OSError:
            pass
        self.ended.set()


@pytest.fixture
def duplex(videos) -> Iterator[Callable[..., Duplex]]:
    opened: list[socket.socket] = []

    def start(
        query: str = "format=ndjson&every_s=0.1", kind: str = "video/mp4", header: str = ""
    ) -> Duplex:
        connection = videos.connection()
        opened.append(connection)
        connection.sendall(
            f"POST /frames?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            f"Transfer-Encoding: chunked\r\nConnection: close\r\n{header}\r\n".encode()
        )
        return Duplex(connection)

    yield start
    for connection in opened:
        connection.close()


@pytest.fixture(autouse=True)
def nothing_is_left(videos, kit):
    """After each test no thread labels, no byte is held and no file of an upload is open."""
    yield
    runtime = videos.runtime
    streams = runtime.models["frames"].streams
    kit.wait_until(lambda: streams._taken == 0 and runtime.uploads == 0)
    assert runtime.video_budget.held == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("captioner-")]
    kit.wait_until(lambda: not open_uploads())
    assert list((Path(runtime.settings.state_dir) / "uploads").iterdir()) == []


def open_uploads() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(descriptor))
        except OSError:
            continue
    return [name for name in found if STATE in name and "/uploads/" in name]


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
def test_the_first_label_comes_while_the_rest_is_still_to_come(
    kit, duplex, clips, container: str
) -> None:
    clip = clips[container]
    client = duplex()
    client.send(clip[: len(clip) // 2])
    kit.wait_until(lambda: len(client.lines) >= 5)
    assert client.head.startswith(b"HTTP/1.1 200")
    assert b"x-request-id" in client.head
    client.send(clip[len(clip) // 2 :])
    client.finish()
    assert client.ended.wait(20)
    assert client.kinds() == ["frame"] * 40 + ["summary"]
    assert client.lines[-1][1]["truncated"] is False
    assert [s["label"] for s in client.lines[-1][1]["segments"]] == ["red", "blue", "green"]


def test_a_client_that_sends_slowly_hears_something_within_a_second(duplex, clips) -> None:
    """At the speed at which the video plays; the first quarter of a second is its header."""
    clip = clips["mp4"]
    client = duplex()
    pieces = 40
    for number in range(pieces):
        client.send(clip[len(clip) * number // pieces : len(clip) * (number + 1) // pieces])
        time.sleep(0.05)
    client.finish()
    assert client.ended.wait(20)
    assert client.lines[0][0] < 1, "of 2 seconds that the upload took"
    assert client.kinds()[-1] == "summary"


def test_what_needs_its_end_is_labelled_once_it_is_here(kit, duplex, make_clip) -> None:
    clip = make_clip(LONG, noise=30)
    client = duplex()
    client.send(clip[: len(clip) // 2])
    time.sleep(0.3)
    assert not client.lines
    client.send(clip[len(clip) // 2 :])
    client.finish()
    sent = time.monotonic() - client.began
    assert client.ended.wait(20)
    assert client.lines[0][0] - sent < 1
    assert client.kinds() == ["frame"] * 40 + ["summary"]


def test_server_sent_events_come_as_early(kit, videos, clips) -> None:
    clip = clips["mpegts"]
    with videos.connection() as connection:
        connection.sendall(
            b"POST /frames?every_s=0.1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"Content-Type: video/mp2t\r\nContent-Length: %d\r\n\r\n" % len(clip)
        )
        connection.sendall(clip[: len(clip) // 2])
        heard = b""
        while b"event: frame\r\n" not in heard.replace(b"\n", b"\r\n"):
            heard += connection.recv(4096)
        assert b"content-type: text/event-stream" in heard.lower()
        connection.sendall(clip[len(clip) // 2 :])
        heard += kit.read_all(connection)
    assert b"data: [DONE]" in heard
    assert heard.count(b"event: frame") == 40


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for name, content in parts:
        file = b'; filename="v"' if name == "video" else b""
        body += b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (
            name.encode(),
            file,
        )
        body += content + b"\r\n"
    return body + b"--b--\r\n"


def test_a_form_is_read_as_it_comes_too(kit, duplex, clips) -> None:
    body = form(("every_s", b"0.5"), ("format", b"ndjson"), ("video", clips["mpegts"]))
    client = duplex("", "multipart/form-data; boundary=b")
    client.send(body[: len(body) // 2])
    kit.wait_until(lambda: len(client.lines) >= 2)
    client.send(body[len(body) // 2 :])
    client.finish()
    assert client.ended.wait(20)
    assert client.kinds() == ["frame"] * 8 + ["summary"]


def test_an_option_that_comes_too_late_is_an_error(kit, duplex, clips) -> None:
    body = form(("format", b"ndjson"), ("video", clips["mpegts"]), ("every_s", b"0.5"))
    client = duplex("", "multipart/form-data; boundary=b")
    client.send(body[: len(body) // 2])
    kit.wait_until(lambda: client.lines)
    client.send(body[len(body) // 2 :])
    client.finish()
    assert client.ended.wait(20)
    last = client.lines[-1][1]
    assert last["error"]["code"] == "late_field"
    assert "every_s" in last["error"]["message"]


def test_a_length_that_shows_on_the_way_ends_the_stream_with_an_error(
    kit, duplex, make_clip
) -> None:
    """A transport stream does not say how long it is."""
    clip = make_clip([("red", 7.0)], noise=30, container="mpegts")
    client = duplex("format=ndjson&every_s=0.5")
    client.send(clip[: len(clip) // 4])
    kit.wait_until(lambda: client.lines)
    client.send(clip[len(clip) // 4 :])
    client.finish()
    assert client.ended.wait(20)
    *labelled, (_, last) = client.lines
    assert len(labelled) == 11
    assert last["error"]["code"] == "use_jobs"
    assert last["error"]["request_id"]


def test_an_upload_that_stops_coming_ends_the_stream(
    kit, duplex, clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "LINGER_S", 0.2)
    client = duplex()
    client.send(clips["mp4"][: len(clips["mp4"]) // 2])
    kit.wait_until(lambda: client.lines)
    assert client.ended.wait(20)
    assert client.lines[-1][1]["error"]["code"] == "request_timeout"


def test_the_deadline_counts_from_the_last_byte(
    kit, videos, duplex, clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends the stream, whatever is being worked on: here a chunk that takes until then."""
    task = videos.runtime.models["frames"].task
    encode, chunks = task.encode, []

    def stall(pixels):
        chunks.append(len(pixels))
        if len(chunks) > 1:
            client.ended.wait(60)
        return encode(pixels)

    monkeypatch.setattr(task, "encode", stall)
    client = duplex(header="X-Timeout-Ms: 300\r\n")
    client.send(clips["mp4"][: len(clips["mp4"]) // 2])
    kit.wait_until(lambda: client.lines)
    client.send(clips["mp4"][len(clips["mp4"]) // 2 :])
    client.finish()
    assert client.ended.wait(20)
    assert client.kinds() == ["frame", "error"]
    assert client.lines[-1][1]["error"]["code"] == "deadline_exceeded"


def test_a_video_that_is_cut_off_keeps_its_labels(kit, duplex, clips) -> None:
    clip = clips["mpegts"]
    client = duplex()
    client.send(clip[: len(clip) // 2])
    kit.wait_until(lambda: client.lines)
    client.send(clip[len(clip) // 2 : len(clip) * 3 // 4])
    client.finish()
    assert client.ended.wait(20)
    assert client.lines[-1][1]["type"] == "summary"
    assert client.lines[-1][1]["truncated"] is True
    assert len(client.lines) > 20


def test_what_is_no_video_is_refused_before_all_of_it_has_come(kit, videos) -> None:
    for format in ("ndjson", "json"):
        with videos.connection() as connection:
            connection.sendall(
                f"POST /frames?format={format} HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: video/mp4\r\nContent-Length: 10000000\r\n\r\n".encode()
            )
            connection.sendall(b"not a video" * 1000)
            began = time.monotonic()
            answer = b""  # the head and the body may come one after the other
            while b"unsupported_video_format" not in answer:
                received = connection.recv(4096)
                assert received, f"closed after {answer!r}"
                answer += received
            assert time.monotonic() - began < 1
        assert answer.startswith(b"HTTP/1.1 415")


@pytest.mark.parametrize("moment", ["in the head", "while sending", "while labelling", "waiting"])
@pytest.mark.parametrize("format", ["ndjson", "json"])
def test_a_client_that_leaves_stops_the_work(
    kit, videos, duplex, clips, monkeypatch: pytest.MonkeyPatch, moment: str, format: str
) -> None:
    task, clip = videos.runtime.models["frames"].task, clips["mp4"]
    encode, encoded = task.encode, []

    def slowly(pixels):
        encoded.append(len(pixels))
        time.sleep(0.1)
        return encode(pixels)

    monkeypatch.setattr(task, "encode", slowly)
    holding = []
    if moment == "waiting":
        holding = [duplex("format=json&every_s=0.1") for _ in range(2)]
        for one in holding:
            one.send(clip)
            one.finish()
        kit.wait_until(lambda: videos.runtime.models["frames"].streams._taken == 2)
    client = duplex(f"format={format}&every_s=0.1")
    if moment == "in the head":
        client.send(clip[:1000])
    elif moment == "while sending":
        client.send(clip[: len(clip) // 2])
        kit.wait_until(lambda: client.lines or format == "json")
    else:
        client.send(clip)
        client.finish()
        if moment == "while labelling":
            kit.wait_until(lambda: encoded)
        else:
            kit.wait_until(lambda: videos.runtime.models["frames"].waiting == 1)
    client.connection.shutdown(socket.SHUT_RDWR)
    client.connection.close()
    streams = videos.runtime.models["frames"].streams
    kit.wait_until(lambda: streams._taken == len([h for h in holding if not h.ended.is_set()]))
    if moment in ("while sending", "while labelling"):
        assert sum(encoded) < 40, "it was not labelled to its end"
    for one in holding:
        assert one.ended.wait(20)
    monkeypatch.undo()
    again = duplex()
    again.send(clip)
    again.finish()
    assert again.ended.wait(20)
    assert again.kinds()[-1] == "summary", "the next one works"


def test_a_slow_upload_holds_up_nobody(kit, videos, duplex, clips) -> None:
    """One place may be taken by uploads under way; the next slow one waits for its end."""
    half = len(clips["mp4"]) // 2
    slow = [duplex() for _ in range(3)]
    for one in slow:
        one.send(clips["mp4"][:half])
    kit.wait_until(lambda: any(one.lines for one in slow))
    with videos.client() as client:
        answer = client.post("/frames", files={"video": clips["mpegts"]})
        assert answer.status_code == 200
    assert sum(bool(one.lines) for one in slow) == 1
    for one in slow:
        one.send(clips["mp4"][half:])
        one.finish()
    for one in slow:
        assert one.ended.wait(20)
        assert one.kinds() == ["frame"] * 40 + ["summary"]


def test_more_than_can_wait_is_refused(kit, videos, duplex, clips, monkeypatch) -> None:
    gate = threading.Event()
    task = videos.runtime.models["frames"].task
    encode = task.encode
    monkeypatch.setattr(task, "encode", lambda pixels: (gate.wait(20), encode(pixels))[1])
    streams = videos.runtime.models["frames"].streams
    clients = []
    for number in range(3):
        client = duplex("format=vtt")
        client.send(clips["mp4"])
        client.finish()
        clients.append(client)
        kit.wait_until(lambda number=number: streams._taken + streams.depth == number + 1)
    with videos.client() as client:
        answer = client.post("/frames", files={"video": clips["mp4"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    gate.set()
    assert all(client.ended.wait(20) for client in clients)
    assert all(client.head.startswith(b"HTTP/1.1 200") for client in clients)


def test_too_many_uploads_at_a_time_are_refused(kit, videos, clips) -> None:
    from dataclasses import replace

    runtime = videos.runtime
    before = runtime.settings
    runtime.settings = replace(before, max_uploads=2)
    try:
        opened = [videos.connection() for _ in range(2)]
        for connection in opened:
            connection.sendall(
                b"POST /frames HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
                b"Content-Length: 1000000\r\n\r\n" + clips["mp4"][:100]
            )
        kit.wait_until(lambda: runtime.uploads == 2)
        with videos.client() as client:
            answer = client.post("/frames", files={"video": clips["mp4"]})
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
        for connection in opened:
            connection.close()
        kit.wait_until(lambda: runtime.uploads == 0)
    finally:
        runtime.settings = before


def test_a_client_that_leaves_is_counted_as_one(kit, videos, duplex, clips) -> None:
    def gone() -> float:
        with videos.client() as client:
            text = client.get("/metrics").text
        lines = [line for line in text.splitlines() if 'code="499"' in line and "_total" in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if '"/frames"' in line)

    before = gone()
    client = duplex()
    client.send(clips["mp4"][: len(clips["mp4"]) // 2])
    kit.wait_until(lambda: client.lines)
    client.connection.shutdown(socket.SHUT_RDWR)
    kit.wait_until(lambda: gone() == before + 1)
