"""When a frame is shown and which number it has, and whether it is the next one to be taken."""

from __future__ import annotations

import heapq
from collections import deque
from fractions import Fraction

import av
from av.packet import Packet
from av.video.stream import VideoStream

from captioner.errors import VideoError

# No encoder shows a frame later than this many seconds after one that is stored behind it.
_REORDERING_S = 2.0

# Containers round times to their own tick. What was rounded down by at most this many seconds
# (Matroska: half a millisecond) still counts as in time.
_ROUNDING_S = 0.0005


class FrameTimes:
    """The time of each frame in seconds, from the container's timestamps; it never goes back.

    Where a timestamp is missing, the time follows from the frame before and the frame rate. A
    frame that damage has brought out of order gets the time of the one before. Where timestamps
    start anew (two recordings in one file), they are moved to go on from there. ``guessed`` counts
    the frames whose time had to be found in one of these ways.

    Raises VideoError for a frame with no timestamp in a video with no frame rate.
    """

    def __init__(self, time_base: Fraction | None, rate: Fraction | None) -> None:
        self.guessed = 0
        self._time_base = time_base
        self._rate = rate
        self._shift = 0.0
        self._last: tuple[int, float] | None = None

    def time_of(self, index: int, timestamp: int | None) -> float:
        """Seconds, for frame number ``index``."""
        if timestamp is None or self._time_base is None:
            shown = self._next(index)
            self.guessed += 1
        else:
            shown = float(timestamp * self._time_base) + self._shift
            if self._last is not None and shown < self._last[1]:
                last = self._last[1]
                if last - shown > _REORDERING_S:
                    self._shift += self._next(index) - shown
                    last = self._next(index)
                shown = last
                self.guessed += 1
        self._last = index, shown
        return shown

    def _next(self, index: int) -> float:
        if not self._rate:
            raise VideoError(
                "its frames have no times, and it gives no frame rate.",
                hint="Convert it to MP4 with a constant frame rate.",
            )
        if self._last is None:
            return float(index / self._rate)
        before, shown = self._last
        return shown + float(max(1, index - before) / self._rate)


class Ticks:
    """Takes the first frame at or after each of ``start + k * every_s``; every frame for None."""

    def __init__(self, every_s: float | None) -> None:
        self._every_s = every_s
        self._start: float | None = None
        self._next = 0

    def take(self, time_s: float) -> bool:
        """Whether a frame shown at ``time_s`` is taken; times must not go back."""
        if self._every_s is None:
            return True
        if self._start is None:
            self._start = time_s
        passed = int((time_s - self._start + _ROUNDING_S) // self._every_s)
        if passed < self._next:
            return False
        self._next = passed + 1
        return True


class DisplayOrder:
    """The numbers of frames among all frames, when only a few of them are decoded.

    Told from the packets alone: a frame's number is how many packets are to be shown before it,
    counted from the first frame that was decoded. Packets come in the order of decoding, so that
    it is only known once that order has passed the frame's own time.
    """

    def __init__(self) -> None:
        self._begun = False
        self._ahead: list[int] = []  # a heap: times of packets that are not yet counted
        self._passed = 0
        self._decoded: int | None = None
        self._keys: deque[int] = deque()
        self._numbers: dict[int, int] = {}

    def see(self, packet: Packet[VideoStream]) -> None:
        """Take note of the next packet of the video."""
        shown = packet.pts if packet.pts is not None else packet.dts
        if shown is None or packet.is_discard:  # an edit list hides it
            return
        heapq.heappush(self._ahead, shown)
        if packet.is_keyframe:
            self._keys.append(shown)
        self._decoded = packet.dts if packet.dts is not None else shown
        if self._begun:
            self._pass(self._decoded)

    def begin(self, frame: av.VideoFrame) -> None:
        """``frame`` is the first that was decoded: number 0."""
        if frame.pts is not None:
            self._ahead = [shown for shown in self._ahead if shown >= frame.pts]
            heapq.heapify(self._ahead)
            self._keys = deque(shown for shown in self._keys if shown > frame.pts)
        self._begun = True
        if self._decoded is not None:
            self._pass(self._decoded)

    def number(self, frame: av.VideoFrame, *, final: bool = False) -> int | None:
        """The number of a later key frame; None while it is not known.

        ``final``: no further packet will be seen before it has to be known.
        """
        if final:
            while self._keys and (frame.pts is None or self._keys[0] <= frame.pts):
                self._pass(self._keys[0])
        number = self._numbers.pop(frame.pts, None) if frame.pts is not None else None
        return self._passed if number is None and final else number

    def _pass(self, decoded: int) -> None:
        while self._keys and self._keys[0] <= decoded:
            self._count_until(self._keys[0])
            self._numbers[self._keys.popleft()] = self._passed
        self._count_until(decoded)

    def _count_until(self, time: int) -> None:
        while self._ahead and self._ahead[0] < time:
            heapq.heappop(self._ahead)
            self._passed += 1
