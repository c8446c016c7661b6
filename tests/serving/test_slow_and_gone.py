"""Clients that are slow, leave, or send more than is taken: none hurts the others."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

HEAD = (
    b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    b"Content-Length: %d\r\n\r\n"
)


@pytest.fixture(scope="module")
def hasty(kit):
    """A service that waits a second for a body, and half a second for its next bytes."""
    with kit.running(read_timeout_s=1.0, stall_timeout_s=0.5) as service:
        yield service


def lost(service, status: str = "499") -> float:
    text = httpx.get(f"{service.url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if f'code="{status}"' in line and "_total" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def good(service, kit) -> bool:
    with service.client() as client:
        answer = client.post("/caption", files={"image": kit.photo()})
    return answer.status_code == 200


def test_a_body_of_a_byte_now_and_then(hasty, kit) -> None:
    with hasty.connection() as connection:
        connection.sendall(HEAD % 1000)
        began = time.monotonic()
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"\xff")
                except OSError:
                    return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        answer = kit.read_all(connection)
        stop.set()
        dripping.join(5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in answer
    assert b"connection: close" in answer.lower()
    assert 0.9 < time.monotonic() - began < 10
    assert good(hasty, kit)


def test_a_body_that_stops_coming(hasty, kit) -> None:
    with hasty.connection() as connection:
        connection.sendall(HEAD % 1000 + b"\xff\xd8")
        answer = kit.read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert good(hasty, kit)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_client_that_leaves_while_sending(reader, kit, caplog, share: float) -> None:
    body = kit.photo((1000, 800))
    before = lost(reader)
    with caplog.at_level(logging.DEBUG), reader.connection() as connection:
        connection.sendall(HEAD % len(body) + body[: int(share * len(body))])
        time.sleep(0.05)
    kit.wait_until(lambda: lost(reader) == before + 1)
    assert reader.runtime.budget.held == 0
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert good(reader, kit)


def test_many_half_open_uploads_leave_room_for_others(reader, kit) -> None:
    connections = [reader.connection() for _ in range(300)]
    try:
        for connection in connections:
            connection.sendall(HEAD % 500_000 + bytes(1000))
        began = time.monotonic()
        assert good(reader, kit)
        assert time.monotonic() - began < 5
    finally:
        for connection in connections:
            connection.close()
    kit.wait_until(lambda: reader.runtime.budget.held == 0)


def test_a_client_that_leaves_the_queue_is_not_computed(kit) -> None:
    gate = threading.Event()
    task = kit.task()
    with kit.running(task) as service:
        task.before = lambda prepared: gate.wait(20) and None
        first = threading.Thread(target=good, args=(service, kit), daemon=True)
        first.start()
        model = service.runtime.models["caption"]
        kit.wait_until(lambda: len(task.batches) == 3)  # two to warm up, and the first
        body = kit.photo()
        connections = [service.connection() for _ in range(4)]
        for connection in connections:
            connection.sendall(HEAD % len(body) + body)
        kit.wait_until(lambda: model.waiting == 4)
        for connection in connections[1:]:
            connection.close()
        kit.wait_until(lambda: model.waiting == 1)
        gate.set()
        answer = connections[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        connections[0].close()
        first.join(20)
        assert task.batches[2:] == [1, 1]
        assert lost(service) == 3
        text = httpx.get(f"{service.url}/metrics", trust_env=False).text
        assert 'captioner_items_lost_total{reason="cancelled",task="caption"} 3.0' in text


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("size", [25, 100])
def test_httpx_sees_why_a_large_body_is_refused(reader, size: int, chunked: bool) -> None:
    body = bytes(size * 2**20)

    def chunks():
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    for _ in range(3):
        with reader.client() as client:
            answer = client.post(
                "/caption",
                content=chunks() if chunked else body,
                headers={"Content-Type": "image/jpeg"},
            )
            assert answer.status_code == 413
            assert client.get("/status").status_code == 200


@pytest.mark.parametrize("expect", ["100-continue", ""], ids=["expect", "no-expect"])
def test_curl_sees_why_a_large_body_is_refused(reader, tmp_path: Path, expect: str) -> None:
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    command = ["curl", "-sS", "-m", "60", "--noproxy", "*", "-H", f"Expect: {expect}".strip()]
    command += ["-w", "\n%{http_code} %{size_upload}", "-F", f"image=@{large}"]
    done = subprocess.run(
        [*command, f"{reader.url}/caption"], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    status, sent = done.stdout.splitlines()[-1].split()
    assert status == "413"
    assert "payload_too_large" in done.stdout
    if expect:
        assert int(sent) < 2**20, "it was told before it sent"


def test_a_refused_request_leaves_its_connection_usable(reader, kit) -> None:
    body = kit.photo((500, 400))
    with reader.client() as client:
        refused = client.post("/nowhere", content=body, headers={"Content-Type": "image/jpeg"})
        assert refused.status_code == 404
        assert "connection" not in refused.headers
        assert client.post("/caption", files={"image": body}).status_code == 200


def test_contradicting_lengths(reader) -> None:
    request = b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n%s\r\n\r\n"
    negative = reader.raw(request % b"Content-Length: -1\r\nConnection: close")
    assert negative.startswith(b"HTTP/1.1 400 ")
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0"
    answer = reader.raw(request % both)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"empty_body" in answer, "the chunks count"


def test_a_request_line_that_names_another_server(reader) -> None:
    answer = reader.raw(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n"
                        b"Connection: close\r\n\r\n")  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"not_found"' in answer


def test_http_1_0_without_a_host(reader) -> None:
    answer = reader.raw(b"GET /status HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"host_not_allowed" in answer


def test_uploads_together_stay_within_their_budget(kit) -> None:
    with kit.running(max_buffered_bytes=2**20) as service:
        body = kit.photo()
        with service.connection() as slow:
            slow.sendall(HEAD % 2**20 + bytes(2**20 - 100))
            kit.wait_until(lambda: service.runtime.budget.held > 2**20 - 200)
            with service.client() as client:
                answer = client.post("/caption", files={"image": body})
                assert answer.status_code == 429
                assert answer.json()["error"]["code"] == "overloaded"
                assert int(answer.headers["retry-after"]) >= 1
        kit.wait_until(lambda: service.runtime.budget.held == 0)
        assert good(service, kit)
