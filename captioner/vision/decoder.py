"""From the bytes of a video to decoded frames, with FFmpeg kept on a short leash.

It gets bytes and no name, one demuxer and no other, no protocol at all; a decoder runs only once
the size of the frames is known to be within the limits, and only one of those that are in use
today. What is damaged is counted and left out; what comes before the damage is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from captioner.errors import (
    NoVideoStream,
    UnsupportedVideo,
    UserError,
    VideoError,
    VideoTimeout,
)
from captioner.vision.claims import Claims
from captioner.vision.containers import DEMUXERS, can_be_read_in_order, sniff_container
from captioner.vision.sources import ByteSource
from captioner.vision.timeline import DisplayOrder
from captioner.vision.video_limits import VideoLimits

# What people's cameras, phones and programs write. FFmpeg has decoders for hundreds more, of
# games and machines long gone, in which nobody looks for mistakes.
CODECS = frozenset(
    {"h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "gif"}
    | {"ffv1", "prores", "dnxhd", "dvvideo", "theora", "h263", "flv1", "msmpeg4v2", "msmpeg4v3"}
    | {"wmv2", "wmv3", "vc1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "qtrle", "png"}
)

# The demuxers that mark only the packet in which a cut file ends; others mark every doubt.
_MARK_THE_CUT = ("MP4", "AVI")

_PADDING = 2**16  # pixels: decoders round sides up to whole blocks

# FFmpeg looks at two seconds of a video before it gives a frame, for frame rates above all. While
# the video is still arriving somebody waits for that frame; these tell the rate from less of it.
_ANALYSED_S = 2.0
_ANALYSED_IN_ORDER_S = {"MP4": 0.1, "MATROSKA": 0.1, "MPEG-TS": 0.1, "GIF": 0.1, "MPEG-PS": 0.5}


class Decoder:
    """The video stream of a file, opened and checked, nothing decoded yet.

    ``container`` as in ``sniff_container``. ``order``, with ``key_frames``, numbers the frames.
    ``errors``: pieces that could not be decoded. ``frames_read``: frames that were.
    ``truncated``: the file has lost its end, or cannot be read to it; known after the last frame.

    Raises EmptyVideo, UnsupportedVideo, NoVideoStream, VideoTooLarge, VideoTooLong, and
    VideoError for a file that cannot be opened.
    """

    def __init__(
        self, source: ByteSource, limits: VideoLimits, *, threads: int, key_frames: bool
    ) -> None:
        self.truncated = False
        self.errors = 0
        self.frames_read = 0
        self.order = DisplayOrder() if key_frames else None
        self._source = source
        self._limits = limits
        self._keys_only = False
        self.container = sniff_container(source.head)
        if not source.seekable() and not can_be_read_in_order(source.head):
            raise VideoError(
                "its index does not stand before its frames, so that it cannot be read in order.",
                hint="Wait for the whole file.",
            )
        claims = Claims(self.container, source.head)
        source.examine(claims)
        if source.seekable() and not claims.has_index:
            raise VideoError(
                "truncated MP4: its index (moov), which is often written last, is missing.",
                hint="Send the whole file.",
            )
        self._input = open_input(source, self.container, limits)
        try:
            self.stream = _find_stream(self._input)
            codec = self.stream.codec_context
            limits.check_size(codec.width, codec.height)
        except UserError:
            self._input.close()
            raise
        codec.options = {"max_pixels": str(limits.max_pixels + _PADDING)}
        codec.thread_type = "AUTO"
        codec.thread_count = threads

    def duration_s(self, start_s: float) -> float | None:
        """What the container says the video lasts, from its first frame at ``start_s``."""
        if not self._input.duration or self._input.duration < 0:
            return None
        seconds = self._input.duration / 1e6
        # Matroska counts from 0 and not from the first frame.
        if self.container == "MATROSKA" and 0 < start_s < seconds:
            seconds -= start_s
        return seconds

    @property
    def frames_claimed(self) -> int | None:
        """How many frames the container says the video has; None where it does not say.

        An AVI's header counts the ticks of its rate, also those at which no new frame is stored:
        a made-up rate of a thousand a second gives a thousand. Its index lists the frames, and is
        there when the file can seek.
        """
        if self.container != "AVI":
            return self.stream.frames or None
        return len(self.stream.index_entries) or None if self._source.seekable() else None

    def skip_to_key_frames(self) -> None:
        """From here on, decode only what stands by itself (frames under way still come)."""
        self._keys_only = True
        self.stream.codec_context.skip_frame = "NONKEY"

    def frames(self) -> Iterator[av.VideoFrame]:
        """All frames in the order in which they are shown.

        Raises VideoTooLong, VideoTimeout, and VideoError when the bytes stop coming.
        """
        hurt = False  # whether nothing good has followed the last damage
        for packet in chain(self._packets(), (None,)):
            if packet is not None:
                if self.order is not None:
                    self.order.see(packet)
                if packet.is_corrupt and self.container in _MARK_THE_CUT:
                    hurt = True
                    continue
                if self._keys_only and not packet.is_keyframe:
                    continue
            try:
                frames = self.stream.codec_context.decode(packet)
            except Exception:  # a decoder's, of which there are many kinds
                self.errors += 1
                hurt = True
                continue
            if packet is not None:
                hurt = packet.is_corrupt
            for frame in frames:
                self.frames_read += 1
                self._limits.check_frames(self.frames_read)
                yield frame
        self.truncated = self.truncated or hurt or self._source.is_cut()

    def close(self) -> None:
        """Free the demuxer; ``frames`` must have been closed before."""
        self._input.close()

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self._input.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.ExitError as error:  # FFmpeg's own look at the clock
                raise VideoTimeout(
                    f"reading the video took more than {self._limits.max_seconds:g} seconds."
                ) from error
            except Exception:  # damaged from here on; what came before counts
                self._source.check()
                self.truncated = True
                return
            self._source.check()
            if packet is None:
                return
            # An empty one would tell the decoder that the video ends; AVI repeats frames that way.
            if packet.size:
                yield packet


def open_input(source: ByteSource, container: str, limits: VideoLimits) -> InputContainer:
    """A container's one demuxer, with no right to anything but these bytes.

    ``container`` as in ``sniff_container``. Raises VideoError, and what ``source`` met.
    """
    demuxer = DEMUXERS[container]
    analysed_s = _ANALYSED_S
    if not source.seekable():
        analysed_s = _ANALYSED_IN_ORDER_S.get(container, _ANALYSED_S)
    try:
        opened = av.open(
            source,
            "r",
            format=demuxer,
            container_options={
                "format_whitelist": demuxer,
                "protocol_whitelist": "none",
                "codec_whitelist": "none",  # FFmpeg would decode frames to see what they are
                "max_streams": "64",
                # Without decoding, it would look at this much of any video.
                "probesize": str(2 * 2**20),
                "analyzeduration": str(int(1e6 * analysed_s)),
            },
            metadata_errors="replace",
            timeout=limits.max_seconds,
        )
    except Exception as error:
        source.check()
        if source.is_cut():
            raise VideoError(
                f"truncated {container}: it ends before its frames begin.",
                hint="Send the whole file.",
            ) from error
        raise damaged(container, "its header cannot be read") from error
    try:
        source.check()
    except UserError:
        opened.close()
        raise
    return opened


def _find_stream(container: InputContainer) -> VideoStream:
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not moving:
        kinds = sorted({stream.type for stream in container.streams})
        raise NoVideoStream(
            f"the file has no video stream; it holds {', '.join(kinds) or 'nothing'}.",
            hint="Send a file with moving pictures.",
        )
    stream = min(moving, key=lambda stream: not stream.disposition & Disposition.default)
    codec = stream.codec_context
    name = "unknown" if codec is None else codec.codec.canonical_name
    if name not in CODECS:
        raise UnsupportedVideo(
            f"its codec ({name}) is not read.", hint="Convert it to H.264 in MP4."
        )
    return stream


def damaged(container: str, why: str) -> VideoError:
    """The error for a file of which nothing can be read."""
    return VideoError(
        f"damaged {container}: {why}.", hint="Play it, to see that it is whole; save it again."
    )
