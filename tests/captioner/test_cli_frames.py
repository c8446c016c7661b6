from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from captioner.cli import main


@pytest.fixture(autouse=True)
def _bundles(frames_bundle: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = os.pathsep.join(str(place.parent) for place in (frames_bundle, tiny_bundle))
    monkeypatch.setenv("CAPTIONER_BUNDLES", places)


@pytest.fixture
def clip(tmp_path: Path, make_clip: Callable[..., bytes]) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(make_clip())
    return path


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., bytes]) -> Path:
    folder = tmp_path / "videos"
    (folder / "trip").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(make_clip())
    (folder / "b.MKV").write_bytes(make_clip([("blue", 1.0)], container="matroska"))
    (folder / "trip" / "a.ts").write_bytes(make_clip([("green", 1.0)], container="mpegts"))
    (folder / "notes.txt").write_text("no video")
    return folder


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_one_video_prints_its_segments(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frames", str(clip)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in printed[:3]] == ["red", "blue", "green"]
    assert printed[3].startswith("the whole: ")
    assert printed[4].startswith("30 frames labelled in ")


@pytest.mark.parametrize("kind", ["json", "ndjson", "vtt", "srt", "csv"])
def test_a_file_is_written_as_its_ending_says_and_as_format_prints(
    kind: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out.{kind}"
    assert main(["frames", str(clip), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["frames", str(clip), "--format", kind]) == 0
    with out.open(newline="") as file:
        written = file.read()
    printed = capsys.readouterr().out
    if "json" in kind:
        for text in (written, printed):
            last = json.loads(text.splitlines()[-1])
            assert [found["label"] for found in last["segments"]] == ["red", "blue", "green"]
            frames = last.get("frames") or text.splitlines()[:-1]
            assert len(frames) == 30
    else:
        assert printed == written
        assert all(label in written for label in ("red", "blue", "green"))


def test_all_outputs_of_one_video_in_one_run(clip: Path, tmp_path: Path) -> None:
    outputs = {"--out": "o.vtt", "--overlay": "o.mp4", "--strip": "o.png"}
    arguments = [part for option, name in outputs.items() for part in (option, tmp_path / name)]
    assert main(["frames", *map(str, [clip, *arguments])]) == 0
    assert (tmp_path / "o.vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000")
    with av.open(str(tmp_path / "o.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == 30
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.width == 1200
    assert _below(tmp_path) == ["clip.mp4", "o.mp4", "o.png", "o.vtt"]


def test_sampling_and_labels_follow_the_options(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--every-s", "0.5", "--top-k", "1", "--min-score", "0.3", "--captions"]
    assert main(["frames", str(clip), "--out", str(out), *arguments]) == 0
    body = json.loads(out.read_text())
    assert [frame["index"] for frame in body["frames"]] == [0, 5, 10, 15, 20, 25]
    assert all(len(frame["labels"]) <= 1 for frame in body["frames"])
    assert all("caption" in found for found in body["segments"])


def test_a_folder_becomes_a_folder_of_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pictures = tmp_path / "pictures"
    arguments = ["--format", "csv", "--overlay", str(pictures), "--strip", str(pictures)]
    assert main(["frames", str(folder), "--out", str(out), *arguments]) == 0
    assert _below(out) == ["a.csv", "b.csv", "trip/a.csv"]
    assert _below(pictures) == [
        *("a.mp4", "a.png", "b.mp4", "b.png"),
        *("trip/a.mp4", "trip/a.png"),
    ]
    with (out / "b.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["blue"]


def test_two_videos_that_differ_in_their_ending_alone_keep_it(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.mp4", folder / "a.mov")
    out = tmp_path / "out"
    assert main(["frames", str(folder), "--out", str(out)]) == 0
    assert _below(out) == ["a.mov.json", "a.mp4.json", "b.json", "trip/a.json"]


def test_videos_of_one_name_in_two_folders_do_not_meet(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "a.mp4", other)
    out = tmp_path / "out"
    assert main(["frames", str(folder), str(other), "--out", str(out)]) == 0
    assert _below(out) == [
        *("other/a.json", "videos/a.json", "videos/b.json", "videos/trip/a.json"),
    ]


def test_a_run_into_a_folder_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["frames", str(folder), "--out", str(out)])
    before = (out / "b.json").read_bytes()
    (out / "a.json").unlink()
    capsys.readouterr()
    assert main(["frames", str(folder), "--out", str(out)]) == 0
    assert "1 videos labelled, 2 were there already." in capsys.readouterr().err
    assert (out / "b.json").read_bytes() == before
    assert (out / "a.json").exists()


def test_a_folder_becomes_one_line_a_video_and_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["frames", str(folder), "--out", str(out)]) == 0
    assert [line["file"] for line in _lines(out)] == [
        *("videos/a.mp4", "videos/b.MKV", "videos/trip/a.ts"),
    ]
    assert all({"segments", "clip", "video"} <= set(line) for line in _lines(out))
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1][:40])  # as a crash leaves it: a line cut off
    assert main(["frames", str(folder), "--out", str(out)]) == 0
    assert [line["file"] for line in _lines(out)] == [
        *("videos/a.mp4", "videos/b.MKV", "videos/trip/a.ts"),
    ]
    before = out.read_bytes()
    assert main(["frames", str(folder), "--out", str(out)]) == 0
    assert out.read_bytes() == before


def test_bad_files_of_a_folder_are_reported_at_the_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom nothing follows")
    (folder / "empty.mov").write_bytes(b"")
    assert main(["frames", str(folder), "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert "3 videos labelled." in errors
    assert errors.index("3 videos") < errors.index("broken.mp4: ") < errors.index("empty.mov: ")
    assert _below(tmp_path / "out") == ["a.json", "b.json", "trip/a.json"]


def test_several_videos_print_under_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frames", str(folder / "a.mp4"), str(folder / "b.MKV")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(folder / "a.mp4")
    assert str(folder / "b.MKV") in printed


def test_a_cut_video_is_labelled_with_a_warning(
    tmp_path: Path, make_clip: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_clip(container="mpegts", noise=20)
    (tmp_path / "cut.ts").write_bytes(data[: len(data) // 2])
    assert main(["frames", str(tmp_path / "cut.ts")]) == 0
    assert "warning: the video is cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.mp4"],
        ["{folder}/notes.txt"],
        ["{empty}"],
        ["{long}"],
        ["{clip}", "--every-s", "-1"],
        ["{clip}", "--every-s", "1", "--fps", "2"],
        ["{clip}", "--model", "nothing"],
        ["{clip}", "--model", "caption"],
        ["{clip}", "--out", "{empty}/clip.txt"],
        ["{clip}", "--out", "{empty}"],
        ["{clip}", "--out", "{empty}/none/clip.vtt"],
        ["{clip}", "--out", "{empty}/{long}.vtt"],
        ["{clip}", "--overlay", "{empty}/clip.avi"],
        ["{clip}", "--overlay", "{clip}"],
        ["{clip}", "--strip", "{empty}/clip.jpg"],
        ["{folder}", "--out", "{empty}/all.vtt"],
        ["{folder}", "--out", "{folder}/notes.txt"],
        ["{folder}", "--overlay", "{folder}/labelled"],
        ["{folder}", "--format", "csv"],
        ["{folder}", "--strip", "{empty}/strip.png"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_what_a_user_can_mend_is_a_sentence_and_exit_code_2(
    arguments: list[str],
    folder: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    before = _below(tmp_path)
    names = {"folder": folder, "clip": clip, "empty": tmp_path / "empty", "long": "x" * 5000}
    assert main(["frames", *(argument.format(**names) for argument in arguments)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("captioner: ") == 1
    assert "Traceback" not in errors
    assert _below(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_a_sentence_and_exit_code_2(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: str, *arguments: object, **more: object) -> object:
        Path(path).touch()
        return open("/dev/full", *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("captioner.cli.frame_files.open", full, raising=False)
    assert main(["frames", str(clip), "--out", str(tmp_path / "out.csv")]) == 2
    assert "captioner: No space left on device." in capsys.readouterr().err
    assert _below(tmp_path) == ["clip.mp4"]


def test_a_real_process_leaves_no_traceback() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "captioner", "frames", "nowhere.mp4"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
        check=False,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "nowhere.mp4" in run.stderr
