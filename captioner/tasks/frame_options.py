"""What can be asked of a video's labels, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from captioner.errors import InvalidOption
from captioner.vision.video import VideoInfo

# name -> (lowest, highest), both allowed. The service's documentation reads them from here.
FRAME_RANGES: dict[str, tuple[float, float]] = {
    "every_s": (0, 3600),
    "fps": (0.001, 1000),
    "top_k": (1, 1000),
    "min_score": (0, 1),
}


@dataclass(frozen=True)
class FrameOptions:
    """How to label a video; ``None`` leaves the choice to the bundle."""

    every_s: float | None = None
    """Seconds from one labelled frame to the next; 0 labels every frame."""
    fps: float | None = None
    """The same as labelled frames a second: give one of the two."""
    key_frames: bool = False
    """Only frames that are stored in full: fast, and unevenly spaced."""
    top_k: int | None = None
    """Labels a frame at most, likeliest first."""
    min_score: float | None = None
    """Labels and segments with a lower score are left out."""
    captions: bool = False
    """Adds a caption of its clearest frame to each segment."""

    def check(self) -> FrameOptions:
        """Returns itself; raises :class:`InvalidOption` for ranges and contradictions."""
        for name, (low, high) in FRAME_RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InvalidOption(f"{name} is {value}; it can be from {low} to {high}.")
        if self.every_s is not None and self.fps is not None:
            raise InvalidOption(
                f"every_s is {self.every_s} and fps is {self.fps}.", hint="Give one of them."
            )
        return self


@dataclass(frozen=True)
class LabelScore:
    """A label and how likely it is, 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True)
class FrameLabels:
    """One labelled frame: its number among all frames, the container's own time, its labels."""

    index: int
    time_s: float
    labels: list[LabelScore]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an element of ``frames``."""
        return {
            "index": self.index,
            "time_s": round(self.time_s, 4),
            "labels": _scores(self.labels),
        }


@dataclass(frozen=True)
class LabelSegment:
    """A label over a stretch of video.

    From ``start_s`` to ``end_s`` of the container's time, from frame ``start_frame`` to
    ``end_frame``, the first one after it; ``score`` is the mean of its labelled frames'.
    """

    label: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    score: float
    caption: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an element of ``segments``."""
        found: dict[str, Any] = {
            "label": self.label,
            "start_s": round(self.start_s, 4),
            "end_s": round(self.end_s, 4),
            "start_frame": self.start_frame,
            "end_frame": self.end_frame,
            "score": round(self.score, 4),
        }
        return found if self.caption is None else found | {"caption": self.caption}


@dataclass(frozen=True)
class FramesSummary:
    """What is known of a video once it was read.

    ``clip``: the labels of the video as a whole, by their mean score over its labelled frames.
    ``video``: what was read of which file. ``truncated``: the file ended too soon, or could not be
    read to its end; what came before counts.
    """

    segments: list[LabelSegment]
    clip: list[LabelScore]
    video: dict[str, Any]
    truncated: bool
    model: str
    timing_ms: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the body that ``POST /frames`` answers, without ``frames``."""
        return {
            "segments": [segment.to_dict() for segment in self.segments],
            "clip": {"labels": _scores(self.clip)},
            "video": self.video,
            "truncated": self.truncated,
            "model": self.model,
            "timing_ms": {name: round(value, 2) for name, value in self.timing_ms.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class FramesResult:
    """The answer for one video: every labelled frame, and the summary."""

    frames: list[FrameLabels]
    summary: FramesSummary

    @property
    def segments(self) -> list[LabelSegment]:
        """The summary's segments, in order of their start."""
        return self.summary.segments

    @property
    def clip(self) -> list[LabelScore]:
        """The summary's labels of the video as a whole."""
        return self.summary.clip

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the body that ``POST /frames`` answers."""
        return {"frames": [frame.to_dict() for frame in self.frames], **self.summary.to_dict()}


def video_dict(info: VideoInfo) -> dict[str, Any]:
    """What a file says of itself, as JSON; what it does not say is None."""
    return {
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "start_s": round(info.start_s, 4),
        "duration_s": None if info.duration_s is None else round(info.duration_s, 4),
        "fps": None if info.fps is None else round(info.fps, 4),
    }


def _scores(labels: list[LabelScore]) -> list[dict[str, Any]]:
    return [{"label": found.label, "score": round(found.score, 4)} for found in labels]
