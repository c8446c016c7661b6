"""What is wrong with a table of videos is said before the training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.stretches import Stretch
from training.data.video_report import VideoReport, inspect_videos
from training.data.video_tables import LabelledVideo, VideoFile

RED = Stretch("red", 0, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., None]) -> Path:
    place = tmp_path_factory.mktemp("report")
    for seed, name in enumerate(("a", "b", "c")):
        write_video(place / f"{name}.mp4", ["red"] * 10, seed=seed)
    shutil.copy(place / "a.mp4", place / "copy.mp4")
    (place / "broken.mp4").write_bytes((place / "a.mp4").read_bytes()[:200])
    (place / "text.mp4").write_text("no video")
    return place


def video(folder: Path, name: str, *stretches: Stretch, group: str = "") -> LabelledVideo:
    path = folder / f"{name}.mp4"
    file = VideoFile(path) if path.exists() else None
    return LabelledVideo(name, file, "train", stretches, group or name)


def problems(report: VideoReport) -> list[tuple[str, str]]:
    return [(problem.kind, problem.name) for problem in report.problems]


def look(folder: Path, *videos: LabelledVideo, **options: bool) -> VideoReport:
    return inspect_videos({"train": videos}, ["red", "blue"], **options)


def test_a_good_table_has_counts_and_no_problems(folder: Path) -> None:
    report = inspect_videos(
        {
            "train": [video(folder, "a", RED, group="g"), video(folder, "b", RED, group="g")],
            "validation": [video(folder, "c", Stretch("blue", 0, 5, True))],
        },
        ["red", "blue"],
    )
    report.raise_for_problems()
    train, validation = report.splits["train"], report.splits["validation"]
    assert (train.videos, train.groups, train.segments) == (2, 1, 2)
    assert train.seconds == pytest.approx(2)
    assert train.by_class["red"] == pytest.approx(2)
    assert validation.by_class["blue"] == pytest.approx(0.5)
    text = str(report)
    assert "groups" in text
    assert "  blue" in text
    assert "50.0%" in text


@pytest.mark.parametrize("name", ["broken", "text"])
def test_a_video_without_a_frame_is_unreadable(folder: Path, name: str) -> None:
    report = look(folder, video(folder, name, RED))
    assert problems(report) == [("unreadable", name)]


def test_every_kind_of_problem_is_found(folder: Path) -> None:
    report = look(
        folder,
        video(folder, "nowhere", RED),
        video(folder, "a"),
        video(folder, "b", RED, Stretch("blue", 0.5, 1)),
        video(folder, "c", Stretch("green", 0, 0), Stretch("red", 3, 4)),
    )
    assert problems(report) == [
        ("missing", "nowhere"),
        ("unlabelled", "a"),
        ("unknown", "c"),
        ("overlap", "b"),
        ("outside", "c"),
        ("empty", "c"),
    ]
    with pytest.raises(DataError, match=r"1 missing files: nowhere .* red and blue at 0.5"):
        report.raise_for_problems()


def test_overlap_is_no_problem_of_independent_labels_nor_of_rounding(folder: Path) -> None:
    both = (RED, Stretch("blue", 0.5, 1))
    assert not look(folder, video(folder, "a", *both), multi_label=True).problems
    near = (Stretch("red", 0, 0.667), Stretch("blue", 0.6665, 1))
    assert not look(folder, video(folder, "a", *near)).problems


def test_the_same_video_in_two_splits_is_found_under_any_name(folder: Path) -> None:
    report = inspect_videos(
        {"train": [video(folder, "a", RED)], "validation": [video(folder, "copy", RED)]},
        ["red"],
    )
    assert problems(report) == [("leak", "a")]
    assert report.problems[0].why == "the same as copy in validation"
