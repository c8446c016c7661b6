"""What is wrong with a table of videos, found before the training instead of during it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from captioner.errors import UserError
from captioner.vision.video import open_video
from training.data.report import refuse
from training.data.splits import SPLITS, picture_key
from training.data.stretches import ROUNDING_S, Stretch
from training.data.video_tables import LabelledVideo

KINDS = {
    "missing": "missing files",
    "unreadable": "unreadable videos",
    "unlabelled": "videos of which the table says nothing",
    "unknown": "videos with unknown labels",
    "overlap": "videos with overlapping segments",
    "outside": "videos with segments outside of them",
    "empty": "videos with segments without length",
    "leak": "videos in two splits",
}


@dataclass(frozen=True)
class VideoProblem:
    """One of ``KINDS``, of one video."""

    kind: str
    split: str
    name: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.split}{': ' if self.why else ''}{self.why})"


@dataclass(frozen=True)
class SplitOfVideos:
    """Counts over one split: videos, groups, seconds, segments, and seconds by class."""

    videos: int
    groups: int
    seconds: float
    segments: int
    by_class: Mapping[str, float]


@dataclass(frozen=True)
class VideoReport:
    """The state of a table as it was read, bad videos included."""

    splits: dict[str, SplitOfVideos]
    classes: Sequence[str]
    problems: list[VideoProblem] = field(default_factory=list)

    def __str__(self) -> str:
        """A table of a few lines, one column a split."""
        parts = list(self.splits.values())
        rows: list[tuple[str, list[str]]] = [("", list(self.splits))]
        rows.append(("videos", [f"{part.videos}" for part in parts]))
        if any(part.groups != part.videos for part in parts):
            rows.append(("groups", [f"{part.groups}" for part in parts]))
        rows.append(("seconds", [f"{part.seconds:.0f}" for part in parts]))
        rows.append(("segments", [f"{part.segments}" for part in parts]))
        for name in self.classes:
            shares = [part.by_class.get(name, 0.0) / max(part.seconds, 1e-9) for part in parts]
            rows.append((f"  {name}", [f"{share:.1%}" for share in shares]))
        for kind, title in KINDS.items():
            counts = Counter(p.split for p in self.problems if p.kind == kind)
            if counts:
                rows.append((title, [f"{counts[split]}" for split in self.splits]))
        wide = max(len(title) for title, _ in rows)
        cell = max(len(text) for _, cells in rows for text in cells)
        return "\n".join(
            f"{t:<{wide}}  {'  '.join(f'{c:>{cell}}' for c in cells)}".rstrip() for t, cells in rows
        )

    def raise_for_problems(self) -> None:
        """Raise ``DataError`` that counts the problems and names the first of each kind."""
        hint = "Mend them, or set on_bad to drop to train without these videos."
        refuse(self.problems, KINDS, hint)


def inspect_videos(
    videos: Mapping[str, Sequence[LabelledVideo]],
    classes: Sequence[str],
    *,
    multi_label: bool = False,
) -> VideoReport:
    """Look at every video's header and labels; of a video in two splits the later one is wrong.

    Splits are looked at from the test to training: what is also in the test is wrong in training.
    """
    problems: list[VideoProblem] = []
    splits: dict[str, SplitOfVideos] = {}
    by_content: dict[str, tuple[str, str]] = {}
    for split in [name for name in reversed(SPLITS) if name in videos]:
        seconds, by_class, count = 0.0, Counter[str](), 0
        for video in videos[split]:
            measured, found = _look(video, classes, multi_label)
            problems += [VideoProblem(kind, split, video.name, why) for kind, why in found]
            seconds += measured.duration_s
            count += len(video.stretches)
            for stretch in video.stretches:
                start, end = measured.seconds(stretch)
                by_class[stretch.label] += max(0.0, min(end, measured.duration_s) - max(start, 0.0))
            if measured.key:
                other = by_content.setdefault(measured.key, (split, video.name))
                if other[0] != split:
                    why = f"the same as {other[1]} in {other[0]}"
                    problems.append(VideoProblem("leak", split, video.name, why))
        groups = len({video.group for video in videos[split]})
        splits[split] = SplitOfVideos(len(videos[split]), groups, seconds, count, by_class)
    order = list(KINDS)
    problems.sort(key=lambda p: (order.index(p.kind), SPLITS.index(p.split)))
    return VideoReport({n: splits[n] for n in SPLITS if n in splits}, list(classes), problems)


class _Measured(NamedTuple):
    key: str
    duration_s: float
    fps: float

    def seconds(self, stretch: Stretch) -> tuple[float, float]:
        scale = 1 / self.fps if stretch.in_frames and self.fps else 1.0
        return stretch.start * scale, stretch.end * scale


def _look(
    video: LabelledVideo, classes: Sequence[str], multi_label: bool
) -> tuple[_Measured, list[tuple[str, str]]]:
    problems = []
    unknown = sorted({stretch.label for stretch in video.stretches} - set(classes))
    if unknown:
        problems.append(("unknown", ", ".join(unknown)))
    if not video.stretches:
        problems.append(("unlabelled", ""))
    if any(stretch.end <= stretch.start for stretch in video.stretches):
        problems.append(("empty", ""))
    if not multi_label:
        overlap = _overlap(video.stretches)
        if overlap:
            problems.append(("overlap", overlap))
    measured = _Measured("", 0.0, 0.0)
    if video.file is None:
        return measured, [*problems, ("missing", "")]
    try:
        data = video.file.open()
        with open_video(data, target_size=8) as reader:
            info = reader.info
    except OSError as error:
        return measured, [*problems, ("unreadable", error.strerror or str(error))]
    except UserError as error:
        return measured, [*problems, ("unreadable", error.message.rstrip("."))]
    key = (
        hashlib.sha256(data).hexdigest()
        if isinstance(data, bytes)
        else picture_key(None, str(data))
    )
    measured = _Measured(key, info.duration_s or 0.0, info.fps or 0.0)
    starts = [measured.seconds(stretch)[0] for stretch in video.stretches]
    if info.duration_s and any(start >= info.duration_s for start in starts):
        problems.append(("outside", f"{max(starts):.2f} s of {info.duration_s:.2f}"))
    return measured, problems


def _overlap(stretches: Sequence[Stretch]) -> str:
    for one, other in pairwise(stretches):
        slack = 0.0 if one.in_frames else ROUNDING_S
        if one.in_frames == other.in_frames and other.start < one.end - slack:
            return f"{one.label} and {other.label} at {other.start:g}"
    return ""
