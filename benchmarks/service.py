"""What HTTP adds to a caption: ``python -m benchmarks.service``.

A real service (``python -m serving``, ``CAPTIONER_*`` as they are set) against the same task in
this process, with the worker's settings and never at the same time. Clients are threads here: they
share the cores with the service, as they would not elsewhere, so they send ready bytes, keep their
connections and take no answer apart. Photos are scikit-image's, 500 x 375. Memory is what /proc
says (Linux), in 10^6 bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import torch

import captioner
from benchmarks.caption import photos
from benchmarks.measure import Timing, in_turns, report, spread
from captioner.tasks.caption import CaptionTask
from serving.runtime import available_cores
from serving.settings import Settings

CLIENTS = 16
READY_WITHIN_S = 120
STOPPED_WITHIN_S = 40
IDLE_S = 3
# What serving/service.py gives its workers. All are read once, when a process begins.
WORKER = {
    "MALLOC_ARENA_MAX": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True)
class Service:
    """A service that answers, and the seconds from its start until it did."""

    supervisor: int
    port: int
    ready_s: float

    def connection(self) -> HTTPConnection:
        """One that is open: the server closes those that idle while this process captions."""
        opened = HTTPConnection("127.0.0.1", self.port, timeout=60)
        opened.connect()
        return opened


@contextlib.contextmanager
def running() -> Iterator[Service]:
    """The service, stopped at the end, come what may."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - began > READY_WITHIN_S:
                raise SystemExit("The service did not get ready; python -m serving says why.")
            time.sleep(0.05)
        yield Service(process.pid, port, time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()  # workers end with their supervisor
            process.wait()


def is_ready(port: int) -> bool:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False


def ask(connection: HTTPConnection, jpeg: bytes) -> bytes:
    """The answer's body."""
    connection.request("POST", "/caption", jpeg, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"The service answered {answer.status}: {body.decode()}")
    return body


def latencies(
    task: CaptionTask, service: Service, jpegs: list[bytes], blocks: int
) -> dict[str, Timing]:
    """Milliseconds of each photo, in blocks by turns; the first block of either warms up."""
    times: dict[str, list[float]] = {"HTTP, one client": [], "in process": []}
    for block in range(blocks + 1):
        with contextlib.closing(service.connection()) as connection:
            over_http = timed(lambda jpeg, to=connection: ask(to, jpeg), jpegs)
        for each, found in zip(times.values(), (over_http, timed(task, jpegs)), strict=True):
            each += found if block else []
    return {name: spread(found) for name, found in times.items()}


def timed(run: Callable[[bytes], object], jpegs: list[bytes]) -> list[float]:
    found = []
    for jpeg in jpegs:
        began = time.perf_counter()
        run(jpeg)
        found.append((time.perf_counter() - began) * 1000)
    return found


def under_load(service: Service, jpegs: list[bytes]) -> Callable[[], object]:
    """All photos, each sent by whichever client has its last answer."""

    def client(waiting: Iterator[bytes]) -> None:
        with contextlib.closing(service.connection()) as connection:
            for jpeg in waiting:
                ask(connection, jpeg)

    def run() -> object:
        waiting = iter(jpegs)
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(client, [waiting] * CLIENTS))

    return run


def in_batches(task: CaptionTask, settings: Settings, jpegs: list[bytes]) -> Callable[[], object]:
    """All photos as the service's model sees them when it is busy: in its largest batches."""
    decoders = ThreadPoolExecutor(settings.decode_threads)

    def run() -> object:
        return [
            task.caption(
                list(decoders.map(task.prepare, jpegs[first : first + settings.max_batch]))
            )
            for first in range(0, len(jpegs), settings.max_batch)
        ]

    return run


def resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def family(process: int) -> list[int]:
    """Its children, and theirs."""
    threads = Path(f"/proc/{process}/task").iterdir()
    children = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    return [pid for child in children for pid in (child, *family(child))]


def main() -> None:
    """Prints all rows."""
    if any(os.environ.get(name) != value for name, value in WORKER.items()):
        os.execve(sys.executable, sys.orig_argv, os.environ | WORKER)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the service must not outlive this
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts, and turns under load")
    parser.add_argument(
        "--blocks", type=int, default=10, help="turns of one client, 32 photos each"
    )
    parser.add_argument("--photos", type=int, default=512, help="in a turn under load")
    chosen = parser.parse_args()
    settings = Settings.from_environment()
    torch.set_num_threads(settings.threads or max(1, available_cores() // settings.workers))
    task = captioner.load("caption", model=settings.models.get("caption"))
    small = photos(32, (500, 375))
    many = [small[number % len(small)] for number in range(chosen.photos)]
    rows: list[tuple[str, float, str, dict[str, Timing]]] = []

    starts = []
    for _ in range(chosen.rounds + 1):
        with running() as service:
            starts.append(service.ready_s * 1000)
    ready = spread(starts[1:])  # the first one warms the disk's cache up
    rows.append(("start to ready, s", ready.median / 1000, "at most 15", {"start": ready}))

    with running() as service:
        with contextlib.closing(service.connection()) as connection:
            same = sum(
                json.loads(ask(connection, jpeg))["caption"] == task(jpeg).caption for jpeg in small
            )
        found = latencies(task, service, small, chosen.blocks)
        rows.append((
            f"HTTP minus in process, p50, ms (same captions: {same}/{len(small)})",
            found["HTTP, one client"].median - found["in process"].median, "at most 6", found,
        ))  # fmt: skip
        found = in_turns(
            {
                f"{CLIENTS} clients, {len(many)} photos": under_load(service, many),
                f"in process, batches of {settings.max_batch}": in_batches(task, settings, many),
            },
            chosen.rounds,
        )
        clients, batches = found.values()
        rows.append((
            f"photos/s, {CLIENTS} clients / in process",
            batches.median / clients.median, "at least 0.85", found,
        ))  # fmt: skip
        if sys.platform == "linux":
            at_work = sum(map(resident_mb, family(service.supervisor)))
            time.sleep(IDLE_S)  # then it has given back what it was keeping for more work
            at_rest = sum(map(resident_mb, family(service.supervisor)))
            supervisor = resident_mb(service.supervisor)
            rows.append(("resident after the load, MB: all workers", at_rest, "at most 900", {}))
            rows.append(("resident at the end of the load, MB: all workers", at_work, "", {}))
            rows.append(("resident after the load, MB: supervisor", supervisor, "", {}))
    report("benchmarks/service.py", rows)


if __name__ == "__main__":
    main()
