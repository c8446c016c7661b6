"""What the bytes of a file are, told by their first bytes alone.

Names and declared media types are never looked at: both are often wrong, and neither can be
trusted. What is not one of the five formats we read is named, so that the sender sees the mistake.
"""

from __future__ import annotations

from captioner.errors import EmptyFile, UnsupportedImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

# Sizes of the information header that follows a BMP's 14-byte file header. "BM" alone would also
# take any text that begins with these letters.
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)

# (offset, magic bytes, what such a file is called). The first that fits wins.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "an EPS or PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS or PostScript file"),
    (0, b"II*\x00", "a TIFF file"),
    (0, b"MM\x00*", "a TIFF file"),
    (0, b"II+\x00", "a TIFF file"),
    (0, b"MM\x00+", "a TIFF file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO) file"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL file"),
    (0, b"\xff\x0a", "a JPEG XL file"),
    (4, b"ftypavi", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyphev", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypmsf1", "a HEIC picture"),
    (4, b"ftyp", "an MP4 or QuickTime video"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a sound file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"PAR1", "a parquet table"),
    (0, b"version https://git-lfs", "a Git LFS pointer: the real file was not fetched"),
)

_HINT = f"Send {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."


def sniff_format(data: bytes) -> str:
    """Which of ``FORMATS`` the bytes begin as.

    Raises EmptyFile without any bytes, UnsupportedImage with the name of what they look like.
    """
    if not data:
        raise EmptyFile("the file is empty (0 bytes).", hint=_HINT)
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    raise UnsupportedImage(f"this is not a picture we read: {_looks_like(data)}.", hint=_HINT)


def _looks_like(data: bytes) -> str:
    for offset, magic, name in _FOREIGN:
        if data.startswith(magic, offset):
            return f"it looks like {name}"
    text = _as_text(data[:4096])
    if text is None:
        return "its bytes are of no kind we know"
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith("<") and "<svg" in start:
        return "it looks like an SVG drawing"
    if start.startswith(("<!doctype html", "<html")):
        return "it looks like a web page"
    if start.startswith("<?xml"):
        return "it looks like XML"
    if start.startswith("data:image/") or start.startswith(("/9j/", "ivborw0kggo")):
        return "it looks like base64 text; send the decoded bytes"
    if start.startswith(("{", "[")):
        return "it looks like JSON"
    return "it looks like text"


def _as_text(data: bytes) -> str | None:
    """The bytes as text, None when they are none; a character cut at the end is forgiven."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data[: len(data) // 2 * 2].decode("utf-16")
        except UnicodeDecodeError:
            return None
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in data):
        return None
    for missing in range(4):
        try:
            return data[: len(data) - missing].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None
