"""Forms: however a body is cut into chunks, the same comes out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.multipart import BodyLimits, FileField, MultipartForm, content_type
from serving.responses import RequestError

LIMITS = BodyLimits(1000, 100, 5, 10, 10)
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
TEXT = b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\n'
END = b"\r\n--b--\r\n"


PHOTO = FileField("image", "photo.jpg", "image/jpeg", frozenset({"q", "n"}))


def read(*chunks: bytes, limits: BodyLimits = LIMITS) -> tuple[bytes, list[tuple[str, str]]]:
    content = bytearray()
    form = MultipartForm("b", PHOTO, limits, content.extend)
    for chunk in chunks:
        form.feed(chunk)
    return bytes(content), form.finish()


def code_of(*chunks: bytes, limits: BodyLimits = LIMITS) -> str:
    with pytest.raises(RequestError) as caught:
        read(*chunks, limits=limits)
    return caught.value.code


def refusal(body: bytes) -> str | None:
    try:
        read(body)
    except RequestError as error:
        return error.code
    return None


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=6))
def test_chunks_do_not_matter(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"\r\n--b", b"")
    body = HEAD + content + b"\r\n" + TEXT + b"x" + END
    at = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    assert read(*[body[a:b] for a, b in pairwise(at)]) == (content, [("q", "x")])


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert refusal(body) in (None, "invalid_multipart")


@given(st.data())
def test_a_damaged_form_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(HEAD + b"content\r\n" + TEXT + b"x" + END)
    for _ in range(3):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert refusal(bytes(body)) in (
        None, "invalid_multipart", "missing_field", "unknown_field", "not_a_file"
    )  # fmt: skip


@pytest.mark.parametrize("text", ["123", "null", '"q"', "true", "한국어", " spaces ", ""])
def test_text_stays_text(text: str) -> None:
    assert read(HEAD + b"\r\n" + TEXT + text.encode() + END)[1] == [("q", text)]


def test_every_repetition_is_reported() -> None:
    body = HEAD + b"\r\n" + TEXT + b"1\r\n" + TEXT + b"2" + END
    assert read(body)[1] == [("q", "1"), ("q", "2")]


def test_what_stands_before_the_file_is_known_when_it_begins() -> None:
    form = MultipartForm("b", PHOTO, LIMITS, bytearray().extend)
    form.feed(TEXT + b"1\r\n")
    assert form.before_file is None
    form.feed(HEAD)
    assert form.before_file == [("q", "1")]
    form.feed(b"x\r\n" + TEXT + b"2" + END)
    assert form.before_file == [("q", "1")]
    assert form.finish() == [("q", "1"), ("q", "2")]


def test_limits_hold_while_reading() -> None:
    assert code_of(HEAD + bytes(1001)) == "payload_too_large"
    assert code_of(HEAD, *[bytes(100)] * 11) == "payload_too_large"
    assert code_of(TEXT + b"x" * 101) == "payload_too_large"
    assert code_of(*[b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n"] * 6) == (
        "too_many_parts"
    )


def test_what_nobody_asked_for_is_not_kept() -> None:
    kept = bytearray()
    form = MultipartForm("b", PHOTO, LIMITS, kept.extend)
    form.feed(b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\n')
    form.feed(bytes(900_000))
    assert not kept
    assert not form._fields


@pytest.mark.parametrize(
    "head",
    [
        b"--b\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\n",
        b'--b\r\nContent-Disposition: attachment; name="image"\r\n\r\n',
        HEAD[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n",
        b"--b\r\nContent-Dis position: x\r\n\r\n",
        b"--b\r\n" + b"X: y\r\n" * 20 + b"\r\n",
        b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    ],
    ids=["no-header", "no-name", "attachment", "base64", "space", "many-headers", "long-header"],
)
def test_bad_part_headers(head: bytes) -> None:
    assert code_of(head + b"x" + END) == "invalid_multipart"


def test_a_file_without_a_name_is_told_by_its_type() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"\r\nContent-Type: image/png\r\n\r\n'
    assert read(head + b"bytes" + END)[0] == b"bytes"


def test_after_the_end_nothing_counts() -> None:
    assert read(HEAD + b"x" + END, b"anything")[0] == b"x"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ("", {})),
        ("Image/JPEG", ("image/jpeg", {})),
        ("Multipart/Form-Data; Boundary=aB", ("multipart/form-data", {"boundary": "aB"})),
        ('multipart/form-data; boundary="a b"; x=y', None),
    ],
)
def test_content_types(header: str, expected) -> None:
    media_type, parameters = content_type(header)
    if expected is None:
        assert parameters["boundary"] == "a b"
    else:
        assert (media_type, parameters) == expected
