"""A video on its way from a client to the decoder: a file on disk that grows while it is read.

The event loop writes what arrives; a thread reads behind it and waits for more. Whatever ends the
request early makes every reader fail at once, so that no decoder goes on for nobody.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from typing import IO, cast

from captioner.errors import UserError
from serving.responses import RequestError


class Abandoned(UserError):
    """Nobody waits for this video any more. It reaches no client."""


class Spool:
    """The bytes in ``file``, which belongs to the spool and is closed with it.

    ``write``, ``finish`` and ``fail`` are the event loop's; readers may be in any thread.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self.complete = False
        self._file = file
        self._failure: UserError | None = None
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        """Append bytes. Raises storage_full where the disk has no room for them."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file.fileno(), view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise RequestError(
                    "storage_full", "there is no room on disk for the video.", retry_after=30
                ) from error
            raise
        with self._changed:
            self.size += len(data)
            self._changed.notify_all()

    def finish(self) -> None:
        """Everything is here."""
        with self._changed:
            self.complete = True
            self._changed.notify_all()

    def fail(self, error: UserError) -> None:
        """Make every reader raise ``error``, also where all bytes are here."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def close(self) -> None:
        """Let the bytes go; readers fail from now on."""
        self.fail(Abandoned("the request has ended."))
        with self._changed:
            self._file.close()

    def in_order(self) -> IO[bytes]:
        """A reader that cannot seek, and waits for bytes that have yet to arrive."""
        return cast(IO[bytes], _Reader(self, waits=True))

    def whole(self) -> IO[bytes]:
        """A reader that can seek; everything must be here."""
        if not self.complete:
            raise ValueError("the video is still arriving")
        return cast(IO[bytes], _Reader(self, waits=False))

    def read_at(self, position: int, count: int, *, wait: bool) -> bytes:
        """At most ``count`` bytes from there on; with ``wait``, at least one before the end."""
        with self._changed:
            while wait and not self._failure and not self.complete and self.size <= position:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            return os.pread(self._file.fileno(), count, position)


class _Reader:
    """What :class:`captioner.vision.sources.ByteSource` asks of a file."""

    def __init__(self, spool: Spool, *, waits: bool) -> None:
        self._spool = spool
        self._waits = waits
        self._position = 0

    def seekable(self) -> bool:
        return not self._waits

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = max(1, self._spool.size - self._position)
        data = self._spool.read_at(self._position, count, wait=self._waits)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self._waits:
            raise io.UnsupportedOperation("an upload is read in order")
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._spool.size}[whence]
        if not 0 <= start + offset < 2**63:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """The bytes are the spool's."""
