"""Which videos are for training, which for validation and the test: by table, by share, by fold."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from captioner.errors import DataError
from training.data.location import locate
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions, assign_splits, split_name
from training.data.stretches import Stretch
from training.data.video_tables import LabelledVideo, column_of, read_rows


@dataclass(frozen=True)
class FoldSettings:
    """Cross-validation: the groups in ``number`` parts, of which ``held_out`` is validation.

    ``splits``: whose videos take part; the others of training and validation are left out. Parts
    are as equal in videos as the groups allow.
    """

    number: int = 5
    held_out: int = 0
    splits: tuple[str, ...] = (TRAIN,)

    def __post_init__(self) -> None:
        if self.number < 2 or not 0 <= self.held_out < self.number:
            raise DataError(
                f"Fold {self.held_out} of {self.number} cannot be held out.",
                hint="At least 2 folds, counted from 0.",
            )


def split_videos(
    videos: Sequence[LabelledVideo], fractions: SplitFractions, folds: FoldSettings | None
) -> dict[str, list[LabelledVideo]]:
    """The videos by split. Without splits in the table chance decides, by group."""
    if not any(video.split for video in videos):
        fractions.check()
        wanted = {VALIDATION: fractions.validation, TEST: fractions.test}
        if folds is not None:
            wanted = {TEST: 0.0}
        drawn = assign_splits([video.group for video in videos], wanted, fractions.seed)
        videos = [replace(v, split=split) for v, split in zip(videos, drawn, strict=True)]
    found: dict[str, list[LabelledVideo]] = {}
    for video in videos:
        found.setdefault(video.split or TRAIN, []).append(video)
    if folds is None:
        return found
    taking = [video for split in folds.splits for video in found.get(split_name(split), [])]
    parts = fold_numbers([video.group for video in taking], folds.number)
    cut = {
        VALIDATION: [v for v, part in zip(taking, parts, strict=True) if part == folds.held_out],
        TRAIN: [v for v, part in zip(taking, parts, strict=True) if part != folds.held_out],
    }
    return {TRAIN: cut[TRAIN], VALIDATION: cut[VALIDATION]}


def fold_numbers(groups: Sequence[str], number: int) -> list[int]:
    """A fold for each video: the largest group goes to the smallest fold, equals by their hash.

    Raises ``DataError`` for fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < number:
        raise DataError(
            f"There are {len(sizes)} groups, too few for {number} folds.",
            hint="Set data.folds.number to at most that, or data.groups.",
        )
    filled = [0] * number
    chosen: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], _hash(name))):
        chosen[group] = min(range(number), key=lambda fold: (filled[fold], fold))
        filled[chosen[group]] += sizes[group]
    return [chosen[group] for group in groups]


def grouped(videos: Sequence[LabelledVideo], table: str) -> list[LabelledVideo]:
    """The videos with the groups of a table (columns video and group)."""
    path = locate(table)[0]
    rows = read_rows(path)
    name, group = (column_of(path, rows[0], key) for key in ("video", "group"))
    groups = {row[name]: row[group] for row in rows}
    missing = [video.name for video in videos if video.name not in groups]
    if missing:
        raise DataError(
            f"{path.name} has no group for {len(missing)} videos, such as {missing[0]}.",
            hint="Every video needs one.",
        )
    return [replace(video, group=groups[video.name]) for video in videos]


def renamed(video: LabelledVideo, names: dict[str, str]) -> LabelledVideo:
    """The video with other names for its labels; neighbours of one name become one segment."""
    if not names:
        return video
    joined: list[Stretch] = []
    for stretch in video.stretches:
        stretch = replace(stretch, label=names.get(stretch.label, stretch.label))
        last = joined[-1] if joined else None
        if last is not None and last.label == stretch.label and last.end == stretch.start:
            joined[-1] = replace(last, end=stretch.end)
        else:
            joined.append(stretch)
    return replace(video, stretches=tuple(joined))


def streams_of(
    streams: str | int, split: str, videos: Sequence[LabelledVideo], seed: int
) -> list[list[int]]:
    """For each stream, the numbers of its videos.

    ``streams``: a table with the columns stream and video, and order and split where there are
    any, of which those streams count whose videos are all here. Or a number: as many streams as
    videos, each with one of them and others drawn by ``seed``, no two neighbours with the same
    label.
    """
    if isinstance(streams, str):
        return _table_streams(locate(streams)[0], split, videos)
    generator = torch.Generator().manual_seed(seed)
    ends = [(v.stretches[0].label, v.stretches[-1].label) for v in videos if v.stretches]
    if len(ends) != len(videos) or len({label for pair in ends for label in pair}) < 2:
        raise DataError("Streams need videos with labels, of more than one class.")
    found = []
    for first in range(len(videos)):
        stream = [first]
        while len(stream) < streams:
            allowed = [n for n, (begin, _) in enumerate(ends) if begin != ends[stream[-1]][1]]
            if not allowed:
                break
            stream.append(allowed[int(torch.randint(len(allowed), (), generator=generator))])
        found.append(stream)
    return found


def _table_streams(path: Path, split: str, videos: Sequence[LabelledVideo]) -> list[list[int]]:
    numbers = {video.name: number for number, video in enumerate(videos)}
    rows = read_rows(path)
    if "stream" not in rows[0]:
        raise DataError(f"The table {path.name} has no column stream: it has {', '.join(rows[0])}.")
    name = column_of(path, rows[0], "video")
    members: dict[str, list[tuple[float, str]]] = {}
    for place, row in enumerate(rows):
        if not row.get("split") or split_name(row["split"]) == split:
            order = float(row["order"]) if row.get("order") else float(place)
            members.setdefault(row["stream"], []).append((order, row[name]))
    found = [[video for _, video in sorted(stream)] for stream in members.values()]
    here = [[numbers[v] for v in stream] for stream in found if all(v in numbers for v in stream)]
    if not here:
        raise DataError(
            f"The table {path.name} has no stream of {split} videos.",
            hint="Its videos must be named as in data.labels; with data.folds give a number.",
        )
    return here


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
