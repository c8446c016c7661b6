from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from captioner.errors import VideoError
from captioner.explain.label_strip import label_colours
from captioner.explain.video_overlay import write_overlay


def body(end_s: float = 3.0, start_s: float = 0.0) -> dict[str, Any]:
    """One label, on from the first second to the second."""
    segment = {"label": "dog", "start_s": start_s + 1, "end_s": start_s + 2, "score": 0.9}
    return {
        "frames": [
            {"time_s": start_s + n / 2, "labels": [{"label": "dog", "score": n / 6}]}
            for n in range(6)
        ],
        "segments": [segment],
        "video": {"start_s": start_s, "end_s": start_s + end_s},
    }


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    times, pictures = [], []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            times.append(frame.time)
            pictures.append(frame.to_ndarray(format="rgb24").astype(int))
    return times, pictures


def streams_of(path: Path) -> dict[str, float]:
    with av.open(str(path)) as file:
        return {s.type: float((s.duration or 0) * (s.time_base or 0)) for s in file.streams}


def test_every_frame_is_there_at_its_time(make_clip: Callable[..., bytes], tmp_path: Path) -> None:
    times = [0, 40, 500, 1000, 1600, 2900]
    data = make_clip([("red", 0.6)], times=times)
    assert write_overlay(data, body(), tmp_path / "out.mp4") == []
    found, _ = frames_of(tmp_path / "out.mp4")
    assert found == pytest.approx([time / 1000 for time in times], abs=1e-3)


def test_names_are_drawn_while_their_label_is_on(
    make_clip: Callable[..., bytes], tmp_path: Path
) -> None:
    data = make_clip([("blue", 3.0)], size=(320, 240))
    write_overlay(data, body(), tmp_path / "out.mp4")
    _, pictures = frames_of(tmp_path / "out.mp4")
    plain = pictures[0][10:30, 10:60]
    for number, picture in enumerate(pictures):
        changed = np.abs(picture[10:30, 10:60] - plain).mean() > 20
        assert changed == (10 <= number < 20), number


def test_bars_are_as_long_as_the_scores_and_the_line_of_time_goes_on(
    make_clip: Callable[..., bytes], tmp_path: Path
) -> None:
    data = make_clip([("red", 3.0)], size=(640, 480))
    write_overlay(data, body(), tmp_path / "out.mp4")
    _, pictures = frames_of(tmp_path / "out.mp4")
    colour = np.array(label_colours(["dog"])["dog"])

    def bar(picture: np.ndarray) -> int:
        near = np.abs(picture[:60] - colour).max(-1) < 40
        return int(near.any(0).sum())

    assert bar(pictures[16]) > 1.3 * bar(pictures[11]) > 10  # scores of 3/6 and 2/6
    places = [int((p[-4:].min(-1) > 150).any(0).argmax()) for p in (pictures[6], pictures[24])]
    assert places == pytest.approx([0.2 * 640, 0.8 * 640], abs=8)


def test_sound_is_kept_beside_the_picture(make_clip: Callable[..., bytes], tmp_path: Path) -> None:
    for container in ("mp4", "matroska"):
        data = make_clip(container=container, sound=True)
        assert write_overlay(data, body(), tmp_path / "out.mp4") == []
        found = streams_of(tmp_path / "out.mp4")
        assert found["video"] == pytest.approx(3.0, abs=0.05)
        assert found["audio"] == pytest.approx(3.0, abs=0.2)


def test_sound_that_cannot_be_copied_is_said(
    make_clip: Callable[..., bytes], tmp_path: Path
) -> None:
    data = make_clip(container="mpegts", sound=True)
    [warning] = write_overlay(data, body(), tmp_path / "out.mp4")
    assert "sound" in warning
    assert set(streams_of(tmp_path / "out.mp4")) == {"video"}


def test_odd_sides_keep_their_pixels(tmp_path: Path) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 33, 25, "yuv444p"
        for number in range(3):
            picture = np.full((25, 33, 3), 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    write_overlay(file.getvalue(), body() | {"segments": []}, tmp_path / "out.mp4")
    _, pictures = frames_of(tmp_path / "out.mp4")
    assert pictures[0].shape == (26, 34, 3)
    assert np.abs(pictures[0][:24, :32] - 200).max() < 12


def test_a_cut_video_is_written_as_far_as_it_goes(
    make_clip: Callable[..., bytes], tmp_path: Path
) -> None:
    data = make_clip(container="mpegts", noise=20)
    write_overlay(data[: len(data) // 2], body(), tmp_path / "out.mp4")
    assert 5 < len(frames_of(tmp_path / "out.mp4")[0]) < 30


def test_what_is_no_video_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        write_overlay(b"no video", body(), tmp_path / "out.mp4")


def test_seconds_are_told_as_they_pass(make_clip: Callable[..., bytes], tmp_path: Path) -> None:
    seen: list[float] = []
    write_overlay(make_clip(), body(), tmp_path / "out.mkv", seen=seen.append)
    assert seen == pytest.approx([number / 10 for number in range(30)])
