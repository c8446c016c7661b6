from __future__ import annotations

import io

import pytest
from PIL import Image

from captioner.errors import EmptyFile, UnsupportedImage
from captioner.vision.sniff import FORMATS, sniff_format


def saved(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "teal").save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_what_pillow_writes_is_recognised(format: str) -> None:
    assert sniff_format(saved(format)) == format


FOREIGN = {
    "SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "TIFF": saved("TIFF"),
    "EPS": saved("EPS"),
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "AVIF": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
    "video": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    "JSON": b'{"image": "cat.jpg"}',
    "web page": b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "base64": b"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ",
    "ICO": saved("ICO"),
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "Matroska": b"\x1a\x45\xdf\xa3\x01\x00\x00\x00",
    "AVI": b"RIFF\x00\x10\x00\x00AVI LIST",
    "text": "a cat, not a picture of one: кот".encode(),
    "no kind we know": b"\x00\x01\x02\x03\x04\x05\x06\x07" * 9,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_anything_else_is_refused_by_the_name_of_what_it_looks_like(name: str) -> None:
    with pytest.raises(UnsupportedImage, match=name) as caught:
        sniff_format(FOREIGN[name])
    assert caught.value.code == "unsupported_image_format"
    assert all(format in caught.value.hint for format in FORMATS)


def test_no_bytes_are_an_empty_file() -> None:
    with pytest.raises(EmptyFile, match="0 bytes"):
        sniff_format(b"")


def test_a_text_that_begins_like_a_bitmap_stays_a_text() -> None:
    with pytest.raises(UnsupportedImage, match="text"):
        sniff_format(b"BMW and Audi built cars in Bavaria.")


def test_text_is_recognised_when_the_look_at_it_ends_inside_a_character() -> None:
    for padding in range(4):
        with pytest.raises(UnsupportedImage, match="text"):
            sniff_format(b"x" * padding + "고양이".encode() * 1000)


@pytest.mark.parametrize("length", range(1, 30))
def test_every_beginning_of_a_picture_has_an_answer(length: int) -> None:
    for format in FORMATS:
        try:
            assert sniff_format(saved(format)[:length]) == format
        except UnsupportedImage:
            assert length < 18
