"""What a video file claims about itself, looked at before FFmpeg believes it.

Two questions are answered from a container's own headers, without any decoding:

    Is the file all there?   The container says where it ends; a file that ends earlier was cut.
    Is its index a bomb?     50 kB of an MP4 can claim a thousand million samples, by one number in
                             a sample table (stsz), a fragment (trun) or by repeating them in an
                             edit list (elst). FFmpeg makes an entry of 24 bytes for each of them.

A walk over the headers is a generator: it yields the position it wants to see and is sent the
``LOOK`` bytes there (fewer at the end of the file). It never goes back by more than it looks at,
so that it can run over a finished file as well as beside the reading of one that still arrives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator

from captioner.errors import UnsupportedVideo, VideoError, VideoTooLong
from captioner.vision.containers import transport_packets

LOOK = 32
MAX_SAMPLES = 4_000_000  # two hours at 60 frames/s with sound have a million; FFmpeg takes 100 MB
MAX_BOXES = 2_000_000  # two hours in fragments of a second have a tenth of that
_MAX_DEPTH = 10  # FFmpeg goes no deeper
_FAR = 2**63

Walk = Generator[int, bytes, None]


class Claims:
    """The headers of one file, whose first bytes are ``head``, as far as they were looked at.

    ``end``: how many bytes the container says the file has, None when it does not say.
    ``has_index``: False for an MP4 in which no movie box (moov) was met.
    """

    def __init__(self, container: str, head: bytes) -> None:
        self.container = container
        self.end: int | None = None
        self.has_index = container != "MP4"
        self.samples = 0
        self._packets = transport_packets(head) if container == "MPEG-TS" else None
        walk = _WALKS.get(container)
        self._walk = walk(self) if walk else None
        self._wanted = next(self._walk) if self._walk else None
        self._window = b""

    def look_through(self, read_at: Callable[[int, int], bytes]) -> None:
        """Walk over a finished file; ``read_at(position, count)`` gives its bytes.

        Raises VideoTooLong for an index bomb, VideoError for too many boxes, UnsupportedVideo for
        an index in a form nobody writes any more.
        """
        while self._wanted is not None:
            self._answer(read_at(self._wanted, LOOK))

    def feed(self, position: int, data: bytes) -> None:
        """Walk on over ``data``, the bytes at ``position``; called in order, none left out.

        Raises as ``look_through`` does; FFmpeg must not see ``data`` then.
        """
        buffer = self._window + data
        start = position - len(self._window)
        while self._wanted is not None and self._wanted + LOOK <= start + len(buffer):
            self._answer(buffer[self._wanted - start :][:LOOK])
        self._window = buffer[-2 * LOOK :]

    def is_cut(self, size: int, tail: bytes) -> bool:
        """Whether a file of ``size`` bytes that ends with ``tail`` has lost its end."""
        if self.container == "GIF":
            return not tail.rstrip(b"\0\r\n ").endswith(b";")  # the trailer, and what editors add
        if self._packets:
            before, length = self._packets
            return (size - before) % length > 0
        # Some programs write an AVI's own header of 8 bytes into its length.
        return self.end is not None and self.end > size + (8 if self.container == "AVI" else 0)

    def _answer(self, data: bytes) -> None:
        assert self._walk is not None
        try:
            self._wanted = self._walk.send(data)
        except StopIteration:
            self._wanted = None

    def count(self, samples: int) -> None:
        """Add to the samples that the index claims; raises VideoTooLong when they are too many."""
        self.samples += samples
        if self.samples > MAX_SAMPLES:
            raise VideoTooLong(
                f"its index lists {self.samples} samples; at most {MAX_SAMPLES} are read.",
                hint="Send a shorter video.",
            )


# ---- MP4 and QuickTime: ISO/IEC 14496-12

# The boxes in which FFmpeg looks for further ones. What stands in others is never read.
_PARENTS = frozenset(
    b"moov hoov trak mdia minf stbl edts dinf udta mvex moof traf tref gmhd wave meta".split()
)


class _Track:
    """What the tables of one track claim. Of a table that stands there twice, the worst counts."""

    def __init__(self) -> None:
        self.samples = 0
        self.edits = 1
        self.chunks = 0
        self.handlers: set[bytes] = set()
        self.one_tick_each: set[bool] = set()
        self._run = 1, 0  # of the chunks read last: the first, and the entries of each
        self._entries = 0

    def read_chunks(self, position: int) -> Walk:
        """Walk over the table (stsc) of how many samples chunks have."""
        count = int.from_bytes((yield position)[4:8], "big")
        for place in range(position + 8, position + 8 + 12 * count, 12):
            data = yield place
            if len(data) < 12:
                break
            first, samples = struct.unpack_from(">II", data)
            self._entries += max(0, first - self._run[0]) * self._run[1]
            self._run = first, samples // 1024 + 1

    def index_entries(self) -> int:
        """How many FFmpeg will make; of uncompressed sound, up to 1024 samples share one."""
        raw = self._entries + max(0, self.chunks + 1 - self._run[0]) * self._run[1]
        if b"soun" not in self.handlers or True not in self.one_tick_each:
            raw = 0
        elif self.handlers == {b"soun"} and self.one_tick_each == {True}:
            return raw * self.edits
        return max(raw, self.samples) * self.edits


def _walk_boxes(claims: Claims) -> Walk:
    position, parents, track = 0, [(_FAR, b"file")], _Track()
    for _ in range(MAX_BOXES):
        while position >= parents[-1][0] and len(parents) > 1:
            if parents.pop()[1] == b"trak":
                claims.count(track.index_entries())
                track = _Track()
        if position >= _FAR:
            break
        data = yield position
        if len(data) < 8:
            if data:  # the file ends inside a header
                claims.end = position + 8
            break
        (size, kind), body = struct.unpack_from(">I4s", data), 8
        if size == 1 and len(data) >= 16:
            (size,), body = struct.unpack_from(">Q", data, 8), 16
        last = parents[-1][0]
        end = position + size if size else last
        if size and size < body:  # nonsense: FFmpeg leaves the parent here
            position = last
            continue
        if size and len(parents) == 1:
            claims.end = max(claims.end or 0, end)
        if kind in (b"moov", b"hoov"):
            claims.has_index = True
        _read_table(kind, data[body:].ljust(16, b"\0"), claims, track)
        if kind == b"stsc":
            yield from track.read_chunks(position + body)
        if kind in _PARENTS and len(parents) <= _MAX_DEPTH:
            parents.append((min(end, last), kind))
            # In MP4, but not in QuickTime, a meta box has four bytes before its first box.
            plain = kind != b"meta" or data[body : body + 4] != b"\0\0\0\0"
            position += body if plain else body + 4
        else:
            position = min(end, last)
    else:
        raise VideoError(f"damaged MP4: it has more than {MAX_BOXES} boxes.")
    claims.count(track.index_entries())


def _read_table(kind: bytes, body: bytes, claims: Claims, track: _Track) -> None:
    """Take the counts from the tables that grow in memory; ``body`` begins after the header."""
    first, second, third = struct.unpack_from(">III", body, 4)
    if kind in (b"stsz", b"stz2"):
        track.samples = max(track.samples, second)
    elif kind == b"elst":
        track.edits = max(track.edits, first)
    elif kind == b"stts":
        track.one_tick_each.add(first == 1 and third == 1)
    elif kind in (b"stco", b"co64"):
        track.chunks = max(track.chunks, first)
    elif kind == b"hdlr" and body[8:12] in (b"soun", b"vide"):
        track.handlers.add(body[8:12])
    elif kind == b"trun":
        claims.count(first)
    elif kind == b"cmov":
        raise UnsupportedVideo(
            "its index is compressed (cmov), which is not read.", hint="Save it as MP4 again."
        )


# ---- Matroska and WebM: RFC 8794 (EBML), RFC 9559

_SEGMENT = b"\x18\x53\x80\x67"


def _walk_ebml(claims: Claims) -> Walk:
    position, identifier = 0, 4  # an EBML header, and then the segment, whose names have 4 bytes
    for _ in range(2):
        data = yield position
        number = _variable_integer(data[identifier:])
        if number is None:
            return
        length, size = number
        position += identifier + length + size
        if data.startswith(_SEGMENT):
            # All ones stand for a length that was not known when the file was begun.
            claims.end = position if size != 2 ** (7 * length) - 1 else None


def _variable_integer(data: bytes) -> tuple[int, int] | None:
    """How many bytes the number at the beginning of ``data`` takes, and the number."""
    if not data or not data[0]:
        return None
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return None
    return length, int.from_bytes(data[:length], "big") & (2 ** (7 * length) - 1)


# ---- AVI: RIFF chunks, of which a file of more than a gigabyte has several (OpenDML)


def _walk_riff(claims: Claims) -> Walk:
    position = 0
    for _ in range(MAX_BOXES):
        data = yield position
        size = int.from_bytes(data[4:8], "little")
        if not data.startswith(b"RIFF") or len(data) < 8 or not size:
            return  # a length of 0 was never filled in: the recording was broken off
        position += 8 + size
        claims.end = position
        position += size % 2


_WALKS: dict[str, Callable[[Claims], Walk]] = {
    "MP4": _walk_boxes,
    "MATROSKA": _walk_ebml,
    "AVI": _walk_riff,
}
