"""From a video file to upright RGB frames with their times, whatever the file is.

    sniff      first bytes -> container, or UnsupportedVideo with the name of what it looks like
    claims     a cut file and an index bomb are told from the headers alone
    open       one demuxer, no names, no network; nothing is decoded before its size is known
    decode     frame by frame; what cannot be decoded is counted and left out
    sample     every frame, one every so many seconds, or key frames; the rest is never converted
    picture    scaled, RGB, turned upright, square pixels

Memory does not grow with the length of the video: one frame is under way at a time, besides the
few that the decoder needs itself.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from types import TracebackType

import av
from PIL import Image

from captioner.errors import InvalidOption, UnsupportedVideo, UserError
from captioner.vision.containers import FORMATS
from captioner.vision.decoder import Decoder, damaged
from captioner.vision.frame_picture import FramePictures, turn_of
from captioner.vision.sources import ByteSource, Stopwatch, VideoFile
from captioner.vision.timeline import DisplayOrder, FrameTimes, Ticks
from captioner.vision.video_limits import VideoLimits

__all__ = ["FORMATS", "Frame", "VideoInfo", "VideoLimits", "VideoReader", "open_video"]

# Key frames that wait for their number; only in files whose times are out of order are they more.
_MAX_WAITING = 8


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video after its first frame.

    ``width`` and ``height``: of the upright picture with square pixels, before any scaling.
    ``rotation``: how the file says to turn its frames, degrees counter-clockwise, -180 to 180;
    that is done already. ``start_s``: time of the first frame, which is often not 0.
    ``fps``, ``duration_s`` and ``frames`` are the header's claims, None where it makes none:
    ``frames`` may count some that an edit list hides.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    start_s: float
    fps: float | None
    duration_s: float | None
    frames: int | None


@dataclass(frozen=True)
class Frame:
    """One frame: ``index`` among all decoded frames, the container's own time, an RGB picture."""

    index: int
    time_s: float
    image: Image.Image


def open_video(
    video: VideoFile,
    *,
    every_s: float | None = None,
    key_frames: bool = False,
    target_size: int | None = None,
    limits: VideoLimits | None = None,
    threads: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> VideoReader:
    """A reader over the frames of a video: a path, its bytes, or a file open in binary mode.

        with open_video("clip.mp4", every_s=0.5, target_size=448) as video:
            for frame in video:
                print(frame.index, frame.time_s, frame.image.size)

    ``every_s``: the first frame at or after each tick of so many seconds, counted from the first
    frame's time; None takes all. ``key_frames``: only frames that are stored in full, and the
    first one; with ``every_s``, of those the first after each tick. ``target_size``: the smaller
    side, in pixels, to which pictures are scaled down. ``threads`` of the decoder, 0 for as many
    as there are cores.

    A file that cannot seek (an upload under way) is read in order; see
    ``containers.can_be_read_in_order`` for whether that will do.

    Raises EmptyVideo, UnsupportedVideo, NoVideoStream, VideoTooLarge, VideoTooLong, VideoTimeout,
    and VideoError for a file in which no frame can be decoded; InvalidOption.
    """
    if every_s is not None and not (math.isfinite(every_s) and every_s > 0):
        raise InvalidOption(f"every_s is {every_s}; it must be a number of seconds above 0.")
    if target_size is not None and not 1 <= target_size <= 4096:
        raise InvalidOption(f"target_size is {target_size}; it must be 1 to 4096 pixels.")
    if not 0 <= threads <= 64:
        raise InvalidOption(f"threads is {threads}; it must be 0 to 64.")
    limits = limits or VideoLimits()
    watch = Stopwatch(limits.max_seconds, clock)
    with watch:
        source = ByteSource(video, limits=limits, watch=watch)
        reader = None
        try:
            decoder = Decoder(source, limits, threads=threads, key_frames=key_frames)
            reader = VideoReader(source, decoder, watch, limits)
            reader._start(every_s, target_size)
        except BaseException as error:
            (reader or source).close()
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise damaged("video", "it cannot be read") from error
    return reader


class VideoReader:
    """An iterator over frames, once; ``open_video`` makes it. Close it, or use ``with``.

    ``info`` is known from the beginning; the other properties are final after the last frame.

    Iterating raises VideoTooLarge, VideoTooLong and VideoTimeout at the limits, and VideoError
    when the file cannot be read any further or gives no times. No other exception leaves it.
    """

    info: VideoInfo

    def __init__(
        self, source: ByteSource, decoder: Decoder, watch: Stopwatch, limits: VideoLimits
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._watch = watch
        self._limits = limits
        self._decoded = decoder.frames()
        self._samples: Iterator[Frame] = iter(())

    @property
    def truncated(self) -> bool:
        """Whether the file has lost its end, or cannot be read to it."""
        return self._decoder.truncated

    @property
    def decode_errors(self) -> int:
        """How many pieces could not be decoded, and were left out."""
        return self._decoder.errors

    @property
    def frames_read(self) -> int:
        """How many frames were decoded, taken or not."""
        return self._decoder.frames_read

    @property
    def end_s(self) -> float:
        """Until when, in the container's time, what was read is shown.

        The last frame lasts one by the frame rate; where only key frames were decoded, and where
        there is no rate, the header's claim counts if it is later.
        """
        last = self._shown + (1 / self.info.fps if self.info.fps else 0.0)
        claim = self.info.start_s + (self.info.duration_s or 0.0)
        if (self._decoder.order is not None or not self.info.fps) and not self.truncated:
            return max(last, claim)
        return last

    @property
    def guessed_times(self) -> int:
        """How many frames had no usable timestamp."""
        return self._times.guessed

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._watch:
            return next(self._samples)

    def close(self) -> None:
        """Free the decoder and its threads, and close the file if ``open_video`` opened it."""
        # The generators go first: what they hold points into the demuxer.
        for frames in (self._samples, self._decoded):
            if isinstance(frames, Generator):
                frames.close()
        self._samples = iter(())
        self._decoder.close()
        self._source.close()

    def _start(self, every_s: float | None, target_size: int | None) -> None:
        """Decode the first frame, without which size and times are claims."""
        first = next(self._decoded, None)
        if first is None:
            raise damaged(self._decoder.container, "no frame of it can be decoded")
        stream = self._decoder.stream
        codec, rate = stream.codec_context, stream.average_rate
        self._times = FrameTimes(stream.time_base, rate)
        self._pictures = FramePictures(
            pixel_shape=stream.sample_aspect_ratio or codec.sample_aspect_ratio,
            turn=turn_of(first),
            target_size=target_size,
        )
        width, height = self._pictures.full_size(first.width, first.height)
        self._limits.check_size(width, height)
        start = self._shown = self._times.time_of(0, first.pts)
        self.info = VideoInfo(
            container=self._decoder.container,
            codec=codec.codec.canonical_name,
            width=width,
            height=height,
            rotation=first.rotation,
            start_s=start,
            fps=float(rate) if rate else None,
            duration_s=self._decoder.duration_s(start),
            frames=self._decoder.frames_claimed,
        )
        self._check_claims(every_s)
        if self._decoder.order is not None:
            frames = self._key_frames(first, self._decoder.order)
        else:
            frames = enumerate(chain((first,), self._decoded))
        self._samples = self._sample(frames, Ticks(every_s))

    def _check_claims(self, every_s: float | None) -> None:
        info, limits = self.info, self._limits
        if info.duration_s is not None:
            limits.check_duration(info.duration_s)
        if self._decoder.order is not None:
            return  # how many key frames there are, no header says
        counts = [info.frames] if info.frames else []
        if info.duration_s and info.fps and info.container != "AVI":  # see Decoder.frames_claimed
            counts.append(int(info.duration_s * info.fps))
        if counts:
            # The smaller claim, less one: a header may count frames that are never shown.
            limits.check_frames(min(counts) - 1)
        if every_s and info.duration_s:
            counts.append(int(info.duration_s / every_s) + 1)
        if counts:
            limits.check_samples(min(counts) - 1)

    def _sample(self, frames: Iterator[tuple[int, av.VideoFrame]], ticks: Ticks) -> Iterator[Frame]:
        taken = 0
        for index, frame in frames:
            shown = self.info.start_s if index == 0 else self._times.time_of(index, frame.pts)
            self._limits.check_duration(shown - self.info.start_s)
            self._shown = shown
            if ticks.take(shown):
                taken += 1
                self._limits.check_samples(taken)
                yield Frame(index, shown, self._picture(frame))

    def _key_frames(
        self, first: av.VideoFrame, order: DisplayOrder
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        # The first frame counts, even where an edit list hides the key frame it needs.
        yield 0, first
        order.begin(first)
        self._decoder.skip_to_key_frames()
        waiting: deque[av.VideoFrame] = deque()
        for frame in chain(self._decoded, (None,)):
            if frame is not None and frame.key_frame:
                waiting.append(frame)
            while waiting:
                final = frame is None or len(waiting) > _MAX_WAITING
                index = order.number(waiting[0], final=final)
                if index is None:
                    break
                yield index, waiting.popleft()

    def _picture(self, frame: av.VideoFrame) -> Image.Image:
        self._limits.check_size(*self._pictures.full_size(frame.width, frame.height))
        try:
            return self._pictures.picture(frame)
        except Exception as error:
            raise UnsupportedVideo(
                f"its pixels ({frame.format.name}) cannot be converted.",
                hint="Convert it to H.264 in MP4.",
            ) from error
