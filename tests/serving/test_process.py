"""The service as it is started: processes, signals, what it binds, what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = pytest.mark.slow


@contextmanager
def started(kit, tmp_path: Path, *arguments: str, **environment: str) -> Iterator:
    port = kit.free_port()
    temporary = tmp_path / f"tmp-{port}"
    temporary.mkdir()
    command = [sys.executable, "-m", "serving", "--port", str(port), *arguments]
    log = tmp_path / f"log-{port}"
    with kit.process(command, port, log, TMPDIR=str(temporary), **environment) as service:
        service.log_file = log
        service.temporary = temporary
        yield service


def workers(service) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these
            if "_bentoml_impl.worker.service" in child.cmdline():
                found.append(child)
    return found


def caption(service, kit) -> httpx.Response:
    with service.client() as client:
        return client.post("/caption", files={"image": kit.photo((400, 300))})


def total(service, **labels: str) -> float:
    with service.client() as client:
        text = client.get("/metrics").text
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("captioner_requests_total") and all(part in line for part in wanted)
    )


def begun(client: httpx.Client) -> tuple[float, float]:
    """Caption requests that the service has begun, and those of them without an answer yet."""
    waiting, answered = -1.0, 0.0  # the request that asks is not answered either
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("captioner_requests_in_flight "):
            waiting += float(line.split()[1])
        elif line.startswith("captioner_requests_total") and 'route="/caption"' in line:
            answered += float(line.split()[-1])
    return waiting + answered, waiting


def test_sigterm_with_20_in_flight_loses_none(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    with started(kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent)) as service:
        assert list(service.temporary.iterdir()), "its home is here"
        with ThreadPoolExecutor(20) as pool:
            calls = [pool.submit(caption, service, kit) for _ in range(20)]
            with service.client() as client:
                kit.wait_until(lambda: begun(client)[0] >= 20)
                assert begun(client)[1] >= 5, "the service is in the middle of its work"
            service.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            answers = [call.result(60) for call in calls]
            assert [answer.status_code for answer in answers] == [200] * 20
            assert service.process.wait(40) == 0
            assert time.monotonic() - began < 30
        assert list(service.temporary.iterdir()) == [], "nothing is left behind"


def test_sigint_ends_it_too(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    with started(kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent)) as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(40) == 0
        assert list(service.temporary.iterdir()) == []


def test_clients_faults_leave_no_trace_and_no_file(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    with started(kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent)) as service:
        before = sorted(path.name for path in service.temporary.rglob("*"))
        with service.client() as client:
            photo = kit.photo()
            for body in (b"", photo[:100], b"text", b"http://127.0.0.1/a", bytes(10**6)):
                client.post("/caption", content=body, headers={"Content-Type": "image/jpeg"})
                client.post("/caption", files={"image": ("../../name.jpg", body)})
            client.get("/nowhere")
            client.post("/caption", data={"image": "http://127.0.0.1:9/x"})
        with service.connection() as connection:
            connection.sendall(
                b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 1000\r\n\r\n123"
            )
        kit.wait_until(lambda: total(service, code="499") == 1)
        assert sorted(path.name for path in service.temporary.rglob("*")) == before
        text = service.log_file.read_text()
        assert "Traceback" not in text
        assert "name.jpg" not in text
        lines = service.log()
        assert {line["level"] for line in lines} == {"INFO"}
        requests = [line for line in lines if line["event"] == "request"]
        assert len(requests) >= 13


@contextmanager
def listener() -> Iterator[tuple[int, list]]:
    """A server that notes who connects."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        seen: list = []

        def accept() -> None:
            while True:
                try:
                    seen.append(server.accept()[1])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)


def test_it_calls_nobody_and_listens_only_here(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    with listener() as (port, seen):
        proxy = f"http://127.0.0.1:{port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")
        with started(
            kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent), **dict.fromkeys(names, proxy)
        ) as service:
            url = f"http://127.0.0.1:{port}/photo.jpg"
            with service.client() as client:
                assert client.post("/caption", data={"image": url}).status_code == 400
                assert client.post("/caption", files={"image": (None, url)}).status_code == 400
                assert client.post("/caption", files={"image": url.encode()}).status_code == 400
            assert caption(service, kit).status_code == 200
            family = [psutil.Process(service.process.pid), *workers(service)]
            addresses = {
                connection.laddr.ip
                for one in family
                for connection in one.net_connections()
                if connection.status == psutil.CONN_LISTEN
            }
            assert addresses == {"127.0.0.1"}
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(40)
        assert seen == [], "no telemetry, no photo fetched"


def test_a_killed_worker_is_replaced_and_its_counts_stay(
    kit, tmp_path: Path, tiny_bundle: Path
) -> None:
    with started(
        kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent), CAPTIONER_WORKERS="2"
    ) as service:
        kit.wait_until(lambda: len(workers(service)) == 2)
        assert [caption(service, kit).status_code for _ in range(12)] == [200] * 12
        assert total(service, route="/caption", code="200") == 12, "of both workers"
        victim = workers(service)[0].pid
        os.kill(victim, signal.SIGKILL)

        def replaced() -> bool:
            return len(workers(service)) == 2 and victim not in {w.pid for w in workers(service)}

        kit.wait_until(replaced, 60)
        assert caption(service, kit).status_code == 200
        kit.wait_until(lambda: total(service, route="/caption", code="200") == 13, 60)


def test_workers_end_with_their_supervisor(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    with started(kit, tmp_path, CAPTIONER_BUNDLES=str(tiny_bundle.parent)) as service:
        [worker] = workers(service)
        service.process.kill()
        worker.wait(40)


def test_jobs_outlive_a_service_that_is_killed(
    kit, tmp_path: Path, bundles: Path, make_clip: Callable[..., bytes]
) -> None:
    """At work on one, with one that waits and one that is still arriving."""
    state = tmp_path / "state"
    environment = {"CAPTIONER_BUNDLES": str(bundles), "CAPTIONER_STATE_DIR": str(state)}
    body = make_clip([("red", 60.0), ("blue", 60.0)])
    raw = {"content": body, "headers": {"Content-Type": "video/mp4"}}

    def job(client: httpx.Client, place: str) -> dict:
        return client.get(place).json()["job"]

    with started(kit, tmp_path, **environment) as service, service.client() as client:
        running, waiting = (
            client.post("/frames/jobs?every_s=0", **raw).headers["location"] for _ in range(2)
        )
        with service.connection() as connection:
            connection.sendall(
                b"POST /frames/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
                b"Content-Length: 1000000\r\n\r\n" + body[:1000]
            )
            kit.wait_until(lambda: len([*(state / "uploads").glob("*.part")]) == 1)
            kit.wait_until(lambda: job(client, running)["frames_labelled"] > 0, 60)
            family = psutil.Process(service.process.pid).children(recursive=True)
            labelling = [one for one in family if "serving.jobs" in one.cmdline()]
            for one in (service.process, *workers(service)):
                one.kill()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.wait(40)
        assert len(labelling) == 1
        assert not labelling[0].is_running(), "it ends with the service"
    with started(kit, tmp_path, **environment) as service, service.client() as client:
        for place in (running, waiting):
            kit.wait_until(lambda place=place: job(client, place)["state"] == "succeeded", 120)
            assert len(client.get(f"{place}/result").json()["frames"]) == 1200
        assert list((state / "uploads").iterdir()) == []


def test_two_instances_do_not_disturb_each_other(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    bundles = {"CAPTIONER_BUNDLES": str(tiny_bundle.parent)}
    with started(kit, tmp_path, **bundles) as first:
        assert caption(first, kit).status_code == 200
        with started(kit, tmp_path, **bundles) as second:
            assert caption(second, kit).status_code == 200
            assert total(first, route="/caption") == total(second, route="/caption") == 1
            second.process.send_signal(signal.SIGTERM)
            second.process.wait(40)
        assert total(first, route="/caption") == 1
        assert caption(first, kit).status_code == 200


def test_the_command_line_chooses_a_model_of_several_folders(
    kit, tmp_path: Path, tiny_bundle: Path, make_tiny_bundle: Callable[..., Path]
) -> None:
    own = make_tiny_bundle(tmp_path / "own", name="mine")
    folders = os.pathsep.join(map(str, (tiny_bundle.parent, own.parent)))
    chosen = {"--model=caption=mine": "mine@0", f"--model=caption={tiny_bundle}": "caption@0"}
    for argument, model in chosen.items():
        # The variable is what a service manager sets; who types knows better.
        environment = {"CAPTIONER_BUNDLES": folders, "CAPTIONER_MODELS": "caption=nothing"}
        with started(kit, tmp_path, argument, **environment) as service:
            assert caption(service, kit).json()["model"] == model


def test_without_a_bundle_it_serves_the_rest(kit, tmp_path: Path) -> None:
    with started(kit, tmp_path, CAPTIONER_BUNDLES=str(tmp_path)) as service:
        answer = caption(service, kit)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_available"
        with service.client() as client:
            assert client.get("/models").json()["models"][0]["state"] == "missing"


def test_bentoml_serve_itself_is_as_careful(kit, tmp_path: Path, tiny_bundle: Path) -> None:
    port = kit.free_port()
    home = tmp_path / "home"
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Captioner"]
    with kit.process(
        command,
        port,
        tmp_path / "log",
        BENTOML_HOME=str(home),
        CAPTIONER_PORT=str(port),
        CAPTIONER_BUNDLES=str(tiny_bundle.parent),
    ) as service:
        assert caption(service, kit).status_code == 200
        supervisor = psutil.Process(service.process.pid)
        worker = workers(service)[0]
        assert worker.environ()["BENTOML_DO_NOT_TRACK"] == "true"
        listening = {
            connection.laddr.ip
            for one in (supervisor, worker)
            for connection in one.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        imported = {Path(one.path).name for one in supervisor.memory_maps()}
        assert not [name for name in imported if "libtorch" in name], "the supervisor stays small"
