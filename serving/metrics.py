"""Prometheus metrics with bounded labels: routes by template, never by what a client typed.

Under ``bentoml serve`` every worker writes files into PROMETHEUS_MULTIPROC_DIR and any of them
answers for all; elsewhere a registry of its own keeps applications in one process apart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.jobs.store import STATES

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class Metrics:
    """All metrics of one application."""

    def __init__(self) -> None:
        self._directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if self._directory:
            _forget_dead_workers(Path(self._directory))
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "captioner_requests",
            "Requests by route template, method and status; 499 is a client that left",
            ["route", "method", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "captioner_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "captioner_errors", "Refused or failed requests by error code", ["error"],
            registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "captioner_requests_in_flight", "Requests begun and not yet answered",
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self._batch_size = Histogram(
            "captioner_batch_size", "Items in a batch", ["task"], buckets=BATCH_SIZES,
            registry=registry,
        )  # fmt: skip
        self._queue_seconds = Histogram(
            "captioner_queue_seconds", "Seconds from submission to computation", ["task"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._model_seconds = Histogram(
            "captioner_model_seconds", "Seconds of computation for a batch", ["task"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._lost = Counter(
            "captioner_items_lost",
            "Items not computed: rejected, expired, cancelled; and batches retried singly",
            ["task", "reason"],
            registry=registry,
        )
        self._depth = Gauge(
            "captioner_queue_depth", "Items waiting for the model", ["task"],
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip

        results = {
            "captioner_frames_labelled": "Frames of videos labelled for requests",
            "captioner_characters_generated": "Characters of endless text said for requests",
        }
        self._results = {
            name: Counter(name, what, ["task"], registry=registry) for name, what in results.items()
        }
        self._first_seconds = Histogram(
            "captioner_first_result_seconds",
            "Seconds from a video's first byte (or its last, where its end is needed) to a label, "
            "from a prompt to a character",
            ["task"],
            buckets=SECONDS,
            registry=registry,
        )

        self._jobs = Gauge(
            "captioner_jobs", "Jobs by state", ["state"], multiprocess_mode="mostrecent",
            registry=registry,
        )  # fmt: skip

    def request(self, route: str, method: str, status: int, error: str, seconds: float) -> None:
        """Count one finished request."""
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        if error:
            self._errors.labels(error).inc()

    def jobs(self, counts: Mapping[str, int]) -> None:
        """Set how many jobs there are of each state; none where it is not named."""
        for state in STATES:
            self._jobs.labels(state).set(counts.get(state, 0))

    def for_task(self, task: str) -> TaskMetrics:
        """What a task's batcher reports to."""
        return TaskMetrics(self, task)

    def for_streams(self, task: str, results: str) -> StreamMetrics:
        """What a task's streams report to; ``results``: the metric that counts theirs."""
        return StreamMetrics(self, task, results)

    def exposition(self) -> bytes:
        """All values in Prometheus' text format, of all workers together."""
        registry = self._registry
        if self._directory:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        text: bytes = generate_latest(registry)
        return text


class TaskMetrics:
    """One task's share of the metrics: a :class:`serving.batcher.Observer`."""

    def __init__(self, metrics: Metrics, task: str) -> None:
        self._batch_size = metrics._batch_size.labels(task)
        self._queue_seconds = metrics._queue_seconds.labels(task)
        self._model_seconds = metrics._model_seconds.labels(task)
        self._depth = metrics._depth.labels(task)
        reasons = ("rejected", "expired", "cancelled", "retried")
        self._lost = {reason: metrics._lost.labels(task, reason) for reason in reasons}

    def batch(self, size: int, model_s: float, queue_s: Sequence[float]) -> None:
        """A batch has been computed."""
        self._batch_size.observe(size)
        self._model_seconds.observe(model_s)
        for seconds in queue_s:
            self._queue_seconds.observe(seconds)

    def lost(self, reason: str) -> None:
        """An item left without a result, or a batch had to be retried."""
        self._lost[reason].inc()

    def depth(self, waiting: int) -> None:
        """So many items wait now."""
        self._depth.set(waiting)


class StreamMetrics:
    """One task's share of the metrics: a :class:`serving.streams.Observer`."""

    def __init__(self, metrics: Metrics, task: str, results: str) -> None:
        self._results = metrics._results[results].labels(task)
        self._model_seconds = metrics._model_seconds.labels(task)
        self._first_seconds = metrics._first_seconds.labels(task)
        self._depth = metrics._depth.labels(task)
        reasons = ("rejected", "expired", "cancelled")
        self._lost = {reason: metrics._lost.labels(task, reason) for reason in reasons}

    def first(self, seconds: float) -> None:
        """A client has got its first result after so many seconds."""
        self._first_seconds.observe(seconds)

    def ended(self, results: int, seconds: float) -> None:
        """A request has got its last result."""
        self._results.inc(max(0, results - 1))  # the last is the summary
        self._model_seconds.observe(seconds)

    def lost(self, reason: str) -> None:
        """A request left without its results."""
        self._lost[reason].inc()

    def depth(self, waiting: int) -> None:
        """So many requests wait now."""
        self._depth.set(waiting)


def _forget_dead_workers(directory: Path) -> None:
    """Drop gauges of workers that were killed: their queues are gone, their counters stay."""
    for file in directory.glob("gauge_live*_*.db"):
        match = re.search(r"_(\d+)\.db$", file.name)
        if match and not Path(f"/proc/{match[1]}").exists() and Path("/proc/self").exists():
            mark_process_dead(int(match[1]), str(directory))
