from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from captioner.errors import ImageError
from captioner.vision.header import MAX_SCANS, MAX_SEGMENTS, exif_orientation, read_header
from captioner.vision.sniff import FORMATS


def saved(format: str, size: tuple[int, int] = (37, 21), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(orientation: int, *, order: str = "<", kind: int = 3) -> bytes:
    """The smallest EXIF block with a tag before the orientation: TIFF header and one directory."""
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "IH", 8, 2)
        + struct.pack(order + "HHI4s", 0x0100, 4, 1, b"\1\0\0\0")
        + struct.pack(order + "HHI", 0x0112, kind, 1)
        + value
        + struct.pack(order + "I", 0)
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_size_is_the_one_that_was_saved(format: str) -> None:
    header = read_header(saved(format), format)
    assert (header.width, header.height, header.animated) == (37, 21, False)


@pytest.mark.parametrize("size", [(1, 1), (16383, 3), (5, 16383)])
def test_the_size_of_lossless_webp_is_read_from_its_bits(size: tuple[int, int]) -> None:
    header = read_header(saved("WEBP", size, lossless=True), "WEBP")
    assert (header.width, header.height) == size


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_more_than_one_frame_is_seen_without_decoding(format: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("blue", "red")]
    data = saved(format, (20, 20), save_all=True, append_images=frames)
    assert read_header(data, format).animated


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_in_both_byte_orders(
    order: str, kind: int, orientation: int
) -> None:
    assert exif_orientation(exif(orientation, order=order, kind=kind)) == orientation


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        exif(0),
        exif(9),
        exif(6, kind=2),
        *(exif(6)[:cut] for cut in range(8, 30)),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
    ],
)
def test_an_unreadable_orientation_is_upright(data: bytes) -> None:
    assert exif_orientation(data) == 1


def test_only_the_first_orientation_of_a_jpeg_counts() -> None:
    data = saved("JPEG")
    for orientation in (3, 6):
        block = b"Exif\0\0" + exif(orientation)
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert read_header(data, "JPEG").orientation == 6


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_inside_its_header_is_truncated_or_damaged_by_name(format: str) -> None:
    data = saved(format)
    for length in range(18, 29):
        with pytest.raises(ImageError, match=format):
            read_header(data[:length], format)


def test_metadata_never_reaches_the_decoder() -> None:
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(10**6)))
    plain = saved("PNG")
    assert read_header(plain[:33] + bomb + plain[33:], "PNG").data == read_header(plain, "PNG").data
    noisy = saved("JPEG", comment=b"x" * 999, exif=b"Exif\0\0junk", icc_profile=bytes(70_000))
    assert read_header(noisy, "JPEG").data == read_header(saved("JPEG"), "JPEG").data
    gif = saved("GIF", comment=b"x" * 999)
    assert b"xxx" in gif
    assert b"xxx" not in read_header(gif, "GIF").data


def test_a_png_must_begin_with_its_header_and_hold_pixels() -> None:
    data = saved("PNG")
    with pytest.raises(ImageError, match="begin with its header"):
        read_header(data[:8] + chunk(b"tEXt", b"a\0b" + bytes(20)) + data[8:], "PNG")
    with pytest.raises(ImageError, match="no pixels"):
        read_header(data[:33] + chunk(b"IEND", b""), "PNG")
    with pytest.raises(ImageError, match="truncated PNG"):
        read_header(data[:33], "PNG")


def test_a_jpeg_without_a_frame_or_with_two_is_damaged() -> None:
    data = saved("JPEG")
    start = data.index(b"\xff\xc0")
    frame = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")]
    with pytest.raises(ImageError, match="no size"):
        read_header(data.replace(frame, b""), "JPEG")
    with pytest.raises(ImageError, match="two frames"):
        read_header(data.replace(frame, frame + frame), "JPEG")
    with pytest.raises(ImageError, match="no picture"):
        read_header(data[:2] + b"\xff\xd9", "JPEG")
    with pytest.raises(ImageError, match="12 bits"):
        read_header(data.replace(frame, frame[:4] + b"\x0c" + frame[5:]), "JPEG")


def test_a_jpeg_with_hundreds_of_scans_is_refused_and_an_ordinary_one_is_not() -> None:
    data = saved("JPEG", (640, 480), progressive=True)
    assert 2 < data.count(b"\xff\xda") < MAX_SCANS
    read_header(data, "JPEG")
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="scans"):
        read_header(data[:-2] + data[last:-2] * MAX_SCANS + data[-2:], "JPEG")


CRAFTED = {
    "JPEG of fill bytes": ("JPEG", b"\xff\xd8" + b"\xff" * 10**7),
    "JPEG of empty segments": ("JPEG", b"\xff\xd8" + b"\xff\xe0\0\2" * 10**6),
    "JPEG of segments without length": ("JPEG", b"\xff\xd8\xff\xe0\0\0" + bytes(99)),
    "PNG of empty chunks": ("PNG", saved("PNG")[:33] + chunk(b"juNk", b"") * 10**6),
    "PNG with a chunk of 4 GiB": ("PNG", saved("PNG")[:33] + b"\xff\xff\xff\xffjuNk" + bytes(9)),
    "GIF of one-byte blocks": ("GIF", b"GIF89a\x08\0\x08\0\0\0\0!\xfe" + b"\1a" * 10**6),
    "GIF of extensions": ("GIF", b"GIF89a\x08\0\x08\0\0\0\0" + b"!\xfe\0" * 10**6),
    "GIF without a picture": ("GIF", b"GIF89a\x08\0\x08\0\0\0\0;"),
    "WEBP of empty chunks": (
        "WEBP",
        b"RIFF" + struct.pack("<I", 8 * 10**6 + 22) + b"WEBPVP8X\x0a\0\0\0" + bytes(10)
        + b"juNk\0\0\0\0" * 10**6,
    ),
    "WEBP of an unknown kind": ("WEBP", b"RIFF" + struct.pack("<I", 92) + b"WEBPVP9 " + bytes(84)),
    "BMP of many runs": (
        "BMP",
        b"BM" + struct.pack("<4I2i2H2I", 0, 0, 54, 40, 9, 9, 1, 8, 1, 0) + bytes(2**21),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_without_much_work(name: str) -> None:
    format, data = CRAFTED[name]
    started = time.process_time()
    with pytest.raises(ImageError):
        read_header(data, format)
    # Measured: 0.07 s at most. A walk that is quadratic in the length would take hours.
    assert time.process_time() - started < 5


def test_trailing_frames_of_a_gif_may_be_nonsense() -> None:
    data = saved("GIF")
    assert not read_header(data[:-1] + b"!\xfe\x05ab", "GIF").animated
    assert not read_header(data[:-1] + b"!\xfe\0" * (MAX_SEGMENTS + 1), "GIF").animated
    assert read_header(data[:-1], "GIF").data == read_header(data, "GIF").data
