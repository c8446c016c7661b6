"""Bad files, and real ones of every kind, by the library and by the command line."""

from __future__ import annotations

import csv
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from captioner.bundle import open_bundle
from captioner.cli import main
from captioner.errors import VideoError
from captioner.tasks import FramesTask
from captioner.tasks.frame_options import FrameOptions
from captioner.vision.video import VideoLimits

KINDS = (
    *("empty", "random bytes", "a text", "a JPEG", "truncated without an index"),
    *("an index and nothing else", "cut before its first frame", "only sound", "8000 x 8000"),
    *("ten hours", "a playlist", "a list of files"),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(frames_bundle: Path) -> FramesTask:
    return FramesTask(open_bundle(frames_bundle), workers=1)


@pytest.fixture
def _installed(frames_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(frames_bundle.parent))


def _left() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("captioner-")]


def test_the_list_of_bad_videos_is_complete(bad_videos: dict[str, tuple[bytes, str]]) -> None:
    assert set(bad_videos) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_video_is_a_typed_error_and_leaves_nothing(
    kind: str, bad_videos: dict[str, tuple[bytes, str]], task: FramesTask, tmp_path: Path
) -> None:
    data, code = bad_videos[kind]
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    for video in (data, path):
        with pytest.raises(VideoError) as caught:
            task(video)
        assert caught.value.code == code
        assert caught.value.message
    assert not _left()


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_video_is_a_sentence_and_exit_code_2(
    kind: str,
    bad_videos: dict[str, tuple[bytes, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bad_videos[kind][0])
    outputs = [f"--out={tmp_path / 'o.vtt'}", f"--overlay={tmp_path / 'o.mp4'}"]
    assert main(["frames", str(path), *outputs]) == 2
    errors = capsys.readouterr().err
    assert errors.count("captioner: ") == 1
    assert "Traceback" not in errors
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_video_that_is_cut_after_its_index_is_labelled_as_far_as_it_goes(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    data = make_clip(options={"movflags": "faststart"}, noise=20)
    result = task(data[: len(data) * 2 // 3])
    assert result.summary.truncated
    assert 0 < len(result.frames) < 30
    assert result.segments[0].label == "red"


def test_flipped_bytes_give_labels_or_a_video_error(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    chance = random.Random(0)
    clips = [make_clip(container=name, noise=4) for name in ("mp4", "matroska", "mpegts")]
    labelled = 0
    for number in range(30):
        data = bytearray(clips[number % 3])
        for _ in range(chance.choice([1, 10])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(VideoError):
            labelled += bool(task(bytes(data), limits=VideoLimits(max_seconds=20)).frames)
    assert labelled > 10
    assert not _left()


def test_a_header_without_a_frame_rate_is_no_obstacle(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    data = bytearray(make_clip(container="avi", codec="mjpeg"))
    rate = data.index(b"strh") + 8 + 24  # dwRate of the stream's header
    data[rate : rate + 4] = bytes(4)
    result = task(bytes(data))
    assert len(result.frames) == 30
    assert [s.label for s in result.segments] == ["red", "blue", "green"]


def test_frames_at_uneven_times_keep_them(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    times = [0, 40, 80, 1000, 1500, 1600, 3000, 3100, 3200]
    data = make_clip([("red", 0.3), ("blue", 0.3), ("green", 0.3)], times=times)
    result = task(data, every_s=0)
    assert [frame.time_s for frame in result.frames] == pytest.approx([t / 1000 for t in times])
    assert [(s.label, s.start_s) for s in result.segments] == [
        ("red", 0.0),
        ("blue", pytest.approx(1.0)),
        ("green", pytest.approx(3.0)),
    ]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (VideoLimits(max_bytes=500), "video_too_large"),
        (VideoLimits(max_pixels=1000), "video_too_large"),
        (VideoLimits(max_duration_s=2.0), "video_too_long"),
        (VideoLimits(max_samples=20), "video_too_long"),
    ],
    ids=["bytes", "pixels", "seconds", "labelled frames"],
)
def test_too_large_is_refused_before_anything_is_labelled(
    limits: VideoLimits, code: str, task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    with pytest.raises(VideoError) as caught:
        task.stream(make_clip(), FrameOptions(), limits=limits)
    assert caught.value.code == code


@pytest.mark.data
@pytest.mark.usefixtures("_installed")
def test_every_real_clip_is_labelled_or_refused_as_the_manifest_says(
    data_dir: Path, task: FramesTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = data_dir / "video_clips"
    with (clips / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    refused = {"audio_only.mp4": "no_video_stream", "broken_no_moov.mp4": "invalid_video"}
    assert {row["file"] for row in rows} >= set(refused)
    for row in rows:
        name, code = row["file"], refused.get(row["file"])
        if code is not None:
            with pytest.raises(VideoError) as caught:
                task(clips / name)
            assert caught.value.code == code, name
            continue
        result = task(clips / name, every_s=0.2)
        summary = result.summary
        assert summary.video["frames_read"] == int(row["frames"]), name
        assert summary.truncated == (name == "broken_truncated.ts"), name
        first, last = (float(row[f"{end}_frame_s_pyav"]) for end in ("first", "last"))
        assert result.frames[0].time_s == pytest.approx(first, abs=1e-3), name
        assert last <= summary.video["end_s"] + 1e-3 <= last + 0.6, name
        end_s = summary.video["end_s"] + 1e-4  # rounded
        assert all(s.start_s < s.end_s <= end_s for s in result.segments), name
    assert not _left()
    assert main(["frames", str(clips), "--out", str(tmp_path / "out"), "--format", "srt"]) == 1
    errors = capsys.readouterr().err
    assert all(f"{name}: " in errors for name in refused)
    assert f"{len(rows) - len(refused)} videos labelled." in errors
    assert len(list((tmp_path / "out").iterdir())) == len(rows) - len(refused)
