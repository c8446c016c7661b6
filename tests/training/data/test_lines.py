"""Text files: read as they are, or refused with the place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.lines import read_lines, read_text


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\x0cstill one\r\n two\u2028still two \n\nlast".encode())
    assert read_lines(path) == ["one\x0cstill one", "two\u2028still two", "", "last"]
    path.write_bytes(b"a\nb\n")
    assert read_lines(path) == ["a", "b"]


def test_gzip_and_the_mark_of_an_editor_make_no_difference(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    packed.write_bytes(gzip.compress(b"a\nb\n"))
    assert read_text(plain) == read_text(packed) == "a\nb\n"
    assert read_lines(plain) == read_lines(packed)


@pytest.mark.parametrize("read", [read_text, read_lines])
def test_what_is_not_utf8_is_named_with_line_and_byte(tmp_path: Path, read: object) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\nStra\xdfe\n")
    with pytest.raises(DataError, match=r"latin.txt' is not UTF-8: line 2, byte 5 is 0xdf"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "data"), [("empty.txt", b""), ("bad.gz", b"no gzip"), ("cut.gz", None)]
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, data: bytes | None) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"text" * 100)[:-9] if data is None else data)
    with pytest.raises(DataError, match=name):
        read_text(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_text(tmp_path / "nowhere")
