"""Text files for training: UTF-8, plain or gzip, refused with the place where they are not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from captioner.errors import DataError

MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors write


def read_text(path: str | Path) -> str:
    """A file's text; a byte order mark is dropped, and CR LF becomes LF.

    Raises ``DataError`` for a file that cannot be read, is empty, or is not UTF-8: with the line
    and the byte within it, both counted from 1.
    """
    data = _bytes(Path(path)).removeprefix(MARK)
    if not data:
        raise DataError(f"{str(path)!r} is empty.")
    return _decoded(data, path).replace("\r\n", "\n")


def read_lines(path: str | Path) -> list[str]:
    """A file's lines without white space at their ends; only a line feed ends a line.

    Raises as :func:`read_text` does. Lines may be empty: whether that is wrong, the caller knows.
    """
    data = _bytes(Path(path)).removeprefix(MARK)
    if not data:
        raise DataError(f"{str(path)!r} is empty.")
    # Not splitlines: it cuts at form feeds and at separators that are part of a sentence.
    return [line.strip() for line in _decoded(data.removesuffix(b"\n"), path).split("\n")]


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}.") from None


def _decoded(data: bytes, path: str | Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - data.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{str(path)!r} is not UTF-8: line {line}, byte {byte} is 0x{data[error.start]:02x}.",
            hint="Re-code it, for instance with iconv -f latin1 -t utf8.",
        ) from None
