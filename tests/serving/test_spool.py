"""A file that grows while it is read."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator

import pytest

from captioner.vision.video import open_video
from serving.responses import RequestError
from serving.spool import Abandoned, Spool


@pytest.fixture
def spool(tmp_path) -> Iterator[Spool]:
    with (tmp_path / "spool").open("w+b", buffering=0) as file:
        yield Spool(file)


def later(action, *arguments) -> None:
    threading.Timer(0.1, action, arguments).start()


def test_a_reader_waits_for_bytes_and_for_the_end(spool: Spool) -> None:
    reader = spool.in_order()
    spool.write(b"abc")
    assert reader.read(10) == b"abc"
    later(spool.write, b"def")
    assert reader.read(2) == b"de", "it waited"
    assert reader.read(2) == b"f"
    later(spool.finish)
    assert reader.read(2) == b""
    assert reader.tell() == 6
    with pytest.raises(io.UnsupportedOperation):
        reader.seek(0)


def test_the_whole_can_be_sought_in(spool: Spool) -> None:
    with pytest.raises(ValueError, match="arriving"):
        spool.whole()
    spool.write(b"abcdef")
    spool.finish()
    reader = spool.whole()
    assert reader.seek(-2, os.SEEK_END) == 4
    assert reader.read(10) == b"ef"
    assert reader.seek(1) == 1
    assert reader.seek(1, os.SEEK_CUR) == 2
    assert reader.read() == b"cdef"
    assert reader.seek(100) == 100
    assert reader.read(1) == b""
    for nonsense in (-1, 2**64):
        with pytest.raises(OSError, match="Invalid"):
            reader.seek(nonsense)


def test_a_failure_reaches_who_waits_and_who_comes_later(spool: Spool) -> None:
    waiting = spool.in_order()
    later(spool.fail, RequestError("request_timeout", "too slow."))
    with pytest.raises(RequestError, match="too slow"):
        waiting.read(1)
    spool.write(b"more")
    with pytest.raises(RequestError, match="too slow"):
        spool.in_order().read(1)
    spool.fail(Abandoned("later"))
    with pytest.raises(RequestError, match="too slow"):
        waiting.read(1)


def test_closing_gives_the_disk_back_and_frees_who_waits(spool: Spool) -> None:
    later(spool.close)
    with pytest.raises(Abandoned):
        spool.in_order().read(1)
    spool.close()


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_a_video_is_read_while_it_arrives(spool: Spool, make_clip, size: int) -> None:
    clip = make_clip(container="matroska")
    size = max(size, len(clip) // 100)

    def send() -> None:
        for start in range(0, len(clip), size):
            spool.write(clip[start : start + size])
            time.sleep(0.001)
        spool.finish()

    threading.Thread(target=send, daemon=True).start()
    with open_video(spool.in_order()) as video:
        times = [frame.time_s for frame in video]
        assert not video.truncated
    assert len(times) == 30


def test_a_video_whose_client_leaves_ends_the_decoder_with_the_reason(
    spool: Spool, make_clip
) -> None:
    clip = make_clip(container="mpegts", noise=60)
    spool.write(clip[: len(clip) // 2])
    with open_video(spool.in_order()) as video:
        next(video)
        later(spool.fail, Abandoned("the client left."))
        with pytest.raises(Abandoned):
            list(video)


def test_a_full_disk_is_told(tmp_path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(RequestError) as caught:
        Spool(file).write(b"x")
    assert caught.value.code == "storage_full"
