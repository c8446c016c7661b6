from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioner.bundle import open_bundle
from captioner.errors import BundleError, InvalidOption, UnknownOption, VideoError, VideoTooLong
from captioner.tasks import FramesTask, load
from captioner.tasks.frame_options import FrameLabels, FrameOptions, FramesSummary
from captioner.vision.video import VideoLimits


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(frames_bundle: Path) -> FramesTask:
    return FramesTask(open_bundle(frames_bundle), workers=2)


@pytest.fixture(scope="module")
def clip(make_clip: Callable[..., bytes]) -> bytes:
    return make_clip()


def test_every_frame_has_its_colour_and_its_time(task: FramesTask, clip: bytes) -> None:
    result = task(clip)
    assert [frame.index for frame in result.frames] == list(range(30))
    assert [frame.time_s for frame in result.frames] == pytest.approx([n / 10 for n in range(30)])
    best = [frame.labels[0].label for frame in result.frames]
    assert best == ["red"] * 10 + ["blue"] * 10 + ["green"] * 10


def test_segments_are_the_runs_of_each_label(task: FramesTask, clip: bytes) -> None:
    result = task(clip)
    found = [(s.label, s.start_frame, s.end_frame) for s in result.segments]
    assert found == [("red", 0, 10), ("blue", 10, 20), ("green", 20, 30)]
    assert [s.start_s for s in result.segments] == pytest.approx([0.0, 1.0, 2.0])
    assert [s.end_s for s in result.segments] == pytest.approx([1.0, 2.0, 3.0])
    assert all(s.score > 0.9 for s in result.segments)
    assert {found.label for found in result.clip} <= {"red", "green", "blue"}


def test_any_chunks_and_any_number_of_threads_give_the_same(
    task: FramesTask, frames_bundle: Path, clip: bytes
) -> None:
    whole = task(clip)
    for workers, chunk_frames in ((1, 1), (3, 7), (1, 64)):
        other = FramesTask(open_bundle(frames_bundle), workers=workers)
        other.chunk_frames = chunk_frames
        result = other(clip)
        assert [replace(s, score=0) for s in result.segments] == [
            replace(s, score=0) for s in whole.segments
        ]
        for mine, theirs in zip(whole.frames, result.frames, strict=True):
            assert (mine.index, mine.time_s) == (theirs.index, theirs.time_s)
            assert [found.label for found in mine.labels] == [x.label for x in theirs.labels]
            assert [found.score for found in mine.labels] == pytest.approx(
                [found.score for found in theirs.labels], abs=1e-5
            )


@pytest.mark.parametrize("multi_label", [True, False], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "causal"])
@pytest.mark.parametrize("smoothing", [{}, {"kind": "viterbi", "switch_penalty": 1.0}])
def test_every_kind_of_model_finds_the_three_shots(
    multi_label: bool,
    bidirectional: bool,
    smoothing: dict[str, object],
    make_frames_bundle: Callable[..., Path],
    clip: bytes,
    tmp_path: Path,
) -> None:
    place = make_frames_bundle(
        tmp_path,
        multi_label=multi_label,
        bidirectional=bidirectional,
        decoding={"every_s": 0.0, "smoothing": smoothing},
    )
    result = FramesTask(open_bundle(place), workers=1)(clip)
    found = [(s.label, s.start_frame, s.end_frame) for s in result.segments]
    assert found == [("red", 0, 10), ("blue", 10, 20), ("green", 20, 30)]
    assert len(result.frames) == 30


def test_labels_come_while_the_video_is_still_being_read(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    data = make_clip([("red", 5.0), ("blue", 5.0)], container="matroska", noise=20)
    arrived, more = threading.Event(), threading.Event()

    class Upload(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def read(self, count: int | None = -1) -> bytes:
            if self.tell() > len(data) // 2:
                arrived.set()
                assert more.wait(20)
            return super().read(min(count or 1, 256))

    with task.stream(Upload(data)) as stream:
        first = next(stream)
        assert isinstance(first, FrameLabels)
        assert first.index == 0
        assert not more.is_set()
        more.set()
        rest = list(stream)
    assert isinstance(rest[-1], FramesSummary)
    assert len(rest) == 100
    assert arrived.is_set()


def test_the_next_frames_are_read_while_a_chunk_is_encoded(
    frames_bundle: Path, make_clip: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FramesTask(open_bundle(frames_bundle), workers=1)
    encode, opened = task.encode, []

    def wait_for_the_reader(pixels: torch.Tensor) -> torch.Tensor:
        reader, deadline = opened[0]._reader, time.monotonic() + 20
        read = reader.frames_read
        while reader.frames_read < min(read + 2, 30) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert time.monotonic() < deadline
        return encode(pixels)

    with task.stream(make_clip()) as stream:
        opened.append(stream)
        monkeypatch.setattr(task, "encode", wait_for_the_reader)
        assert isinstance(next(stream), FrameLabels)


def test_the_reader_waits_for_whoever_takes_the_labels(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    with task.stream(make_clip([("red", 60.0)], fps=10)) as stream:
        next(stream)
        read, deadline = -1, time.monotonic() + 20
        while read != stream._reader.frames_read and time.monotonic() < deadline:
            read = stream._reader.frames_read
            time.sleep(0.2)
        # Chunks of 1, 2, 4, 4, … for two workers: one is taken, three are read, one is begun; the
        # decoder holds a few more, and gives them when it has them.
        assert read <= 1 + 2 + 4 + 4 + 4 + 16


def _threads() -> set[str]:
    return {t.name.split("_")[0] for t in threading.enumerate() if t.name.startswith("captioner-")}


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_stream_that_is_closed_early_leaves_nothing(
    task: FramesTask, clip: bytes, tmp_path: Path, taken: int
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with task.stream(path) as stream:
        for _ in range(taken):
            next(stream)
    assert not _threads()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(StopIteration):
        next(stream)
    with pytest.raises(ValueError, match="closed before its end"):
        stream.summary()


def test_a_stream_that_is_dropped_ends_its_threads(task: FramesTask, clip: bytes) -> None:
    stream = task.stream(clip)
    next(stream)
    assert _threads()
    del stream
    deadline = time.monotonic() + 10
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _threads()


def test_an_error_on_the_way_comes_after_the_labels_before_it(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    data = make_clip(container="mpegts")

    class Upload(io.BytesIO):  # whose header claims no length that could be refused at once
        def seekable(self) -> bool:
            return False

    stream = task.stream(Upload(data), limits=VideoLimits(max_frames=12))
    labelled = [next(stream) for _ in range(12)]
    assert all(isinstance(found, FrameLabels) for found in labelled)
    with pytest.raises(VideoTooLong, match="more than 12 frames"):
        next(stream)
    assert not _threads()


def test_an_error_of_the_model_ends_the_threads(
    frames_bundle: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FramesTask(open_bundle(frames_bundle), workers=2)

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise MemoryError("no room")

    monkeypatch.setattr(task, "encode", fail)
    with pytest.raises(MemoryError):
        task(clip)
    assert not _threads()


def test_torch_keeps_its_threads(task: FramesTask, clip: bytes) -> None:
    torch.set_num_threads(2)
    try:
        task(clip)
        assert torch.get_num_threads() == 2
        seen: list[int] = []
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert seen == [2]
    finally:
        torch.set_num_threads(1)


def test_a_cut_file_keeps_what_was_labelled_and_says_so(
    task: FramesTask, make_clip: Callable[..., bytes]
) -> None:
    data = make_clip([("red", 1.0), ("blue", 2.0)], container="mpegts", noise=20)
    result = task(data[: len(data) * 2 // 3])
    assert result.summary.truncated
    assert any("cut off" in warning for warning in result.summary.warnings)
    assert 10 < len(result.frames) < 30
    assert result.segments[0].label == "red"
    assert result.segments[-1].end_s == pytest.approx(result.summary.video["end_s"], abs=1e-3)


def test_sampling_by_seconds_by_rate_and_by_key_frames(task: FramesTask, clip: bytes) -> None:
    assert [f.index for f in task(clip, every_s=0.5).frames] == [0, 5, 10, 15, 20, 25]
    assert [f.index for f in task(clip, fps=2).frames] == [0, 5, 10, 15, 20, 25]
    assert [f.index for f in task(clip, key_frames=True).frames] == [0, 10, 20]
    assert len(task(clip, every_s=0).frames) == 30
    keys = task(clip, key_frames=True)
    assert keys.segments[-1].end_s == pytest.approx(3.0)


def test_another_rate_than_the_model_was_made_for_is_said(task: FramesTask, clip: bytes) -> None:
    assert not task(clip).summary.warnings
    assert any("less reliable" in warning for warning in task(clip, every_s=1).summary.warnings)


def test_top_k_and_min_score_leave_labels_out(task: FramesTask, clip: bytes) -> None:
    assert all(len(f.labels) == 1 for f in task(clip, top_k=1, min_score=0).frames)
    assert all(len(f.labels) == 3 for f in task(clip, top_k=1000, min_score=0).frames)
    result = task(clip, min_score=1)
    assert not result.segments
    assert not any(frame.labels for frame in result.frames)


@pytest.mark.parametrize(
    "options",
    [
        {"every_s": -1.0},
        {"every_s": float("nan")},
        {"fps": 0.0},
        {"fps": float("inf")},
        {"every_s": 1.0, "fps": 1.0},
        {"top_k": 0},
        {"min_score": 1.5},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(
    task: FramesTask, clip: bytes, options: dict[str, float]
) -> None:
    with pytest.raises(InvalidOption):
        task(clip, **options)


def test_an_unknown_option_is_named(task: FramesTask, clip: bytes) -> None:
    with pytest.raises(UnknownOption, match="'step'"):
        task(clip, step=3)


def test_a_result_as_json_holds_what_the_service_answers(task: FramesTask, clip: bytes) -> None:
    found = task(clip, every_s=0.5).to_dict()
    assert set(found) == {
        *("frames", "segments", "clip", "video", "truncated", "model", "timing_ms", "warnings")
    }
    labels = found["frames"][2].pop("labels")
    assert found["frames"][2] == {"index": 10, "time_s": 1.0}
    assert labels[0]["label"] == "blue"
    assert set(found["segments"][0]) == {
        *("label", "start_s", "end_s", "start_frame", "end_frame", "score")
    }
    assert found["video"]["frames_read"] == 30
    assert found["video"]["frames_labelled"] == 6
    assert {"open", "decode", "encode", "label", "first_label", "total"} <= set(found["timing_ms"])


def test_captions_are_those_of_the_frames_with_the_installed_captioner(
    tiny_bundle: Path,
    make_frames_bundle: Callable[..., Path],
    clip: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tiny_bundle.parent))
    shared = open_bundle(tiny_bundle)
    state = {
        name.removeprefix("encoder."): value
        for name, value in shared.state().items()
        if name.startswith("encoder.")
    }
    for kind in ({}, {"kind": "viterbi", "min_frames": 3}):
        place = make_frames_bundle(
            tmp_path,
            encoder=state,
            preprocessing=shared.preprocessing(),
            decoding={"every_s": 0.2, "smoothing": kind},
        )
        bundle = open_bundle(place)
        assert bundle.description["encoder"] == shared.description["encoder"]  # one file for both
        task = FramesTask(bundle, workers=2)
        result = task(clip, captions=True)
        assert task._captioner is not None
        assert task._captioner._encoder is task._encoder
        assert [s.label for s in result.segments] == ["red", "blue", "green"]
        assert all(s.caption is not None for s in result.segments)
    assert task(clip).segments[0].caption is None


def test_a_bundle_that_does_not_fit_itself_is_refused_by_name(
    make_frames_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    for changed, message in (
        ({"assets": {"labels.json": '["red"]'}}, "model.num_classes"),
        ({"decoding": {"thresholds": [0.5, 0.5]}}, "thresholds has 2 numbers"),
        ({"decoding": {"smoothing": {"kind": "median"}}}, "smoothing is 'median'"),
        ({"decoding": {"smoothing": {"kind": "hysteresis"}}}, "smoothing.off is missing"),
        ({"decoding": {"smoothing": {"kind": "hysteresis", "off": 0.8}}}, "above on, 0.5"),
        ({"decoding": {"background": ["sky"]}}, "'sky' is none of the labels"),
        ({"decoding": {"every": 1}}, "decoding.every"),
    ):
        place = make_frames_bundle(tmp_path, **changed)
        with pytest.raises(BundleError, match=message):
            FramesTask(open_bundle(place))


def test_hysteresis_bridges_what_stays_above_off(
    make_frames_bundle: Callable[..., Path], clip: bytes, tmp_path: Path
) -> None:
    smoothing = {"kind": "hysteresis", "off": 0.000001}
    place = make_frames_bundle(tmp_path, decoding={"every_s": 0.1, "smoothing": smoothing})
    result = FramesTask(open_bundle(place), workers=1)(clip)
    assert [(s.label, s.end_frame) for s in result.segments] == [
        ("red", 30),
        ("blue", 30),
        ("green", 30),
    ]


def test_load_gives_the_task_by_name(frames_bundle: Path, clip: bytes) -> None:
    task = load("frames", model=str(frames_bundle))
    assert task.every_s(FrameOptions()) == 0.1
    assert task(clip).summary.model == "frames@0"


def test_no_video_is_a_typed_error(task: FramesTask) -> None:
    with pytest.raises(VideoError):
        task.stream(b"no video at all")
    assert not _threads()
