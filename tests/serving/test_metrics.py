"""Metrics: what is counted, and that no client can make them grow."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


def samples(service) -> dict[tuple[str, ...], float]:
    with service.client() as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(f"{k}={v}" for k, v in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_template_method_and_status(kit) -> None:
    with kit.running() as service, service.client() as client:
        for _ in range(3):
            client.post("/caption", files={"image": kit.photo()})
        client.post("/caption", content=b"")
        client.get("/nowhere")
        client.request("BREW", "/caption")
        found = samples(service)
        name = "captioner_requests_total"
        assert found[name, "code=200", "method=POST", "route=/caption"] == 3
        assert found[name, "code=400", "method=POST", "route=/caption"] == 1
        assert found[name, "code=404", "method=GET", "route=unmatched"] == 1
        assert found[name, "code=405", "method=other", "route=/caption"] == 1
        assert found["captioner_errors_total", "error=empty_body"] == 1
        assert found["captioner_request_seconds_count", "route=/caption"] == 5


def test_batches_are_counted(kit) -> None:
    task = kit.task()
    with kit.running(task) as service:

        def post(_: int) -> int:
            with service.client() as client:
                return client.post("/caption", files={"image": kit.photo()}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(post, range(20))) == {200}
        found = samples(service)
        assert found["captioner_batch_size_sum", "task=caption"] == 20
        assert found["captioner_batch_size_count", "task=caption"] == len(task.batches) - 2
        assert found["captioner_queue_seconds_count", "task=caption"] == 20
        assert found["captioner_model_seconds_count", "task=caption"] == len(task.batches) - 2
        assert found["captioner_queue_depth", "task=caption"] == 0
        for reason in ("rejected", "expired", "cancelled", "retried"):
            assert found["captioner_items_lost_total", f"reason={reason}", "task=caption"] == 0


def test_2000_paths_leave_the_metrics_as_they_are(reader) -> None:
    def disturb(client, index: int) -> None:
        client.get(f"/{index}/{index}")
        client.request(f"M{index}", "/nowhere")

    with reader.client() as client:
        disturb(client, 0)
        samples(reader)
        before = samples(reader)
        for index in range(2000):
            disturb(client, index)
        after = samples(reader)
    assert set(after) == set(before)
    name = ("captioner_requests_total", "code=404", "method=GET", "route=unmatched")
    assert after[name] - before[name] == 2000


WORKER = """
import sys
from serving.metrics import Metrics
metrics = Metrics()
metrics.request("/caption", "POST", 200, "", 0.1)
metrics.for_task("caption").depth(3)
if sys.argv[1] == "print":
    print(metrics.exposition().decode())
"""


def test_workers_are_added_up_and_dead_ones_leave_no_queue(kit, tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def worker(what: str) -> str:
        command = [sys.executable, "-c", WORKER, what]
        done = subprocess.run(
            command, cwd=kit.root, env=environment, capture_output=True, text=True, check=True,
            timeout=60,
        )  # fmt: skip
        return done.stdout

    worker("silent")
    worker("silent")
    text = worker("print")
    assert 'captioner_requests_total{code="200",method="POST",route="/caption"} 3.0' in text
    assert 'captioner_queue_depth{task="caption"} 3.0' in text, "only the living worker's"
