"""What a client may send and what it is told: one case a line, over real HTTP.

The numbers in the ids are the rows of the list of requests by which BentoML's own parsing was
measured; every row has its case here, or in the test named beside it at the end of this file.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from PIL import Image

BOUNDARY = "boundary-of-the-tests"


def photo(size=(64, 48), colour=(200, 40, 40), kind="JPEG", mode="RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = photo((320, 240))


def part(name: str, content: bytes | str, *, filename: str | bytes | None = None, kind: str = ""):
    head = f'Content-Disposition: form-data; name="{name}"'.encode()
    if filename is not None:
        given = filename if isinstance(filename, bytes) else filename.encode()
        head += b'; filename="' + given + b'"'
    if kind:
        head += f"\r\nContent-Type: {kind}".encode()
    return head + b"\r\n\r\n" + (content if isinstance(content, bytes) else content.encode())


def image(content: bytes = JPEG, filename: str | bytes = "p.jpg", kind: str = "image/jpeg"):
    return part("image", content, filename=filename, kind=kind)


def form(*parts: bytes, boundary: str = BOUNDARY, close: bool = True) -> bytes:
    line = b"--" + boundary.encode()
    body = b"".join(line + b"\r\n" + one + b"\r\n" for one in parts)
    return body + (line + b"--\r\n" if close else b"")


def png(width: int, height: int, rows: int | None = None) -> bytes:
    """A 1-bit grey PNG of any size; with fewer ``rows`` than it says, a header that lies."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    line = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(line) for _ in range(height if rows is None else rows))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", data + packer.flush())
        + chunk(b"IEND", b"")
    )


def rotated(size: tuple[int, int]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(size, exif=exif.tobytes())


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (32, 32), (60 * i, 0, 0)) for i in range(4)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def sixteen_bit() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("I;16").point(lambda v: v * 257).save(buffer, "PNG")
    return buffer.getvalue()


def palette() -> bytes:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=0)
    return buffer.getvalue()


@dataclass
class Case:
    """A request and its answer: a status, and an error code where it is no 200."""

    id: str
    status: int
    code: str = ""
    body: Any = b""
    kind: str | None = f"multipart/form-data; boundary={BOUNDARY}"
    query: str = ""
    method: str = "POST"
    path: str = "/caption"
    headers: dict[str, str] = field(default_factory=dict)
    expect: dict[str, Any] = field(default_factory=dict)  # in the answer, by name

    def send(self, client: httpx.Client) -> httpx.Response:
        headers = dict(self.headers)
        if self.kind is not None and self.method == "POST":
            headers["Content-Type"] = self.kind
        body = self.body() if callable(self.body) else self.body
        query = f"?{self.query}" if self.query else ""
        return client.request(
            self.method, f"{client.base_url}".rstrip("/") + self.path + query, content=body,
            headers=headers,
        )  # fmt: skip


def ok(id: str, body: Any, **more: Any) -> Case:
    return Case(id, 200, "", body, **more)


def raw(id: str, status: int, code: str, body: Any, kind: str | None = "image/jpeg") -> Case:
    return Case(id, status, code, body, kind)


def option(id: str, query: str, code: str = "invalid_option", status: int = 422) -> Case:
    return Case(id, status, code, JPEG, "image/jpeg", query=query)


def in_chunks(total: int, head: bytes = b""):
    def chunks():
        yield head
        for _ in range(total // 2**16):
            yield bytes(2**16)

    return chunks


def head_of_form() -> bytes:
    return form(image(b""), close=False).removesuffix(b"\r\n")


URL = "http://127.0.0.1:9/photo.jpg"
BIG = 100 * 2**20

CASES = [
    ok("01-multipart", form(image())),
    ok("02-raw-body", JPEG, kind="image/jpeg"),
    ok("02-raw-octet-stream", JPEG, kind="application/octet-stream"),
    ok("02-raw-without-type", JPEG, kind=None),
    raw("03-raw-as-text", 415, "unsupported_media_type", JPEG, "text/plain"),
    raw("03-raw-as-zip", 415, "unsupported_media_type", JPEG, "application/x-zip"),
    ok("04-part-image-jpg", form(image(kind="image/jpg"))),
    ok("05-part-image-x-foo", form(image(kind="image/x-foo"))),
    ok("06-part-octet-stream", form(image(kind="application/octet-stream"))),
    ok("06-part-upper-case", form(image(kind="IMAGE/JPEG"))),
    ok("07-part-says-png", form(image(kind="image/png")), expect={"format": "JPEG"}),
    Case("08-svg", 415, "unsupported_image_format", form(image(b"<svg xmlns='x'/>", "a.svg"))),
    Case("08-eps", 415, "unsupported_image_format", form(image(b"%!PS-Adobe-3.0 EPSF-3.0\n"))),
    raw("08-raw-svg", 415, "unsupported_image_format", b"<svg xmlns='x'/>", "image/svg+xml"),
    Case("09-wrong-field-name", 400, "missing_field", form(part("img", JPEG, filename="a.jpg"))),
    Case("10-no-file-field", 400, "missing_field", form(part("n", "1"))),
    Case("10-no-parts", 400, "missing_field", form()),
    Case("10-empty-multipart", 400, "empty_body", b""),
    raw("10-empty-raw", 400, "empty_body", b""),
    raw("10-empty-without-type", 400, "empty_body", b"", None),
    Case("11-extra-field", 400, "unknown_field", form(image(), part("size", "3"))),
    Case("11-extra-file", 400, "unknown_field", form(image(), part("b", JPEG, filename="b.jpg"))),
    option("11-unknown-query", "beams=3", "unknown_field", 400),
    option("11-case-of-a-name", "N=1", "unknown_field", 400),
    Case("12-text-in-the-field", 400, "not_a_file", form(part("image", "hello"))),
    Case("12-empty-text-in-the-field", 400, "not_a_file", form(part("image", ""))),
    Case("12-path-in-the-field", 400, "not_a_file", form(part("image", "/etc/passwd"))),
    Case("13-url-in-the-field", 400, "not_a_file", form(part("image", URL))),
    Case("13-url-as-file", 400, "not_a_file", form(image(URL.encode()))),
    raw("13-url-urlencoded", 400, "not_a_file", b"image=http%3A%2F%2F127.0.0.1%2Fa",
        "application/x-www-form-urlencoded"),
    raw("13-url-raw", 400, "not_a_file", URL.encode()),
    raw("13-file-url-raw", 400, "not_a_file", b"file:///etc/passwd"),
    raw("13-urlencoded-photo", 400, "missing_field", JPEG, "application/x-www-form-urlencoded"),
    raw("14-json", 415, "unsupported_media_type", b'{"image":"abc"}', "application/json"),
    raw("14-json-path", 415, "unsupported_media_type", b'{"image":"/a.jpg"}', "application/json"),
    Case("16-two-files", 400, "too_many_files", form(image(), image())),
    Case("17-option-twice", 400, "duplicate_field",
         form(image(), part("n", "1"), part("n", "1"))),
    option("17-option-twice-in-query", "n=1&n=1", "duplicate_field", 400),
    Case("17-option-in-query-and-form", 400, "duplicate_field", form(image(), part("n", "1")),
         query="n=1"),
    Case("17-option-as-file", 400, "invalid_multipart",
         form(image(), part("n", "1", filename="n.txt"))),
    Case("18-empty-file", 400, "empty_file", form(image(b""))),
    Case("18-text-named-jpg", 415, "unsupported_image_format", form(image(b"not a picture"))),
    Case("19-half-a-jpeg", 422, "invalid_image", form(image(JPEG[: len(JPEG) // 2]))),
    raw("19-half-a-jpeg-raw", 422, "invalid_image", JPEG[: len(JPEG) // 2]),
    Case("19-30-bytes", 422, "invalid_image", form(image(JPEG[:30]))),
    Case("20-header-20000", 422, "image_too_large", form(image(png(20000, 20000, 10)))),
    Case("20-header-2-to-31", 422, "image_too_large", form(image(png(2**31 - 1, 2**31 - 1, 0)))),
    Case("21-80-megapixels", 422, "image_too_large", lambda: form(image(png(10_000, 8_000)))),
    Case("21-150-megapixels", 422, "image_too_large", lambda: form(image(png(15_000, 10_000)))),
    Case("21-400-megapixels", 422, "image_too_large", lambda: form(image(png(20_000, 20_000)))),
    ok("22-cmyk", form(image(photo(mode="CMYK", colour=(0, 200, 200, 0))))),
    ok("22-palette-transparency", form(image(palette())), expect={"format": "PNG"}),
    ok("22-rgba", form(image(photo(kind="PNG", mode="RGBA", colour=(1, 2, 3, 4))))),
    ok("22-grey", form(image(photo(mode="L", colour=90)))),
    ok("23-16-bit", form(image(sixteen_bit()))),
    ok("24-animated-gif", form(image(animated("GIF"))), expect={"format": "GIF", "warnings": 1}),
    ok("24-animated-webp", form(image(animated("WEBP"))), expect={"format": "WEBP", "warnings": 1}),
    ok("25-exif-rotated", form(image(rotated((64, 32)))), expect={"width": 32, "height": 64}),
    Case("26-100-mb", 413, "payload_too_large", lambda: head_of_form() + bytes(BIG)),
    Case("26-100-mb-chunked", 413, "payload_too_large", in_chunks(BIG, head_of_form())),
    raw("26-100-mb-raw", 413, "payload_too_large", lambda: bytes(BIG)),
    raw("26-100-mb-raw-chunked", 413, "payload_too_large", in_chunks(BIG)),
    raw("27-100-mb-json", 413, "payload_too_large", lambda: b'"' + b"a" * BIG + b'"',
        "application/json"),
    Case("28-text-field-over-1-mb", 413, "payload_too_large",
         lambda: form(image(), part("n", "1" * 1_100_000))),
    Case("28-1001-fields", 400, "too_many_parts", form(image(), *[part("n", "1")] * 1001)),
    Case("28-1001-unknown-fields", 400, "too_many_parts",
         form(image(), *[part(f"x{i}", "1") for i in range(1001)])),
    Case("28-1001-files", 400, "too_many_parts",
         form(image(), *[part(f"f{i}", "1", filename="a") for i in range(1001)])),
    option("28-1001-options", "&".join(f"x{i}=1" for i in range(1001)), "too_many_parts", 400),
    raw("29-no-boundary", 400, "invalid_multipart", form(image()), "multipart/form-data"),
    raw("29-empty-boundary", 400, "invalid_multipart", form(image()),
        'multipart/form-data; boundary=""'),
    raw("29-long-boundary", 400, "invalid_multipart", form(image(), boundary="b" * 300),
        f"multipart/form-data; boundary={'b' * 300}"),
    raw("29-wrong-boundary", 400, "invalid_multipart", form(image()),
        "multipart/form-data; boundary=another"),
    Case("29-gzip", 415, "unsupported_content_encoding", form(image()),
         headers={"Content-Encoding": "gzip"}),
    Case("30-cut-in-the-file", 400, "invalid_multipart", form(image())[:600]),
    Case("30-cut-in-a-header", 400, "invalid_multipart", form(image())[:40]),
    Case("30-not-closed", 400, "invalid_multipart", form(image(), close=False)),
    ok("31-case-of-the-type", form(image()), kind=f"Multipart/Form-Data; BOUNDARY={BOUNDARY}"),
    raw("32-pickle", 415, "unsupported_media_type", b"cos\nsystem\n(S'true'\ntR.",
        "application/vnd.bentoml+pickle"),
    raw("32-multipart-mixed", 415, "unsupported_media_type", form(image()),
        f"multipart/mixed; boundary={BOUNDARY}"),
    *[Case(f"33-{method}", 405, "method_not_allowed", method=method)
      for method in ("GET", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "BREW")],
    Case("33-post-on-get", 405, "method_not_allowed", path="/status"),
    Case("33-post-on-health", 405, "method_not_allowed", path="/readyz"),
    Case("34-trailing-slash", 404, "not_found", form(image()), path="/caption/"),
    Case("34-double-slash", 404, "not_found", form(image()), path="//caption"),
    Case("34-newline", 404, "not_found", form(image()), path="/caption%0A"),
    Case("35-unknown-path", 404, "not_found", method="GET", path="/nowhere/at/all"),
    Case("35-bentoml-schema", 404, "not_found", method="GET", path="/schema.json"),
    Case("35-control-characters", 404, "not_found", method="GET", path="/a%00%0Ab"),
    Case("36-accept-xml", 406, "not_acceptable", form(image()),
         headers={"Accept": "application/xml"}),
    Case("36-accept-not-json", 406, "not_acceptable", form(image()),
         headers={"Accept": "application/json;q=0, */*"}),
    ok("36-accept-anything", form(image()), headers={"Accept": "text/html, */*;q=0.1"}),
    ok("37-name-goes-up", form(image(filename="../../x.jpg"))),
    ok("37-name-is-a-path", form(image(filename="/etc/passwd"))),
    ok("38-name-backslash", form(image(filename="a\\b;c.jpg"))),
    ok("38-name-newline", form(image(filename="a%0Ab.jpg"))),
    ok("38-name-not-utf8", form(image(filename=b"\xff\xfe\x80.jpg"))),
    ok("39-name-300-long", form(image(filename="x" * 300 + ".jpg"))),
    ok("39-name-with-nul", form(image(filename=b"a\x00b.jpg"))),
    option("40-n-abc", "n=abc"),
    option("40-n-1.5", "n=1.5"),
    option("40-n-empty", "n="),
    Case("40-n-abc-in-form", 422, "invalid_option", form(image(), part("n", "abc"))),
    option("41-n-minus-1", "n=-1"),
    option("41-n-0", "n=0"),
    option("41-n-too-many", "n=99"),
    option("41-n-true", "n=true"),
    option("41-n-of-other-digits", "n=%D9%A3"),
    option("41-seed-too-large", "temperature=1&seed=99999999999999999999"),
    option("42-temperature-nan", "temperature=NaN"),
    option("42-temperature-1e999", "temperature=1e999"),
    option("42-temperature-infinity", "temperature=inf"),
    option("42-attention-maybe", "attention=maybe"),
    option("40-n-above-num-beams", "n=3&num_beams=2"),
    option("40-sampling-with-beams", "temperature=0.7&num_beams=3"),
    option("40-query-not-utf8", "n=%ff", "invalid_query", 400),
    Case("40-timeout-header", 400, "invalid_header", form(image()), headers={"X-Timeout-Ms": "5"}),
    Case("43-option-not-utf8", 400, "invalid_multipart", form(image(), part("n", b"\xff"))),
    ok("43-options-in-form", form(image(), part("n", "2"), part("num_beams", "3"))),
    ok("43-options-in-query", JPEG, kind="image/jpeg", query="temperature=1&seed=3&top_k=5"),
    ok("43-attention", form(image(), part("attention", "true"))),
    Case("53-foreign-host", 400, "host_not_allowed", form(image()),
         headers={"Host": "evil.example.com"}),
    Case("53-foreign-host-health", 400, "host_not_allowed", method="GET", path="/readyz",
         headers={"Host": "evil.example.com:3000"}),
    ok("53-localhost", form(image()), headers={"Host": "LocalHost:80"}),
    ok("53-ipv6-loopback", form(image()), headers={"Host": "[::1]:3000"}),
    Case("54-1x1", 422, "image_too_small", form(image(photo((1, 1))))),
    ok("54-20000x2000", form(image(photo((20000, 20)))), expect={"width": 20000, "height": 20}),
    Case("54-20000x2", 422, "image_too_small", form(image(photo((20000, 2))))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_request(service, case: Case) -> None:
    with service.client() as client:
        answer = case.send(client)
        assert answer.status_code == case.status, answer.text
        assert answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"
        if case.method != "HEAD":
            assert answer.headers["content-type"] == "application/json"
            check_body(case, answer)
        following = client.get("/status")
        assert following.status_code == 200, "the next request works"
        assert following.json()["buffered_bytes"] == 0, "its body is let go"


def check_body(case: Case, answer: httpx.Response) -> None:
    body = json.loads(answer.text, parse_constant=pytest.fail)
    if case.status == 200:
        assert isinstance(body["caption"], str)
        assert body["captions"][0]["text"] == body["caption"]
        assert body["model"] == "caption@0"
        assert {"decode", "queue", "total"} <= set(body["timing_ms"])
        for name, value in case.expect.items():
            if name == "warnings":
                assert len(body["warnings"]) >= value
            else:
                assert body["image"][name] == value
        return
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["code"] == case.code, body
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    message = body["error"]["message"]
    assert message
    assert message.isprintable()
    assert len(message) < 400
    for secret in ("Traceback", "site-packages", ".py", "/tmp"):
        assert secret not in message
    if case.status == 405:
        assert answer.headers["allow"] == {"/caption": "POST"}.get(case.path, "GET, HEAD")


def test_the_next_photo_is_captioned(service) -> None:
    with service.client() as client:
        for body in (form(image(JPEG[:30])), form(image())[:600], b""):
            client.post("/caption", content=body, headers={"Content-Type": CASES[0].kind})
            assert CASES[0].send(client).status_code == 200


def test_every_row_of_the_list_has_its_case() -> None:
    elsewhere = {
        15: "test_json_endpoint.py",
        44: "test_json_endpoint.py",
        45: "test_json_endpoint.py",
        46: "test_slow_and_gone.py",
        47: "uvicorn has no time limit for headers: a proxy in front has",
        48: "test_slow_and_gone.py",
        49: "test_slow_and_gone.py",
        50: "test_slow_and_gone.py",
        51: "test_app.py",
        52: "test_overload.py",
    }
    here = {int(case.id.split("-")[0]) for case in CASES}
    assert set(range(1, 53)) <= here | set(elsewhere)
