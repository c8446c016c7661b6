"""A video with its labels drawn in: names with bars, and a line of time with all of them.

What is drawn comes as the plain form of a result (``FramesResult.to_dict``). Every frame is kept,
at its own time, and the sound where MP4 can hold it.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from PIL import Image, ImageChops, ImageDraw

from captioner.errors import UserError
from captioner.explain.label_strip import (
    Body,
    font_of,
    label_colours,
    label_row,
    longest_labels,
    span,
)
from captioner.vision.containers import sniff_container
from captioner.vision.decoder import open_input
from captioner.vision.sources import ByteSource, Stopwatch
from captioner.vision.video import VideoLimits, open_video

MOST_ROWS, MOST_NAMES = 8, 4
_DARK, _LIGHT, _TRACK = (18, 18, 18), (245, 245, 245), (70, 70, 70)
_GROUND = 170  # of 255: how much of the picture the panels hide
_CLOCK = Fraction(1, 90_000)
_BT709 = 1
# What the sound may be coded with in each of the containers we write.
_SOUND = frozenset({"aac", "mp3", "opus", "ac3", "eac3", "flac", "alac"})


def write_overlay(
    video: str | os.PathLike[str] | bytes,
    body: Body,
    target: str | os.PathLike[str],
    *,
    limits: VideoLimits | None = None,
    seen: Callable[[float], object] | None = None,
) -> list[str]:
    """Writes ``target``, an MP4, MOV or MKV with H.264; gives warnings, such as sound left out.

    Times are the video's own, counted from its first frame. ``seen`` is called with the seconds of
    each frame. Memory is that of a frame. Raises the :class:`~captioner.errors.VideoError` family.
    """
    limits = limits or VideoLimits()
    with ExitStack() as stack:
        frames = stack.enter_context(open_video(video, limits=limits))
        start_s = frames.info.start_s
        sound = stack.enter_context(_Sound(video, limits, start_s))
        output = stack.enter_context(av.open(os.fspath(target), "w"))
        width, height = frames.info.width, frames.info.height
        stream = _video_stream(output, width, height, frames.info.fps)
        sound.copy_to(output)
        drawing = _Drawing(body, width, height)
        pts = -1
        for frame in frames:
            picture = frame.image
            if picture.size != (width, height):  # it changed on the way
                picture = picture.resize((width, height))
            drawing.draw(picture, frame.time_s)
            pts = max(pts + 1, round((frame.time_s - start_s) / _CLOCK))
            _encode(output, stream, picture, pts)
            sound.copy_until(frame.time_s - start_s)
            if seen is not None:
                seen(frame.time_s)
        output.mux(stream.encode(None))
        sound.copy_until(frames.end_s - start_s)
        return sound.warnings


Panel = tuple[Image.Image, Image.Image]  # a picture and how much it hides of what is below


class _Drawing:
    """The panels over one frame after another; what stays the same is drawn once."""

    def __init__(self, body: Body, width: int, height: int) -> None:
        self._body = body
        self._width, self._height = width, height
        self._text = min(40, max(10, height // 24))
        self._names = longest_labels(body, 10_000)
        self._colours = label_colours(self._names)
        self._times = [frame["time_s"] for frame in body["frames"]]
        self._scores: list[dict[str, float]] = [
            {found["label"]: found["score"] for found in frame["labels"]}
            for frame in body["frames"]
        ]
        self._segments = sorted(body["segments"], key=lambda found: float(found["start_s"]))
        self._starts = [found["start_s"] for found in self._segments]
        self._track = self._draw_track()
        self._shown: list[tuple[str, float]] = []
        self._panel: Panel | None = None

    def draw(self, picture: Image.Image, time_s: float) -> None:
        """Draws what is on at ``time_s`` into the picture itself."""
        on = self._on(time_s)
        if on != self._shown:
            self._shown, self._panel = on, self._draw_names(on)
        if self._panel is not None:
            picture.paste(self._panel[0], (self._text // 2, self._text // 2), self._panel[1])
        if self._track is not None:
            top = self._height - self._track[0].height
            picture.paste(self._track[0], (0, top), self._track[1])
            start, end = span(self._body)
            place = round((time_s - start) / (end - start) * (self._width - 1))
            thick = max(1, self._width // 400)
            ImageDraw.Draw(picture).rectangle(
                (place - thick, top, place + thick, self._height), fill=_LIGHT
            )

    def _on(self, time_s: float) -> list[tuple[str, float]]:
        """The labels that are on, likeliest first, with the score of the last labelled frame."""
        place = bisect_right(self._times, time_s + 1e-6) - 1
        scores = self._scores[place] if place >= 0 else {}
        started = self._segments[: bisect_right(self._starts, time_s + 1e-6)]
        on = {
            found["label"]: scores.get(found["label"], found["score"])
            for found in started
            if found["end_s"] > time_s + 1e-6
        }
        return sorted(on.items(), key=lambda item: -item[1])[:MOST_NAMES]

    def _draw_names(self, on: Sequence[tuple[str, float]]) -> Panel | None:
        if not on:
            return None
        text, font = self._text, font_of(self._text)
        bar = 5 * text
        space = min(self._width - text, bar + 2 * text + 12 * text) - bar - 2 * text
        names = [_fitting(name, font, space) for name, _ in on]
        longest = max(round(font.getlength(name)) for name in names)
        row = round(1.5 * text)
        panel = Image.new("RGB", (longest + bar + 2 * text, row * len(on) + text // 2), _DARK)
        draw = ImageDraw.Draw(panel)
        for number, ((label, score), name) in enumerate(zip(on, names, strict=True)):
            middle = text // 4 + row * number + row // 2
            draw.text((text // 2, middle), name, _LIGHT, font, anchor="lm")
            left, half = longest + text, text // 3
            draw.rectangle((left, middle - half, left + bar, middle + half), fill=_TRACK)
            full = left + round(bar * min(1.0, max(0.0, score)))
            draw.rectangle((left, middle - half, full, middle + half), fill=self._colours[label])
        return panel, _cover(panel)

    def _draw_track(self) -> Panel | None:
        labels = longest_labels(self._body, MOST_ROWS)
        if not labels:
            return None
        row = max(3, self._height // 70)
        track = Image.new("RGB", (self._width, (row + 1) * len(labels) + 1), _DARK)
        for number, label in enumerate(labels):
            strip = label_row(self._body, label, self._colours[label], self._width, row, _DARK)
            track.paste(strip, (0, 1 + number * (row + 1)))
        return track, _cover(track)


class _Sound:
    """The packets of a video's sound, copied as they are; nothing where there is none."""

    def __init__(self, video: Any, limits: VideoLimits, start_s: float) -> None:
        self.warnings: list[str] = []
        self._start_s = start_s
        self._source = ByteSource(
            video, limits=limits, watch=Stopwatch(limits.max_seconds, time.monotonic)
        )
        self._input: Any = None
        self._found: AudioStream | None = None
        self._copy: Any = None
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        try:
            container = sniff_container(self._source.head)
            self._input = open_input(self._source, container, limits)
            self._found = next(iter(self._input.streams.audio), None)
        except UserError as error:  # the pictures may still be read
            self.warnings.append(f"the sound was left out: {error.message}")

    def __enter__(self) -> _Sound:
        return self

    def __exit__(self, *_: object) -> None:
        if self._input is not None:
            self._input.close()
        self._source.close()

    def copy_to(self, output: OutputContainer) -> None:
        """From now on, where the codec can be kept."""
        if self._found is None:
            return
        codec = self._found.codec_context
        name = codec.codec.canonical_name
        # In a transport stream the rate stands in each packet, and the header would need it.
        if name not in _SOUND or not codec.sample_rate:
            self.warnings.append(f"the sound ({name}) was left out: it cannot be copied as it is")
            return
        self._copy = output.add_stream_from_template(self._found)
        self._packets = self._input.demux(self._found)
        self._next = self._following()

    def copy_until(self, seconds: float) -> None:
        """What begins before so many seconds after the first frame."""
        while self._next is not None and self._seconds(self._next) <= seconds:
            packet = self._next
            if self._seconds(packet) >= 0:
                shift = round(self._start_s / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = self._copy
                self._copy.container.mux(packet)
            self._next = self._following()

    def _seconds(self, packet: Any) -> float:
        return float(packet.pts * packet.time_base) - self._start_s

    def _following(self) -> Any:
        try:
            return next((p for p in self._packets if p.size and p.pts is not None), None)
        except Exception:  # damaged from here on
            self.warnings.append("the sound ends too soon: the file is damaged")
            return None


def _video_stream(
    output: OutputContainer, width: int, height: int, fps: float | None
) -> VideoStream:
    rate = Fraction(fps).limit_denominator(1001) if fps and 1 <= fps <= 240 else 25
    stream = output.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "21"})
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = width + width % 2, height + height % 2  # 4:2:0 has no odd sides
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.time_base = _CLOCK
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    return stream


def _encode(output: OutputContainer, stream: VideoStream, picture: Image.Image, pts: int) -> None:
    if picture.size != (stream.width, stream.height):
        padded = Image.new("RGB", (stream.width, stream.height))
        padded.paste(picture, (0, 0))
        picture = padded
    frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
    frame.pts, frame.time_base = pts, _CLOCK
    output.mux(stream.encode(frame))


def _cover(panel: Image.Image) -> Image.Image:
    """How much of the picture a panel hides: all under its text and bars, not all beside them."""
    drawn = ImageChops.difference(panel, Image.new("RGB", panel.size, _DARK)).convert("L")
    return drawn.point(lambda value: 255 if value else _GROUND)


def _fitting(name: str, font: Any, width: int) -> str:
    name = " ".join(name.split()) or "-"
    while len(name) > 1 and font.getlength(name) > width:
        name = name[:-2].rstrip() + "…"
    return name
