"""A folder of videos and a table of what is seen in them -> labelled videos by split.

A table is a CSV with one row for a segment (``video, label, start_s, end_s``), for a frame
(``video, frame, label`` or ``video, time_s, label``) or for a whole video (``video, label``), or an
export of Label Studio or CVAT (``training/data/annotations.py``). Times count from a video's first
frame, frames from 0; what lies between labelled segments is unlabelled.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captioner.errors import DataError
from training.data.annotations import read_cvat, read_label_studio
from training.data.location import locate
from training.data.splits import split_name
from training.data.stretches import Stretch, runs_of_frames

# What a column may be called, by what it says.
COLUMNS = {
    "video": ("video", "clip", "file", "filename", "file_name", "path"),
    "label": ("label", "labels", "class", "action"),
    "split": ("split",),
    "group": ("group",),
    "start_frame": ("start_frame",),
    "end_frame": ("end_frame",),
    "start_s": ("start_s", "start", "start_time", "begin"),
    "end_s": ("end_s", "end", "end_time", "stop"),
    "frame": ("frame", "frame_index"),
    "time_s": ("time_s", "time"),
}
VIDEO_FILES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".ts", ".mpg", ".mpeg", ".gif", ".m4v")
SEPARATOR = "|"  # between the labels of one cell


@dataclass(frozen=True)
class VideoFile:
    """Where a video lies: a file, or a member of a zip."""

    path: Path
    member: str | None = None

    def open(self) -> Path | bytes:
        """What ``open_video`` takes. Raises OSError where there is nothing."""
        if self.member is None:
            with self.path.open("rb"):
                return self.path
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.member)


@dataclass(frozen=True)
class LabelledVideo:
    """One video of the table: its name there, its file if it was found, and what is seen when."""

    name: str
    file: VideoFile | None
    split: str | None
    stretches: tuple[Stretch, ...]
    group: str


@dataclass
class _Row:
    split: str | None = None
    group: str | None = None
    stretches: list[Stretch] = field(default_factory=list)
    frames: list[tuple[float, str]] = field(default_factory=list)
    in_frames: bool = True


def read_videos(
    tables: str | Sequence[str] | Mapping[str, str],
    folders: str | Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    folder_list: Sequence[Path] | None = None,
) -> list[LabelledVideo]:
    """The videos that ``tables`` name, in their order; found in ``folders``, or without a file.

    ``tables``: a path, several, or a mapping from split to path; ``folders``: of the videos, or zip
    files of them. Both are looked up as ``location.locate`` says. ``columns``: what columns are
    called, where it is unusual: ``{"label": "word"}``.

    Raises ``DataError`` where a table cannot be read, has no column for what it must say, or says
    something that is no number.
    """
    files = find_files(folders, folder_list)
    rows: dict[str, _Row] = {}
    for path, split in _paths(tables, folder_list):
        for name, row in _read(path, dict(columns or {})).items():
            known = rows.setdefault(name, _Row())
            known.split = _same_split(name, known.split, row.split or split)
            known.group = known.group or row.group
            known.stretches += row.stretches + runs_of_frames(row.frames, row.in_frames)
    return [
        LabelledVideo(
            name,
            files.get(name) or files.get(Path(name).name) or files.get(Path(name).stem),
            row.split,
            tuple(sorted(row.stretches, key=lambda stretch: (stretch.start, stretch.end))),
            row.group or name,
        )
        for name, row in rows.items()
    ]


def find_files(
    folders: str | Sequence[str], folder_list: Sequence[Path] | None = None
) -> dict[str, VideoFile]:
    """Every video below the folders, by its path there, by its name, and by that without suffix."""
    found: dict[str, VideoFile] = {}
    for folder in [folders] if isinstance(folders, str) else folders:
        for place in locate(folder, folder_list):
            for name, file in _files_in(place):
                for key in (name, Path(name).name, Path(name).with_suffix("").as_posix()):
                    found.setdefault(key, file)
                found.setdefault(Path(name).stem, file)
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV or TSV as they are, by column name. ``DataError`` where there is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            rows = [
                {str(key).strip(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(file, delimiter=delimiter)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table {path.name} cannot be read: {error}") from None
    if not rows:
        raise DataError(f"The table {path.name} has no rows.")
    return rows


def column_of(path: Path, row: Mapping[str, str], key: str) -> str:
    """What a table calls the column of one of ``COLUMNS``; ``DataError`` where it has none."""
    name = next((name for name in COLUMNS[key] if name in row), None)
    if name is None:
        raise DataError(
            f"The table {path.name} has no column for the {key}: it has {', '.join(row)}.",
            hint=f"Call it {' or '.join(COLUMNS[key][:2])}, or set data.columns.",
        )
    return name


def _same_split(name: str, known: str | None, split: str | None) -> str | None:
    if known is not None and split is not None and known != split:
        raise DataError(
            f"The video {name} is in {known} and in {split}.", hint="It can be in one split."
        )
    return known or split


def _paths(
    tables: str | Sequence[str] | Mapping[str, str], folder_list: Sequence[Path] | None
) -> Iterator[tuple[Path, str | None]]:
    if isinstance(tables, Mapping):
        entries = [(name, split_name(split)) for split, name in tables.items()]
    else:
        names = [tables] if isinstance(tables, str) else list(tables)
        entries = [(name, None) for name in names]  # type: ignore[misc]
    for name, split in entries:
        for path in locate(name, folder_list):
            yield path, split


def _files_in(place: Path) -> Iterator[tuple[str, VideoFile]]:
    if place.suffix == ".zip":
        try:
            names = zipfile.ZipFile(place).namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{place.name} cannot be read as a zip: {error}") from None
        for name in names:
            if Path(name).suffix.lower() in VIDEO_FILES:
                yield name, VideoFile(place, name)
    for path in sorted(place.rglob("*")) if place.is_dir() else []:
        if path.suffix.lower() in VIDEO_FILES:
            yield path.relative_to(place).as_posix(), VideoFile(path)


def _read(path: Path, columns: dict[str, str]) -> dict[str, _Row]:
    if path.suffix in (".json", ".xml"):
        read = read_label_studio if path.suffix == ".json" else read_cvat
        return {name: _Row(stretches=found) for name, found in read(path).items()}
    rows = read_rows(path)
    names = _columns(path, rows[0], columns)
    videos: dict[str, _Row] = {}
    for number, cells in enumerate(rows, 2):
        place = f"{path.name}, line {number}"
        row = {key: cells[name] for key, name in names.items()}
        if not row["video"]:
            raise DataError(f"{place} names no video.")
        video = videos.setdefault(row["video"], _Row())
        video.group = row.get("group") or video.group
        if row.get("split"):
            video.split = _same_split(row["video"], video.split, split_name(row["split"]))
        labels = [label.strip() for label in row["label"].split(SEPARATOR) if label.strip()]
        if "frame" in names or "time_s" in names:
            video.in_frames = "frame" in names
            moment = _number(row["frame" if video.in_frames else "time_s"], place)
            video.frames += [(moment, label) for label in labels]
        else:
            start, end, in_frames = _span(row, place)
            video.stretches += [Stretch(label, start, end, in_frames) for label in labels]
    return videos


def _columns(path: Path, row: Mapping[str, str], given: dict[str, str]) -> dict[str, str]:
    unknown = [key for key in given if key not in COLUMNS]
    absent = [name for name in given.values() if name not in row]
    if unknown or absent:
        raise DataError(
            f"data.columns has {', '.join(unknown or absent)}, which "
            + ("is nothing a table says." if unknown else f"{path.name} does not have."),
            hint=f"{path.name} has {', '.join(row)}; a table says {', '.join(COLUMNS)}.",
        )
    found = dict(given)
    for key, names in COLUMNS.items():
        name = next((name for name in names if name in row), None)
        if key not in found and name is not None and name not in found.values():
            found[key] = name
    for key in ("video", "label"):
        if key not in found:
            column_of(path, row, key)
    return found


def _span(row: Mapping[str, str], place: str) -> tuple[float, float, bool]:
    for unit in ("frame", "s"):
        if row.get(f"start_{unit}") or row.get(f"end_{unit}"):
            start = _number(row.get(f"start_{unit}") or "0", place)
            end = _number(row.get(f"end_{unit}") or "inf", place)
            return start, end, unit == "frame"
    return 0.0, math.inf, False


def _number(text: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise DataError(f"{place}: {text!r} is no number.")
    return number
