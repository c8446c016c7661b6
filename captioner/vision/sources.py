"""The bytes of a video on their way to FFmpeg, and the time that reading may take.

FFmpeg is handed a ``ByteSource`` and nothing else: no name it could take for an address or learn
a format from, and no right to open anything by itself. Whatever goes wrong below FFmpeg looks to
it like the end of the file, which it handles well; the reason waits in ``failure``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from captioner.errors import UserError, VideoError, VideoTimeout
from captioner.vision.claims import Claims
from captioner.vision.containers import HEAD_BYTES
from captioner.vision.video_limits import VideoLimits

VideoFile = str | os.PathLike[str] | bytes | IO[bytes]
"""A path, the bytes themselves, or a file that was opened for reading in binary mode."""


class Stopwatch:
    """Seconds spent between entering and leaving, summed up; ``clock`` only ever goes forward.

    Whoever takes the frames may be slow: that time is not counted.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._spent = 0.0
        self._since: float | None = None

    def __enter__(self) -> Stopwatch:
        self._since = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._since is not None:
            self._spent += self._clock() - self._since
            self._since = None

    def check(self) -> None:
        """Raise VideoTimeout when the seconds are over."""
        running = self._clock() - self._since if self._since is not None else 0.0
        if self._spent + running > self.seconds:
            raise VideoTimeout(
                f"reading the video took more than {self.seconds:g} seconds.",
                hint="Send a shorter or a smaller video.",
            )


class ByteSource:
    """A video's bytes as FFmpeg reads them.

    A file that cannot seek is read in order, once, from where it stands; any other from its
    beginning to its end. ``size`` is None in the first case, until the end was met. Only a file
    that was opened here is closed by ``close``.

    Raises VideoError when there is nothing to read from, VideoTooLarge above ``limits.max_bytes``.
    """

    def __init__(self, video: VideoFile, *, limits: VideoLimits, watch: Stopwatch) -> None:
        self.failure: UserError | None = None
        self.size: int | None = None
        self._limits = limits
        self._watch = watch
        self._claims: Claims | None = None
        self._position = 0
        self._tail = b""
        self._file, self._owned = _open(video)
        try:
            self._in_order = not self._file.seekable()
            if not self._in_order:
                self.size = self._file.seek(0, os.SEEK_END)
                self._file.seek(0)
                self._limits.check_bytes(self.size)
            self.head = self._read_head()
            if self.size is not None:
                self._tail = self._read_at(max(0, self.size - 64), 64)
                self._file.seek(0)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            self.close()
            raise VideoError(f"cannot read the video: {_reason(error)}.") from error
        except UserError:
            self.close()
            raise

    def examine(self, claims: Claims) -> None:
        """Look at what the file claims: at once, or, read in order, as its bytes come by.

        Raises as ``Claims.look_through``, and what ``check`` raises.
        """
        self._claims = claims
        if not self._in_order:
            claims.look_through(self._read_at)
            self.check()
            self._file.seek(0)

    def is_cut(self) -> bool:
        """Whether the file has lost its end; known after it was read, or before if it can seek."""
        if self._claims is None or self.size is None:
            return False
        return self._claims.is_cut(self.size, self._tail)

    def check(self) -> None:
        """Raise what went wrong below FFmpeg, and VideoTimeout when the time is over."""
        if self.failure is not None:
            raise self.failure
        self._watch.check()

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._owned:
            self._file.close()

    # ---- what FFmpeg calls, from within a call that must not be left by an exception

    def seekable(self) -> bool:
        """Whether ``seek`` may be called."""
        return not self._in_order

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; none at the end, or after a failure."""
        if self.failure is not None:
            return b""
        try:
            self._watch.check()
            if not self._in_order:
                return self._file.read(count)
            return self._read_in_order(count)
        except UserError as error:
            self.failure = error
        except Exception as error:
            self.failure = VideoError(f"cannot read the video: {_reason(error)}.")
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, which is given back."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position if self._in_order else self._file.tell()

    # ---- the two ways to read

    def _read_head(self) -> bytes:
        parts, missing = [], HEAD_BYTES
        while missing:  # a pipe gives what it has
            part = self._file.read(missing)
            if not isinstance(part, bytes):
                raise TypeError("it was not opened in binary mode")
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _read_at(self, position: int, count: int) -> bytes:
        if self.failure is not None:
            return b""
        try:
            self._file.seek(position)
        except (OSError, ValueError, OverflowError):
            return b""  # a claim beyond all files
        return self.read(count)

    def _read_in_order(self, count: int) -> bytes:
        if self._position < len(self.head):
            data = self.head[self._position : self._position + count]
        else:
            data = self._file.read(count)
        if not data:
            self.size = self._position
            return b""
        self._limits.check_bytes(self._position + len(data))
        if self._claims is not None:
            self._claims.feed(self._position, data)
        self._position += len(data)
        self._tail = (self._tail + data)[-64:]
        return data


def _open(video: VideoFile) -> tuple[IO[bytes], bool]:
    if isinstance(video, bytes):
        return io.BytesIO(video), True
    if not isinstance(video, str | os.PathLike):
        return video, False
    path = Path(video)
    try:
        # Asked first: to open a pipe that nobody writes to would wait for ever.
        if path.exists() and not path.is_file():
            raise VideoError(f"{path.name} is not a file.")
        return path.open("rb"), True
    except (OSError, ValueError) as error:
        raise VideoError(f"cannot read {path.name}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.removesuffix(".")
