"""Timing in turns, so that what the machine does meanwhile falls on all sides alike."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one side over all rounds."""

    median: float
    low: float
    high: float


def in_turns(
    sides: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Median, minimum and maximum in ms of each side, one warm-up and ``rounds`` turns each.

    ``clock=time.process_time`` on one thread leaves out what other programs take.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            started = clock()
            run()
            if turn:
                times[name].append((clock() - started) * 1000)
    return {name: spread(found) for name, found in times.items()}


def spread(times: Sequence[float]) -> Timing:
    """Median, minimum and maximum of what was timed, in ms."""
    return Timing(statistics.median(times), min(times), max(times))


def machine() -> str:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def report(title: str, rows: list[tuple[str, float, str, dict[str, Timing]]]) -> None:
    """A table, and the same as one line of JSON. Row: what, ratio, wanted, timings."""
    print(f"{title}\n{machine()}\n")
    for what, ratio, wanted, timings in rows:
        print(f"{what:<58} {ratio:6.2f}   {wanted}")
        for name, timing in timings.items():
            print(
                f"    {name:<54} {timing.median:9.2f} ms  ({timing.low:.2f} to {timing.high:.2f})"
            )
    found = [
        {"what": what, "ratio": round(ratio, 4), "wanted": wanted}
        | {name: asdict(timing) for name, timing in timings.items()}
        for what, ratio, wanted, timings in rows
    ]
    print(json.dumps({"title": title, "machine": machine(), "rows": found}))
