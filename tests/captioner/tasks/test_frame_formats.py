from __future__ import annotations

import csv
import io
import json
from typing import Any

import av
import pytest

from captioner.tasks.frame_formats import (
    COLUMNS,
    FORMATS,
    event_line,
    to_csv,
    to_json,
    to_ndjson,
    to_srt,
    to_vtt,
)
from captioner.tasks.frame_options import (
    FrameLabels,
    FramesResult,
    FramesSummary,
    LabelScore,
    LabelSegment,
)

NASTY = [
    "dog",
    "a --> b",
    "<b>bold</b> & more",
    "two\nlines\r\n\r\nand three",
    'quote "this", please',
    "x\u2028y",
    "",
    "개",
]


def result(labels: list[str] = NASTY, *, start_s: float = 0.0, **changed: Any) -> FramesResult:
    """A segment a label, one second each, the first with a caption."""
    segments = [
        LabelSegment(
            label,
            start_s + number,
            start_s + number + 1,
            10 * number,
            10 * number + 10,
            0.75,
            "a dog runs ." if number == 0 else None,
        )
        for number, label in enumerate(labels)
    ]
    summary = {
        "segments": segments,
        "clip": [LabelScore(labels[0], 0.5)],
        "video": {"start_s": start_s, "frames_read": 10 * len(labels)},
        "truncated": False,
        "model": "frames@1",
        "timing_ms": {"total": 12.345},
    }
    frames = [
        FrameLabels(10 * number, start_s + number, [LabelScore(label, 0.75)])
        for number, label in enumerate(labels)
    ]
    return FramesResult(frames, FramesSummary(**(summary | changed)))


def cues(text: str, kind: str) -> list[tuple[float, float, str]]:
    """What FFmpeg's own reader of subtitles finds."""
    found = []
    with av.open(io.BytesIO(text.encode()), format=kind) as subtitles:
        [stream] = subtitles.streams
        for packet in subtitles.demux(stream):
            if packet.pts is not None:
                start = float(packet.pts * packet.time_base)
                length = float((packet.duration or 0) * packet.time_base)
                found.append((start, start + length, bytes(packet).decode()))
    return found


def test_webvtt_reads_as_one_cue_a_segment() -> None:
    found = cues(to_vtt(result().to_dict()), "webvtt")
    assert [(start, end) for start, end, _ in found] == [(n, n + 1) for n in range(len(NASTY))]
    assert [text for *_, text in found] == [
        "dog\na dog runs .",
        "a --&gt; b",
        "&lt;b&gt;bold&lt;/b&gt; &amp; more",
        "two lines and three",
        'quote "this", please',
        "x y",
        "-",
        "개",
    ]


def test_srt_reads_as_one_cue_a_segment() -> None:
    found = cues(to_srt(result().to_dict()), "srt")
    assert [(start, end) for start, end, _ in found] == [(n, n + 1) for n in range(len(NASTY))]
    assert [text for *_, text in found][:4] == [
        "dog\na dog runs .",
        "a --› b",
        "‹b›bold‹/b› & more",
        "two lines and three",
    ]


def test_only_times_have_arrows_in_subtitles() -> None:
    for text in (to_vtt(result().to_dict()), to_srt(result().to_dict())):
        assert text.count("-->") == len(NASTY)


def test_subtitles_count_from_the_first_frame_and_tables_as_the_container() -> None:
    body = result(["dog"], start_s=3610.0004).to_dict()
    assert "00:00:00.000 --> 00:00:01.000" in to_vtt(body)
    assert "00:00:00,000 --> 00:00:01,000" in to_srt(body)
    assert "dog,3610.0004,3611.0004" in to_csv(body)


def test_hours_are_written_out() -> None:
    late = LabelSegment("dog", 3723.5, 360_000.0, 0, 1, 0.5)
    assert "01:02:03.500 --> 100:00:00.000" in to_vtt(result(segments=[late]).to_dict())


def test_a_segment_without_length_is_still_a_cue() -> None:
    brief = LabelSegment("dog", 0.5, 0.5, 0, 1, 0.5)
    assert "00:00:00.500 --> 00:00:00.501" in to_vtt(result(segments=[brief]).to_dict())


def test_a_table_gives_every_label_back() -> None:
    body = result().to_dict()
    rows = list(csv.DictReader(io.StringIO(to_csv(body), newline="")))
    assert [row["label"] for row in rows] == NASTY
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["caption"] == "a dog runs ."
    assert (rows[1]["start_s"], rows[1]["end_frame"], rows[1]["caption"]) == ("1.0", "20", "")


def test_json_and_its_lines_hold_the_same() -> None:
    found = result()
    body = found.to_dict()
    assert json.loads(to_json(body)) == json.loads(json.dumps(body))
    text = to_ndjson(body)
    assert len(text.splitlines()) >= len(NASTY) + 1
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [line.pop("type") for line in lines] == ["frame"] * len(NASTY) + ["summary"]
    assert lines[-1] | {"frames": lines[:-1]} == body
    streamed = [event_line(event) for event in (*found.frames, found.summary)]
    assert "".join(streamed) == text


@pytest.mark.parametrize("name", FORMATS)
def test_a_video_in_which_nothing_was_found_is_a_file_too(name: str) -> None:
    body = result(segments=[], clip=[]).to_dict()
    text = FORMATS[name].write(body)
    assert text.endswith("\n") or not text
    assert "\n\n\n" not in text
