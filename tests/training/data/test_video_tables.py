"""Tables of what is seen in videos, whatever form they have."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.stretches import Stretch
from training.data.video_tables import LabelledVideo, find_files, read_videos

Write = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty files with the names of videos: a table is read without opening them."""
    (tmp_path / "videos" / "room").mkdir(parents=True)
    for name in ("a.mp4", "b.webm", "room/c.mp4"):
        (tmp_path / "videos" / name).touch()
    return tmp_path


def read(
    folder: Path, text: str, name: str = "table.csv", **options: object
) -> list[LabelledVideo]:
    (folder / name).write_text(text)
    return read_videos(str(folder / name), str(folder / "videos"), **options)


def test_a_row_may_be_a_segment_in_seconds_or_in_frames(folder: Path) -> None:
    (seconds,) = read(folder, "video,label,start_s,end_s\na.mp4,run,1.5,2\na.mp4,sit,0,1.5\n")
    assert seconds.stretches == (Stretch("sit", 0, 1.5), Stretch("run", 1.5, 2))
    (frames,) = read(folder, "video,label,start_frame,end_frame,start_s\na,run,3,7,0.1\n")
    assert frames.stretches == (Stretch("run", 3, 7, True),)


def test_a_row_may_be_a_whole_video(folder: Path) -> None:
    (video,) = read(folder, "file,class\nb.webm,jump\n")
    assert video.stretches == (Stretch("jump"),)
    assert video.file is not None
    assert video.file.path.name == "b.webm"


def test_a_row_may_be_a_frame(folder: Path) -> None:
    (video,) = read(folder, "video,frame,label\na,0,sit\na,1,sit\na,2,run\na,5,run\n")
    assert video.stretches == (
        Stretch("sit", 0, 2, True),
        Stretch("run", 2, 3, True),
        Stretch("run", 5, 6, True),
    )


def test_frames_may_be_told_by_time(folder: Path) -> None:
    (video,) = read(folder, "video,time_s,label\na,0,sit\na,0.5,sit\na,1.0,run\n")
    assert video.stretches == (Stretch("sit", 0, 1.0), Stretch("run", 1.0, float("inf")))


def test_a_cell_may_hold_several_labels_or_none(folder: Path) -> None:
    (video,) = read(folder, "video,label,start_s,end_s\na,dog | water,0,1\na,,1,2\n")
    assert {stretch.label for stretch in video.stretches} == {"dog", "water"}


def test_columns_may_be_called_anything(folder: Path) -> None:
    text = "clip,word,from,to\na,bin,0,5\n"
    columns = {"label": "word", "start_frame": "from", "end_frame": "to"}
    (video,) = read(folder, text, columns=columns)
    assert video.stretches == (Stretch("bin", 0, 5, True),)
    with pytest.raises(DataError, match="label"):
        read(folder, text)
    with pytest.raises(DataError, match="phrase"):
        read(folder, text, columns={"label": "phrase"})


def test_splits_come_from_a_column_or_from_the_files(folder: Path) -> None:
    a, b = read(folder, "video,label,split\na,x,train\nb,y,val\n")
    assert (a.split, b.split) == ("train", "validation")
    for name, video in (("one.csv", "a"), ("two.csv", "b")):
        (folder / name).write_text(f"video,label\n{video},x\n")
    files = {"train": str(folder / "one.csv"), "test": str(folder / "two.csv")}
    found = read_videos(files, str(folder / "videos"))
    assert [video.split for video in found] == ["train", "test"]


def test_a_video_in_two_splits_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="a is in train and in test"):
        read(folder, "video,label,split,start_s\na,x,train,0\na,y,test,1\n")


def test_files_are_found_by_path_name_and_stem_and_in_zips(folder: Path) -> None:
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("clips/d.mp4", b"frames")
    found = find_files([str(folder / "videos"), str(folder / "more.zip")])
    assert found["room/c.mp4"] == found["c.mp4"] == found["c"] == found["room/c"]
    assert found["d"].open() == b"frames"
    assert found["a"].open() == folder / "videos" / "a.mp4"


def test_a_video_that_is_not_there_has_no_file(folder: Path) -> None:
    (video,) = read(folder, "video,label\nz.mp4,x\n")
    assert video.file is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,label,start_s\na,x,early\n", "line 2: 'early' is no number"),
        ("video,label,start_s\na,x,nan\n", "'nan' is no number"),
        ("video,label\n,x\n", "names no video"),
        ("video,label\n", "no rows"),
        ("label\nx\n", "no column for the video"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(folder, text)


def label_studio(*regions: dict[str, object], video: str = "/data/upload/3/0a1b2c3d-a.mp4") -> str:
    annotation = {"result": list(regions)}
    cancelled = {"result": [], "was_cancelled": True}
    return json.dumps([{"id": 7, "data": {"video": video}, "annotations": [annotation, cancelled]}])


def test_label_studio_counts_frames_from_one_to_the_last(folder: Path) -> None:
    region = {
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 1, "end": 30}], "timelinelabels": ["run"]},
    }
    (video,) = read(folder, label_studio(region), "export.json")
    assert video.name == "a.mp4"
    assert video.file is not None
    assert video.stretches == (Stretch("run", 0, 30, True),)


def test_label_studio_has_seconds_and_whole_videos_too(folder: Path) -> None:
    seconds = {"type": "labels", "value": {"start": 0.5, "end": 1.5, "labels": ["run"]}}
    whole = {"type": "choices", "value": {"choices": ["outside"]}}
    text = label_studio(seconds, whole, video="/data/local-files/?d=set/a.mp4")
    (video,) = read(folder, text, "export.json")
    assert set(video.stretches) == {Stretch("run", 0.5, 1.5), Stretch("outside")}


def test_a_label_of_cvat_lasts_while_any_shape_bears_it(folder: Path) -> None:
    box = '<box frame="{}" outside="{}" xtl="0" ytl="0" xbr="1" ybr="1"/>'
    track = '<track id="{}" label="dog">{}</track>'
    text = (
        "<annotations><meta><task><id>4</id><source>a.mp4</source></task></meta>"
        + track.format(0, box.format(2, 0) + box.format(3, 0) + box.format(4, 1))
        + track.format(1, box.format(3, 0) + box.format(4, 0) + box.format(5, 1))
        + '<image id="9" name="frame_000009"><tag label="night"/></image></annotations>'
    )
    (video,) = read(folder, text, "annotations.xml")
    assert video.stretches == (Stretch("dog", 2, 5, True), Stretch("night", 9, 10, True))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("export.json", "{}", "no list of tasks"),
        ("export.json", '[{"id": 3, "data": {}}]', "task 3 names no video"),
        ("export.json", "[", "cannot be read"),
        ("a.xml", "<annotations/>", "names no video"),
        ("a.xml", "<svg/>", "no export of CVAT"),
        ("a.xml", "<ann", "cannot be read"),
    ],
)
def test_foreign_exports_are_refused(folder: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(folder, text, name)
