"""Which video container the bytes of a file are, told by their first bytes alone.

Names and declared media types are never looked at. FFmpeg does look at them: left to itself, it
takes a text called ``clip.m3u8`` for a playlist and opens whatever the text names, on this machine
or on another. What is not told here by its magic bytes is therefore never handed to it, and what
is, is handed over together with the one demuxer that may read it.
"""

from __future__ import annotations

from captioner.errors import EmptyVideo, UnsupportedImage, UnsupportedVideo
from captioner.vision.sniff import sniff_format

# What we call a container, and FFmpeg's demuxer for it.
DEMUXERS = {
    "MP4": "mov",
    "MATROSKA": "matroska",
    "AVI": "avi",
    "MPEG-TS": "mpegts",
    "MPEG-PS": "mpeg",
    "GIF": "gif",
}
FORMATS = tuple(DEMUXERS)

HEAD_BYTES = 4096  # of a file's beginning, as much as sniffing ever looks at

# Types a first box can have. Files of old cameras and of QuickTime have no ftyp.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
# Major brands, by their beginnings, of pictures that are kept in the same boxes: AVIF and HEIC.
_PICTURE_BRANDS = (b"avi", b"hei", b"hev", b"mif", b"msf")

# (bytes before the first packet, length of a packet): plain, Blu-ray and camcorders, with parity
_TRANSPORT_PACKETS = ((0, 188), (4, 192), (0, 204))
_SYNC = 0x47

# (offset, magic bytes, what such a file is called): what would be a video elsewhere, or names one.
# Everything else is named as ``sniff`` names it.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"#EXTM3U", "a playlist (M3U8), which holds no video itself"),
    (0, b"ffconcat version", "a list of files (ffconcat), which holds no video itself"),
    (0, b"[playlist]", "a playlist (PLS), which holds no video itself"),
    (0, b"v=0\r\n", "a session description (SDP), which holds no video itself"),
    (0, b"v=0\n", "a session description (SDP), which holds no video itself"),
    (0, b"FLV\x01", "a Flash video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video without a container"),
    (0, b"\x00\x00\x00\x01\x67", "an H.264 video without a container"),
    (0, b"\x00\x00\x00\x01\x40", "an H.265 video without a container"),
    (0, b"DKIF", "an IVF video"),
    (0, b"YUV4MPEG2", "a raw (YUV4MPEG2) video"),
    (0, b"ID3", "a sound file"),
    (0, b"fLaC", "a sound file"),
)

_HINT = "Send MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS or an animated GIF."


def sniff_container(head: bytes) -> str:
    """Which of ``FORMATS`` a file is, from its first bytes (``HEAD_BYTES`` of them are enough).

    Raises EmptyVideo without any bytes, UnsupportedVideo with the name of what they look like.
    """
    if not head:
        raise EmptyVideo("the file is empty (0 bytes).", hint=_HINT)
    if _is_iso_media(head):
        return "MP4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "MATROSKA"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "AVI"
    if head.startswith((b"GIF87a", b"GIF89a")):  # before MPEG-TS, whose sync byte is a G, too
        return "GIF"
    if transport_packets(head):
        return "MPEG-TS"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "MPEG-PS"
    raise UnsupportedVideo(_what_it_is(head), hint=_HINT)


def transport_packets(head: bytes) -> tuple[int, int] | None:
    """Where an MPEG transport stream's first packet begins and how long packets are, in bytes.

    None where three packets in a row are not to be seen: then it is something else.
    """
    for offset, length in _TRANSPORT_PACKETS:
        if len(head) > offset + 2 * length and all(
            head[offset + number * length] == _SYNC for number in range(3)
        ):
            return offset, length
    return None


def can_be_read_in_order(head: bytes) -> bool:
    """Whether frames come out of a file while its end is still on its way.

    Only an MP4 may need its end first: when its index does not stand before its pictures.

    Raises as ``sniff_container`` does.
    """
    if sniff_container(head) != "MP4":
        return True
    position = 0
    while position + 8 <= len(head):
        size, kind = int.from_bytes(head[position : position + 4], "big"), head[position + 4 :][:4]
        if kind in (b"moov", b"mdat") or size < 8:
            return kind == b"moov"
        position += size
    return False


def _is_iso_media(head: bytes) -> bool:
    if head[4:8] not in _FIRST_BOXES:
        return False
    return not (head[4:8] == b"ftyp" and head[8:12].startswith(_PICTURE_BRANDS))


def _what_it_is(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for offset, magic, name in _FOREIGN:
        if head.startswith(magic, offset) or start.startswith(magic):
            return f"this is not a video we read: it looks like {name}."
    try:
        return f"this is not a video: it is a {sniff_format(head)} picture."
    except UnsupportedImage as error:
        return error.message.replace("a picture", "a video", 1)
