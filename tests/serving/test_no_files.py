"""No request makes the service open a file or a connection, whatever it names."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_watching: list[tuple[str, object]] | None = None
_installed = False
EVENTS = (
    "open",
    "os.mkdir",
    "os.remove",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
)


def _hook(event: str, arguments: tuple) -> None:
    if _watching is not None and event in EVENTS:
        _watching.append((event, arguments[:2], threading.current_thread().name))


@contextmanager
def watched() -> Iterator[list]:
    """Files opened and connections made anywhere in this process, in any thread."""
    global _watching, _installed
    if not _installed:  # an audit hook cannot be taken away again
        sys.addaudithook(_hook)
        _installed = True
    _watching = []
    try:
        yield _watching
    finally:
        _watching = None


def body(field: str, content: bytes, name: str | None) -> bytes:
    filename = f'; filename="{name}"' if name is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"{filename}\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    "repeat", range(2)
)  # what is imported or cached at first is no file of a request
def test_nothing_is_opened(reader, kit, repeat: int) -> None:
    large = kit.photo((3000, 2000), quality=98)
    url = f"http://127.0.0.1:{kit.free_port()}/photo.jpg"
    requests = [
        body("image", kit.photo(), "../../etc/passwd"),
        body("image", kit.photo(), "x" * 300 + ".jpg"),
        body("image", large, "large.jpg"),
        body("image", url.encode(), None),
        body("image", url.encode(), "photo.jpg"),
        body("image", b"/etc/passwd", None),
        body("image", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n", "a.eps"),
        body("image", b"<svg><image href='/etc/passwd'/></svg>", "a.svg"),
        body("other", b"x" * 100_000, "a.bin"),
        b"--b\r\nbroken",
    ]
    with reader.client() as client:
        client.get("/status")
        with watched() as seen:
            for request in requests:
                client.post(
                    "/caption",
                    content=request,
                    headers={"Content-Type": "multipart/form-data; boundary=b"},
                )
            client.post("/caption", content=url.encode(), headers={"Content-Type": "image/jpeg"})
    if repeat:
        # The client opens a new connection where the server closed one.
        own = ("127.0.0.1", reader.port)
        assert [one for one in seen if own not in one[1] and "127.0.0.1" not in one[1]] == []
