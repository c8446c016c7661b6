"""Real servers for the tests: the application under uvicorn, and the whole under BentoML."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from PIL import Image

from captioner.errors import MissingBundle
from captioner.tasks.options import CaptionOptions, CaptionResult, RankedCaption, Word
from captioner.vision.image import decode_image
from serving.app import create_app, guarded
from serving.endpoint import Endpoint
from serving.endpoints import ENDPOINTS
from serving.hosting import Load
from serving.runtime import Runtime
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Service:
    """A server that answers at ``url``."""

    url: str
    port: int
    runtime: Runtime | None = None
    log: Callable[[], list[dict[str, Any]]] = field(default=list)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **({"timeout": 60, "trust_env": False} | options))

    def connection(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def raw(self, request: bytes) -> bytes:
        """Everything the server says to these bytes until it closes or the time is over."""
        with self.connection() as connection:
            connection.sendall(request)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


class ReadingTask:
    """Stands for a bundle where the model does not matter: photos are really decoded, and the
    caption says what came out of the decoder. ``before`` runs in the model's thread first.
    """

    model = "reader@1"

    def __init__(self, before: Callable[[Sequence[Any]], Any] | None = None) -> None:
        self.card = {"licence": "none", "origin": "written for tests", "known_failures": ["all"]}
        self.metrics = {"cider": 0.0}
        self.batches: list[int] = []
        self.before = before

    def prepare(self, data: bytes) -> Any:
        return decode_image(data, target_size=224)

    def caption(self, prepared: Sequence[Any], options: Sequence[CaptionOptions]) -> Any:
        self.batches.append(len(prepared))
        if self.before is not None:
            changed = self.before(prepared)
            if changed is not None:
                return changed
        return [reading(*row) for row in zip(prepared, options, strict=True)]


def reading(picture: Any, options: CaptionOptions) -> CaptionResult:
    red, green, blue = picture.image.resize((1, 1)).getpixel((0, 0))
    text = f"{picture.width} x {picture.height} {picture.format} of {red} {green} {blue}"
    words = [Word(word, 0.5) for word in text.split()]
    return CaptionResult(
        caption=text,
        captions=[RankedCaption(text, -1.0 - rank, words) for rank in range(options.n)],
        confidence=0.5,
        model=ReadingTask.model,
        image={"width": picture.width, "height": picture.height, "format": picture.format},
        timing_ms={"decode": 1.0},
        warnings=list(picture.warnings),
    )


@contextlib.contextmanager
def running(
    task: Any = None,
    *,
    load: Load | None = None,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
    **settings: Any,
) -> Iterator[Service]:
    """The application behind a real HTTP server in a thread of this process."""
    task = ReadingTask() if task is None else task

    def only_captions(name: str, model: str | None) -> Any:
        if name != "caption":
            raise MissingBundle(f"No bundle for {name!r} is installed.")
        return task

    state = tempfile.TemporaryDirectory()
    app = create_app(
        Settings(**{"threads": 1, "state_dir": state.name, **settings}),
        load=load or only_captions,
        endpoints=endpoints,
    )
    edge = guarded(app)

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await (app if scope["type"] == "lifespan" else edge)(scope, receive, send)

    config = uvicorn.Config(whole, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    # The protocol by name: asyncio sets TCP_NODELAY only on sockets that say they are TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), 60)
            assert server.started
            yield Service(f"http://127.0.0.1:{port}", port, app.state.runtime)
        finally:
            server.should_exit = True
            thread.join(30)
            state.cleanup()
    assert not thread.is_alive(), "the server did not stop"


@contextlib.contextmanager
def process(
    command: Sequence[str], port: int, log: Path, *, cwd: Path = ROOT, **environment: str
) -> Iterator[Service]:
    """A server process and its children, ready, with a log; killed at the end, come what may.

    Its state lies beside the log, where it is not told another place.
    """
    environment = {"CAPTIONER_STATE_DIR": f"{log}.state"} | environment
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("CAPTIONER_", "BENTOML"))}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=inherited | {"OMP_NUM_THREADS": "1", "CAPTIONER_THREADS": "1"} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        service = Service(f"http://127.0.0.1:{port}", port, log=lambda: json_lines(log))
        with service.client(timeout=2) as client:
            wait_until(lambda: _is_ready(client) or child.poll() is not None, 180)
        assert child.poll() is None, log.read_text()
        service.process = child  # type: ignore[attr-defined]
        yield service
    finally:
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Workers are leaders of sessions of their own: each has to be named."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(child.pid).children(recursive=True)
    child.terminate()  # so that it can clear up after itself
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def json_lines(log: Path) -> list[dict[str, Any]]:
    lines = log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def photo(
    size: tuple[int, int] = (64, 48),
    colour: Any = (200, 40, 40),
    kind: str = "JPEG",
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    """A picture of one colour, as a file's bytes."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


def load_from(bundles: Path) -> dict[str, Any]:
    """Settings of a service with these bundles, in this process and in that which runs jobs."""
    from captioner.tasks import load

    models: dict[str, Any] = {task: str(bundles / task) for task in ("caption", "frames")}
    for task in ("translate", "generate"):
        models[task] = tuple(str(path) for path in sorted(bundles.glob(f"{task}*")))
    return {"load": lambda task, model: load(task, model=model), "models": models}


def only(*paths: str) -> tuple[Endpoint, ...]:
    """The endpoints at these paths: a service that loads no more than it needs."""
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint.path in paths)


@dataclass(frozen=True)
class Kit:
    """What test modules use of this file: under importlib mode it cannot be imported."""

    running: Any = running
    load_from: Any = load_from
    only: Any = only
    process: Any = process
    task: Any = ReadingTask
    reading: Any = reading
    photo: Any = photo
    wait_until: Any = wait_until
    free_port: Any = free_port
    read_all: Any = read_all
    root: Path = ROOT


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture(scope="session")
def reader() -> Iterator[Service]:
    """The application with a task that says what it decoded."""
    with running() as service:
        yield service


@pytest.fixture(scope="session")
def bundles(
    make_tiny_bundle: Any,
    make_frames_bundle: Any,
    text_bundles: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a bundle for each task, of texts with several; nobody changes it."""
    folder = tmp_path_factory.mktemp("bundles")
    make_tiny_bundle(folder)
    make_frames_bundle(folder)
    shutil.copytree(text_bundles, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(
    scope="session", params=["application", pytest.param("bentoml", marks=pytest.mark.slow)]
)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with real (random) bundles: in this process, and as users start it."""
    bundles = request.getfixturevalue("bundles")
    if request.param == "application":
        with running(**load_from(bundles)) as service:
            yield service
        return
    port = free_port()
    command = [sys.executable, "-m", "serving", "--port", str(port)]
    log = tmp_path_factory.mktemp("bentoml") / "log"
    with process(command, port, log, CAPTIONER_BUNDLES=str(bundles)) as service:
        yield service
