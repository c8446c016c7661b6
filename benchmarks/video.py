"""Labels for videos, against what the machine could do at best: ``python -m benchmarks.video``.

The clips are made by code. Of a 720p H.264 clip, decoding (with the step to the encoder's pixels)
and encoding are timed alone, in CPU-seconds per labelled frame; what they need together, over all
cores, is the best there is. ``--only`` takes single parts: ``rate`` (5 frames a second), ``every``
(every frame), ``keys``, ``first``, ``http`` (the first label from a real service, ``python -m
serving``), ``memory`` (which labels an hour of video, and takes minutes).

Where no bundle for ``frames`` is installed, a labeller of random weights on the captioner's encoder
stands in: it computes as much.
"""

from __future__ import annotations

import argparse
import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from skimage import data

from benchmarks.measure import Timing, in_turns, report, spread
from benchmarks.service import running
from captioner.bundle import find_bundle, open_bundle, write_bundle
from captioner.errors import MissingBundle
from captioner.models.video_labeller import VideoLabeller
from captioner.tasks.frame_options import FrameLabels, FrameOptions
from captioner.tasks.frames import FramesTask
from captioner.vision.video import open_video

PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")
PARTS = ("rate", "every", "keys", "first", "http", "memory")
Row = tuple[str, float, str, dict[str, Timing]]


def write_clip(
    path: Path,
    seconds: float,
    *,
    size: tuple[int, int] = (1280, 720),
    fps: int = 25,
    index_first: bool = True,
) -> Path:
    """H.264 in MP4: pans over photos, a cut every three seconds."""
    width, height = size
    photos = [
        Image.fromarray(getattr(data, name)()).resize((width * 5 // 4, height * 5 // 4))
        for name in PHOTOS
    ]
    flags = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", format="mp4", container_options=flags) as output:
        stream = output.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 2 * fps
        for number in range(round(seconds * fps)):
            photo = photos[number // (3 * fps) % len(photos)]
            way = number % (3 * fps) / (3 * fps)
            left, top = round(way * (photo.width - width)), round(way * (photo.height - height))
            picture = photo.crop((left, top, left + width, top + height))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def labeller(place: Path) -> FramesTask:
    """The bundle that is installed, or what stands in for it."""
    try:
        return FramesTask(find_bundle("frames"))
    except MissingBundle:
        caption = find_bundle("caption")
    torch.manual_seed(0)
    model = {
        "encoder": caption.model["encoder"],
        "labeller": {"cell": "lstm", "hidden_size": 256, "multi_label": True},
        "num_classes": 150,
    }
    state = VideoLabeller(**model).state_dict()
    state |= {name: value for name, value in caption.state().items() if name in state}
    write_bundle(
        place,
        name="stand-in",
        version="0",
        task="frames",
        model=model,
        state=state,
        assets={"labels.json": json.dumps([str(number) for number in range(150)])},
        preprocessing=caption.preprocessing(),
        decoding={"every_s": 0.2, "smoothing": {"kind": "hysteresis", "off": 0.4}},
        metrics={},
        card={},
        readme="",
        licence="",
    )
    return FramesTask(open_bundle(place / "stand-in"))


def rate(task: FramesTask, place: Path, rounds: int) -> Iterator[Row]:
    """Five frames of each second."""
    yield _rate(task, write_clip(place / "rate.mp4", 30), rounds, every_s=0.2, name="5 frames/s")


def every(task: FramesTask, place: Path, rounds: int) -> Iterator[Row]:
    """All frames there are."""
    yield _rate(task, write_clip(place / "every.mp4", 10), rounds, every_s=0.0, name="every frame")


def _rate(task: FramesTask, clip: Path, rounds: int, *, every_s: float, name: str) -> Row:
    """Labelled frames a second, against cores over the CPU-seconds of the parts."""
    pixels = _pixels(task, clip)
    with open_video(clip, every_s=every_s or None) as frames:
        count = sum(1 for _ in frames)
    decoded, encoded, walls, used = [], [], [], []
    for turn in range(rounds + 1):
        cpu = _cpu_of(lambda: _decode(task, clip, every_s))
        one = _cpu_of(lambda: _encode(task, pixels)) / len(pixels) / task.chunk_frames
        started, before = time.perf_counter(), time.process_time()
        result = task(clip, every_s=every_s)
        wall, whole = time.perf_counter() - started, time.process_time() - before
        assert len(result.frames) == count
        if turn:
            decoded.append(cpu / count * 1000)
            encoded.append(one * 1000)
            walls.append(wall / count * 1000)
            used.append(whole / count * 1000)
    timings = {
        "decoding alone, CPU per labelled frame": spread(decoded),
        "encoding alone, CPU per labelled frame": spread(encoded),
        "all, CPU per labelled frame": spread(used),
        "all, wall per labelled frame": spread(walls),
    }
    best = (
        timings["decoding alone, CPU per labelled frame"].median
        + timings["encoding alone, CPU per labelled frame"].median
    ) / torch.get_num_threads()
    what = f"720p, {name}: labelled frames/s / best of all cores"
    return what, best / spread(walls).median, "at least 0.85", timings


def keys(task: FramesTask, place: Path, rounds: int) -> Iterator[Row]:
    """Key frames against every frame, on a clip of 30 seconds."""
    clip = write_clip(place / "30s.mp4", 30, size=(640, 360))
    sides: dict[str, Callable[[], object]] = {
        "every frame": lambda: task(clip, every_s=0),
        "key frames": lambda: task(clip, key_frames=True),
    }
    found = in_turns(sides, max(1, rounds // 3))
    ratio = found["every frame"].median / found["key frames"].median
    yield "30 s: every frame / key frames", ratio, "at least 4", found


def first(task: FramesTask, place: Path, rounds: int) -> Iterator[Row]:
    """Seconds to the first label: of a file read in order, and of one that has to be whole."""
    clip = write_clip(place / "first.mp4", 12).read_bytes()

    class Upload(io.BytesIO):
        def seekable(self) -> bool:
            return False

    def label(video: Any) -> None:
        with task.stream(video) as stream:
            assert isinstance(next(stream), FrameLabels)

    found = in_turns(
        {"in order": lambda: label(Upload(clip)), "whole": lambda: label(clip)}, rounds
    )
    for name, timing in found.items():
        shown = {f"720p, {name}": timing}
        yield f"seconds to the first label, {name}", timing.median / 1000, "at most 1", shown


def over_http(place: Path, rounds: int) -> Iterator[Row]:
    """The same of a real service: half of a file is sent, the rest only after the first label."""
    in_order = write_clip(place / "in_order.mp4", 12).read_bytes()
    whole = write_clip(place / "whole.mp4", 12, index_first=False).read_bytes()
    half = len(in_order) // 2
    with running() as service:
        for name, sides in (
            ("half of it sent, from the first byte", (b"", in_order[:half], in_order[half:])),
            ("index at its end, from the last byte", (whole, b"", b"")),
        ):
            found = [_first_label_ms(service.port, *sides) for _ in range(rounds + 1)][1:]
            timing = spread(found)
            what = f"HTTP, seconds to the first label, {name}"
            yield what, timing.median / 1000, "at most 1", {f"720p, {name}": timing}


def _first_label_ms(port: int, before: bytes, first: bytes, rest: bytes) -> float:
    """From when ``before`` was sent until the first label, which comes ahead of ``rest``."""
    head = (
        "POST /frames?format=ndjson HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
        f"Connection: close\r\nContent-Length: {len(before) + len(first) + len(rest)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head.encode() + before)
        began, answer = time.perf_counter(), b""
        client.sendall(first)
        while b'"type": "frame"' not in answer:
            piece = client.recv(2**16)
            if not piece:
                raise SystemExit(f"The service answered {answer.decode()}")
            answer += piece
        took = time.perf_counter() - began
        client.sendall(rest)
        while client.recv(2**16):
            pass
    return took * 1000


def memory(place: Path) -> Iterator[Row]:
    """Peak memory of a process that labels a minute of video, and an hour, a frame a second."""
    peaks = {}
    for minutes in (1, 60):
        clip = write_clip(place / f"{minutes}.mp4", 60 * minutes, size=(160, 90), fps=5)
        command = [sys.executable, "-m", "benchmarks.video", "--peak", str(clip)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[minutes] = float(run.stdout)
    yield (
        f"peak memory, 60 minutes ({peaks[60]:.0f} MB) / 1 minute ({peaks[1]:.0f} MB)",
        peaks[60] / peaks[1],
        "1.0",
        {},
    )


def peak(clip: str) -> None:
    """Prints the most resident MB of this process while it labels a clip as a stream."""
    with tempfile.TemporaryDirectory() as place:
        task = labeller(Path(place))
        # From here on: what loading took for a moment does not count.
        Path("/proc/self/clear_refs").write_text("5")
        with task.stream(clip, FrameOptions(every_s=1.0)) as stream:
            for _ in stream:
                pass
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))


def _pixels(task: FramesTask, clip: Path) -> list[torch.Tensor]:
    """Up to twenty chunks as the pipeline encodes them."""
    with open_video(clip, every_s=0.2, target_size=task.preprocessing.target_size()) as frames:
        pixels = [task.preprocessing.pixels(frame.image) for frame in frames]
    size = task.chunk_frames
    return [torch.stack(pixels[n : n + size]) for n in range(0, len(pixels) - size + 1, size)][:20]


def _decode(task: FramesTask, clip: Path, every_s: float) -> None:
    target = task.preprocessing.target_size()
    with open_video(clip, every_s=every_s or None, target_size=target) as frames:
        for frame in frames:
            task.preprocessing.pixels(frame.image)


def _encode(task: FramesTask, chunks: list[torch.Tensor]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for chunk in chunks:
            task.encode(chunk)
    torch.set_num_threads(threads)


def _cpu_of(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        peak(chosen.peak)
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        task = labeller(place)
        for part, measure in (("rate", rate), ("every", every), ("keys", keys), ("first", first)):
            if part in chosen.only:
                rows += measure(task, place, chosen.rounds)
        if "http" in chosen.only:
            rows += over_http(place, chosen.rounds)
        if "memory" in chosen.only:
            rows += memory(place)
        report(f"Labels for videos, {task.model}", rows)


if __name__ == "__main__":
    main()
