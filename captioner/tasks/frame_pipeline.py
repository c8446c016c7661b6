"""Frames on their way from a file to the recurrent network: read, encoded, and in order.

One thread decodes, as many as there are cores encode, and whoever takes the chunks labels: the
three overlap. Each encoding thread uses one core, since one picture after the other on each of two
cores takes a third less than two cores on each picture. Memory is that of the few chunks that are
under way, however long the video.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import torch
from torch import Tensor

from captioner.vision.preprocess import Preprocessing
from captioner.vision.video import VideoReader

_NUM_THREADS = threading.Lock()


@dataclass(frozen=True)
class Chunk:
    """Neighbouring frames: index and seconds of each, pixels as they were encoded, features."""

    frames: list[tuple[int, float]]
    pixels: Tensor
    """uint8 ``(frames, 3, size, size)``"""
    features: Tensor
    """float32 ``(frames, feature)``, on the model's device"""
    encode_s: float


def encoded(
    reader: VideoReader,
    preprocessing: Preprocessing,
    encode: Callable[[Tensor], Tensor],
    *,
    workers: int,
    chunk_frames: int,
    timing: dict[str, float],
) -> Generator[Chunk, None, None]:
    """The frames of ``reader`` in chunks, with features, in order.

    ``encode``: pixels ``(frames, 3, size, size)`` -> features. ``timing``: gets the milliseconds
    spent on ``"decode"`` and, all threads together, ``"encode"``. The first chunk has one frame,
    each later one twice as many, up to ``chunk_frames``: whoever waits for the first label does not
    wait for others. Closes ``reader`` and ends its threads when it ends, is closed or fails; a file
    that blocks in ``read`` holds that up.

    Raises what ``reader`` raises, after the chunks before it.
    """
    stop = threading.Event()
    # Chunks read and not yet taken: one for each worker, one more to go on with.
    places = threading.Semaphore(workers + 1)
    chunks: SimpleQueue[Future[Chunk] | BaseException | None] = SimpleQueue()
    with _one_thread_each(workers) as pool:

        def read() -> None:
            end: BaseException | None = None
            started, waited = time.perf_counter(), 0.0
            size, frames, pixels = 1, list[tuple[int, float]](), list[Tensor]()
            try:
                with reader:
                    for frame in reader:
                        frames.append((frame.index, frame.time_s))
                        pixels.append(preprocessing.pixels(frame.image))
                        if len(frames) == size:
                            waiting = time.perf_counter()
                            places.acquire()
                            waited += time.perf_counter() - waiting
                            chunks.put(pool.submit(run, frames, torch.stack(pixels)))
                            size, frames, pixels = min(2 * size, chunk_frames), [], []
                        if stop.is_set():
                            return
            except BaseException as error:
                end = error
            timing["decode"] = (time.perf_counter() - started - waited) * 1000
            if frames:
                chunks.put(pool.submit(run, frames, torch.stack(pixels)))
            chunks.put(end)

        def run(frames: list[tuple[int, float]], pixels: Tensor) -> Chunk:
            started = time.perf_counter()
            with torch.inference_mode():
                features = encode(pixels)
            return Chunk(frames, pixels, features, time.perf_counter() - started)

        thread = threading.Thread(target=read, name="captioner-read", daemon=True)
        thread.start()
        try:
            while True:
                item = chunks.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    return
                chunk = item.result()
                places.release()
                timing["encode"] = timing.get("encode", 0.0) + chunk.encode_s * 1000
                yield chunk
        finally:
            stop.set()
            places.release()  # so that a reader who waits for a place sees it
            thread.join()
            pool.shutdown(cancel_futures=True)


def _one_thread_each(workers: int) -> ThreadPoolExecutor:
    """Threads in each of which torch's operators use one core; all others keep what they have."""
    ready = threading.Barrier(workers + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        ready.wait()

    with _NUM_THREADS:
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(workers, "captioner-encode", initializer=begin)
        for _ in range(workers):
            pool.submit(int)
        ready.wait()
        torch.set_num_threads(before)  # also what threads begin with that are yet to come
    return pool
