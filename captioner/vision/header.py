"""What a picture's bytes say about it before anything is decoded.

Each reader walks over the container on its own and gives size, orientation and whether there is
more than one frame, together with the bytes that a decoder has to see. Everything else (comments,
colour profiles, thumbnails, compressed text) is left out of them: the places where decompression
bombs, malformed metadata and Pillow's own warnings come from are then never parsed at all. The
work is bounded: by the length of the file, and by counts no real picture comes near.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from captioner.errors import ImageError

MAX_SEGMENTS = 10_000  # JPEG marker segments; a long video of thumbnails would still have fewer
MAX_SCANS = 32  # progressive JPEGs have about ten; each one costs a pass over all pixels
MAX_BLOCKS = 200_000  # PNG chunks and GIF blocks: 20 MiB of the smallest that encoders write
MAX_RUN_LENGTH_BYTES = 2**20  # Pillow decodes run-length BMPs in Python, run by run


@dataclass(frozen=True)
class Header:
    """Size as stored (before ``orientation``), the EXIF orientation 1 to 8, and what to decode."""

    format: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    animated: bool = False


def read_header(data: bytes, format: str) -> Header:
    """The header of ``data``, which begins as ``format`` (see ``sniff_format``).

    Raises ImageError: truncated before the picture begins, damaged, or in a variant nobody reads.
    """
    try:
        return _READERS[format](data)
    except (struct.error, IndexError) as error:
        raise truncated(format) from error


def truncated(format: str) -> ImageError:
    """The error for a file that ends too early."""
    return ImageError(
        f"truncated {format}: the file ends before the picture does.", hint="Send the whole file."
    )


def damaged(format: str, why: str = "") -> ImageError:
    """The error for a file that cannot be decoded."""
    return ImageError(
        f"damaged {format}: {why or 'it cannot be decoded'}.",
        hint="Open it in an image viewer and save it again.",
    )


# ---- JPEG: ISO/IEC 10918-1 annex B

# 0xFF00 and runs of 0xFF are no markers; between scans neither are the restarts D0 to D7.
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})


def _read_jpeg(data: bytes) -> Header:
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    frame: tuple[int, int, int, int] | None = None  # width, height, components, marker
    orientation = 0
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise truncated("JPEG")
        marker, position = data[found.start() + 1], found.end()
        if marker in _ALONE:
            continue
        if marker == 0xD9:
            raise damaged("JPEG", "it holds no picture")
        end = position + _segment_length(data, position)
        body = data[position + 2 : end]
        if end > len(data):
            raise truncated("JPEG")
        if marker in _FRAMES:
            if frame is not None:
                raise damaged("JPEG", "it holds two frames")
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            if precision in (12, 16):
                raise ImageError(
                    f"a JPEG of {precision} bits per channel cannot be read.",
                    hint="Save it with 8 bits.",
                )
            frame = width, height, components, marker
        elif marker == 0xE1 and body.startswith(b"Exif\0") and not orientation:
            orientation = exif_orientation(body[6:])
        if marker in _FRAMES or marker in _TABLES or _names_colours(marker, body):
            kept.append(data[found.start() : end])
        if marker == 0xDA:
            if frame is None:
                raise damaged("JPEG", "it has no size")
            width, height, components, frame_marker = frame
            # One scan with all components is decoded as it comes; anything else is gathered over
            # all scans first, however many they are.
            if frame_marker in _PROGRESSIVE or body[0] != components:
                _check_scans(data, end)
            kept.append(memoryview(data)[found.start() :])
            return Header("JPEG", width, height, b"".join(kept), orientation or 1)
        position = end
    raise damaged("JPEG", f"more than {MAX_SEGMENTS} segments stand before the picture")


def _segment_length(data: bytes, position: int) -> int:
    (length,) = struct.unpack_from(">H", data, position)
    if length < 2:
        raise damaged("JPEG", "a segment has no length")
    return int(length)


def _names_colours(marker: int, body: bytes) -> bool:
    """Whether the decoder needs this segment to tell YCbCr from RGB, and CMYK from YCCK."""
    jfif = marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14
    return jfif or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)


def _check_scans(data: bytes, position: int) -> None:
    scans = 1
    for _ in range(MAX_SEGMENTS):
        found = _MARKER_AFTER_SCAN.search(data, position)
        if found is None:
            return  # the decoder will say that the file is truncated
        marker, position = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return
        if marker in _ALONE:
            continue
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise damaged("JPEG", f"it has more than {MAX_SCANS} scans")
        position += _segment_length(data, position)
    raise damaged("JPEG", f"it has more than {MAX_SEGMENTS} segments")


# ---- PNG: ISO/IEC 15948 and APNG

_PNG_KEPT = frozenset({b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def _read_png(data: bytes) -> Header:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise damaged("PNG", "it does not begin with its header")
    view = memoryview(data)
    kept = [view[:33]]
    orientation, frames, pixels_seen = 1, 1, False
    position = 33
    for _ in range(MAX_BLOCKS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        body, end = position + 8, position + 12 + length
        if kind in _PNG_KEPT:
            kept.append(view[position:end])
            pixels_seen |= kind == b"IDAT"
        elif kind == b"eXIf":
            orientation = exif_orientation(data[body : end - 4])
        elif kind == b"acTL" and length >= 4 and end <= len(data):
            (frames,) = struct.unpack_from(">I", data, body)
        if kind == b"IEND":
            break
        position = end
    else:
        raise damaged("PNG", f"it has more than {MAX_BLOCKS} chunks")
    if not pixels_seen:
        raise damaged("PNG", "it holds no pixels") if kind == b"IEND" else truncated("PNG")
    return Header("PNG", width, height, b"".join(kept), orientation, frames > 1)


# ---- GIF 87a and 89a


def _read_gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _colour_table(flags)
    kept, control = [data[:position]], b""
    for _ in range(MAX_BLOCKS):
        start, kind = position, data[position]
        if kind == 0x21:
            position = _after_blocks(data, start + 2)
            # Only the graphic control extension says something about the pixels: transparency.
            if data[start + 1] == 0xF9 and data[start + 2] == 4:
                control = data[start:position]
        elif kind == 0x2C:
            left, top, frame_width, frame_height, flags = struct.unpack_from(
                "<HHHHB", data, start + 1
            )
            pixels = start + 10 + _colour_table(flags) + 1
            end, animated = _after_first_frame(data, pixels)
            kept += [control, data[start:end], b";"]
            # A frame may reach beyond the screen that the header declares; the picture then grows.
            size = max(width, left + frame_width), max(height, top + frame_height)
            return Header("GIF", *size, b"".join(kept), animated=animated)
        else:
            raise damaged("GIF", "it holds no picture" if kind == 0x3B else "")
    raise damaged("GIF", f"more than {MAX_BLOCKS} blocks stand before the picture")


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    for _ in range(MAX_BLOCKS):
        size = data[position]
        position += size + 1
        if not size:
            return position
    raise damaged("GIF", f"it has more than {MAX_BLOCKS} blocks")


def _after_first_frame(data: bytes, position: int) -> tuple[int, bool]:
    """Where the first frame ends, and whether another one follows.

    What comes after the first frame may be missing or nonsense: it is not decoded.
    """
    try:
        end = position = _after_blocks(data, position)
    except IndexError:
        return len(data), False  # the decoder will say that it is truncated
    try:
        for _ in range(MAX_SEGMENTS):
            if data[position] != 0x21:
                return end, data[position] == 0x2C
            position = _after_blocks(data, position + 2)
    except (IndexError, ImageError):
        pass
    return end, False


# ---- WebP (RIFF container) and Windows bitmap


def _read_webp(data: bytes) -> Header:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if riff_size + 8 > len(data) or len(data) < 30:
        raise truncated("WEBP")
    orientation, frames = 1, 0
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        position = 12
        for _ in range(MAX_BLOCKS):
            if position + 8 > len(data):
                break
            chunk, length = struct.unpack_from("<4sI", data, position)
            frames += chunk == b"ANMF"
            if chunk == b"EXIF":
                exif = data[position + 8 : position + 8 + length]
                orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))
            position += 8 + length + length % 2
        else:
            raise damaged("WEBP", f"it has more than {MAX_BLOCKS} chunks")
    else:
        raise damaged("WEBP")
    return Header("WEBP", width, height, data, orientation, frames > 1)


def _read_bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        compression = 0
    else:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2) and len(data) > MAX_RUN_LENGTH_BYTES:
        raise ImageError(
            "a run-length encoded BMP of more than 1 MiB is not read.", hint="Save it as PNG."
        )
    # A negative height says that the rows are stored from the top down.
    return Header("BMP", width, abs(height), data)


# ---- EXIF: the one tag that matters


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, from EXIF data that begins with its TIFF header; 1 if unreadable."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112:
                value_format = {3: "H", 4: "I"}.get(kind)
                if value_format is None:
                    return 1
                (value,) = struct.unpack_from(order + value_format, exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WEBP": _read_webp,
    "GIF": _read_gif,
    "BMP": _read_bmp,
}
