"""A video's labels as files: subtitles, tables, and JSON by line.

Each function takes the plain form of a result, :meth:`FramesResult.to_dict`, as it is also stored
and sent, and gives text that ends with a newline. Subtitles and the table hold the segments. Their
times differ: a table's are the container's own, a subtitle's count from the first frame, as
players count.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from captioner.tasks.frame_options import FrameLabels, FramesSummary

Body = Mapping[str, Any]

COLUMNS = ("label", "start_s", "end_s", "start_frame", "end_frame", "score", "caption")


class Format(NamedTuple):
    """How a file of labels is called, and what makes it."""

    media_type: str
    write: Callable[[Body], str]


def to_json(body: Body) -> str:
    """The whole result as one object."""
    return json.dumps(body, ensure_ascii=False) + "\n"


def to_ndjson(body: Body) -> str:
    """A line for each frame and one for the summary, as a stream of events has them."""
    summary = {name: value for name, value in body.items() if name != "frames"}
    frames = "".join(_line("frame", frame) for frame in body["frames"])
    return frames + _line("summary", summary)


def event_line(event: FrameLabels | FramesSummary) -> str:
    """One event of a :class:`~captioner.tasks.frame_stream.FrameStream` as a line of NDJSON."""
    return _line(event_type(event), event.to_dict())


def event_type(event: FrameLabels | FramesSummary) -> str:
    """``frame`` or ``summary``."""
    return "frame" if isinstance(event, FrameLabels) else "summary"


def to_csv(body: Body) -> str:
    """A table of segments with a header line; lines end as RFC 4180 has it."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(body["segments"])
    return table.getvalue()


def to_vtt(body: Body) -> str:
    """WebVTT: a cue for each segment, which may overlap; its caption stands on a second line."""
    cues = (
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_vtt_text(text)}\n"
        for start, end, text in _cues(body)
    )
    return "\n".join(["WEBVTT\n", *cues])


def to_srt(body: Body) -> str:
    """SubRip: as WebVTT, with numbers."""
    cues = (
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_srt_text(text)}\n"
        for number, (start, end, text) in enumerate(_cues(body), 1)
    )
    return "\n".join(cues)


FORMATS = {
    "json": Format("application/json", to_json),
    "ndjson": Format("application/x-ndjson", to_ndjson),
    "vtt": Format("text/vtt", to_vtt),
    "srt": Format("application/x-subrip", to_srt),
    "csv": Format("text/csv", to_csv),
}
"""By name, which is also the file's ending and the value of the service's ``format``."""


def _line(kind: str, values: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, **values}, ensure_ascii=False) + "\n"


def _cues(body: Body) -> Iterator[tuple[int, int, list[str]]]:
    """Start and end in milliseconds, and the lines to show, of each segment."""
    begin = float(body["video"].get("start_s", 0.0))
    for segment in body["segments"]:
        start, end = (max(0, round(1000 * (segment[key] - begin))) for key in ("start_s", "end_s"))
        lines = [segment["label"], segment.get("caption") or ""]
        # No line may be empty: it would end the cue.
        yield start, max(end, start + 1), [" ".join(x.split()) for x in lines if x.strip()] or ["-"]


def _clock(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{thousandths:03}"


def _vtt_text(lines: list[str]) -> str:
    text = "\n".join(lines)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _srt_text(lines: list[str]) -> str:
    # There is no way to write these so that every player shows them and none obeys them.
    return "\n".join(lines).replace("<", "‹").replace(">", "›")
