"""``multipart/form-data`` (RFC 7578) with one file and a few text fields, parsed as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.options import Pairs
from serving.responses import RequestError, quoted

PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")


class FileField(NamedTuple):
    """The file that an endpoint takes: its field, an example's name and media type, the text
    fields that may stand beside it, and what to do with a larger file.
    """

    name: str
    example: str
    media_type: str
    options: frozenset[str]
    larger: str = ""

    @property
    def media(self) -> str:
        """``image`` or ``video``."""
        return self.media_type.partition("/")[0]


@dataclass(frozen=True)
class BodyLimits:
    """Sizes in bytes, times in seconds."""

    max_file_bytes: int
    max_field_bytes: int
    max_parts: int
    read_timeout_s: float
    stall_timeout_s: float


def content_type(header: str) -> tuple[str, dict[str, str]]:
    """Media type in lower case, and its parameters. Types are case-insensitive (RFC 9110)."""
    media_type, parameters = parse_options_header(header)
    decoded = {k.decode("latin-1"): v.decode("latin-1") for k, v in parameters.items()}
    return media_type.decode("latin-1").strip(), decoded


class MultipartForm:
    """Takes a body in chunks, keeps the known parts, refuses the rest as soon as it is certain.

    The file's bytes go to ``write`` as they come. What a file is called and which type its part
    claims is not looked at: the bytes decide.

    ``before_file``: the text fields that stood before the file, once it has begun; None until then.
    """

    def __init__(
        self,
        boundary: str,
        file: FileField,
        limits: BodyLimits,
        write: Callable[[bytes], object],
    ) -> None:
        if not 1 <= len(boundary) <= 70:
            raise _invalid("its Content-Type has no boundary of 1 to 70 characters")
        self.before_file: Pairs | None = None
        self._file = file
        self._limits = limits
        self._write = write
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._keep: Callable[[bytes], object] | None = None  # what takes the part; None: nobody
        self._kept = 0
        self._limit = 0
        self._fields: list[tuple[str, bytearray]] = []
        self._unknown: list[str] = []
        self._closed = False
        self._parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _invalid("it does not follow its boundary") from error

    def finish(self) -> Pairs:
        """The text fields in their order, once the body is here."""
        if not self._closed:
            raise _invalid("it ends before its closing boundary")
        name = self._file.name
        if self.before_file is None:
            others = f"; got {', '.join(map(quoted, self._unknown[:3]))}" if self._unknown else ""
            raise RequestError(
                "missing_field",
                f"the form has no file {name!r}{others}.",
                hint=f"curl -F {name}=@{self._file.example}",
            )
        if self._unknown:
            names = ", ".join(sorted({name} | self._file.options))
            raise RequestError(
                "unknown_field",
                f"there is no field {quoted(self._unknown[0])}.",
                hint=f"The fields are: {names}.",
            )
        return self._texts()

    def _texts(self) -> Pairs:
        return [(name, _text(name, data)) for name, data in self._fields]

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise RequestError(
                "too_many_parts", f"the form has more than {self._limits.max_parts} parts."
            )
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        kind, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in parameters:
            raise _invalid("a part has no Content-Disposition: form-data with a name")
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in PLAIN_ENCODINGS:
            raise _invalid("a part has a Content-Transfer-Encoding")
        self._begin_part(
            parameters[b"name"].decode("utf-8", "replace"), _is_file(self._headers, parameters)
        )

    def _begin_part(self, name: str, is_file: bool) -> None:
        self._name = name
        self._keep = None
        self._kept = 0
        if name == self._file.name:
            if not is_file:
                raise RequestError(
                    "not_a_file",
                    f"{name!r} is text, not a file.",
                    hint=f"URLs and paths are not opened; curl -F {name}=@{self._file.example} "
                    "sends a file.",
                )
            if self.before_file is not None:
                raise RequestError("too_many_files", f"{name!r} takes one file, got more.")
            self.before_file = self._texts()
            self._keep = self._write
            self._limit = self._limits.max_file_bytes
        elif name in self._file.options:
            if is_file:
                raise _invalid(f"the option {name!r} is sent as a file")
            text = bytearray()
            self._fields.append((name, text))
            self._keep = text.extend
            self._limit = self._limits.max_field_bytes
        else:
            self._unknown.append(name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._keep is None:
            return
        self._kept += end - start
        if self._kept > self._limit:
            raise RequestError(
                "payload_too_large",
                f"{self._name!r} is larger than {self._limit} bytes.",
                hint=self._file.larger if self._name == self._file.name else "",
            )
        self._keep(data[start:end])

    def _on_end(self) -> None:
        self._closed = True


def _is_file(headers: Mapping[bytes, bytes], parameters: Mapping[bytes, bytes]) -> bool:
    kind = headers.get(b"content-type", b"text/plain").lower()
    return b"filename" in parameters or not kind.startswith(b"text/")


def _text(name: str, data: bytearray) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"the field {name!r} is not UTF-8") from error


def _invalid(why: str) -> RequestError:
    return RequestError("invalid_multipart", f"the multipart body cannot be read: {why}.")
