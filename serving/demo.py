"""``make demo``: starts the service, asks it for one of everything, prints its answers, stops.

Without an argument the photograph is scikit-image's cat, chelsea; the clip is made of three photos.
A sentence is translated and a line of verse goes on where bundles for them are installed.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.demo_clip import demo_clip

READY_WITHIN_S = 120
# Whatever http_proxy says: the service is on this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SENTENCE = {"text": "Ein Hund rennt durch den Schnee.", "source": "de", "target": "en", "n": 3}
VERSE = {
    "prompt": "ROMEO:\nBut soft, what light through yonder window breaks?\n",
    "max_tokens": 240, "temperature": 0.6, "seed": 1, "stream": True,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when all answers came back; 2 when the picture cannot be read."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, body = (
            (given[0], Path(given[0]).read_bytes()) if given else ("chelsea.jpg", _chelsea())
        )
    except OSError as error:
        print(f"demo: {given[0]} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    print(f"$ make serve PORT={port}", flush=True)
    started = time.monotonic()
    service = subprocess.Popen(
        [sys.executable, "-m", "serving", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_until_ready(service, address)
        print(f"ready after {time.monotonic() - started:.1f} s\n")
        return (
            _caption(address, name, body)
            or _frames(address, demo_clip())
            or _texts(address, _models(address))
        )
    finally:
        service.terminate()
        try:
            service.wait(40)
        except subprocess.TimeoutExpired:
            service.kill()


def _chelsea() -> bytes:
    from PIL import Image
    from skimage import data

    buffer = io.BytesIO()
    Image.fromarray(data.chelsea()).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(service: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise SystemExit(f"demo: the service ended with exit code {service.returncode}.")
        try:
            with _DIRECT.open(f"{address}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"demo: the service was not ready within {READY_WITHIN_S} s.")


def _caption(address: str, name: str, body: bytes) -> int:
    answer = _post(address, "/caption?n=3", name, "application/octet-stream", body)
    if answer is None:
        return 2
    found, took = answer
    print(f"  caption     {found['caption']}")
    print(f"  confidence  {found['confidence']:.2f}")
    print(f"  time        {took:.0f} ms, of which the model {found['timing_ms']['total']:.0f} ms")
    for other in found["captions"][1:]:
        print(f"  or          {other['text']}")
    for warning in found["warnings"]:
        print(f"  warning     {warning}")
    print(f"  model       {found['model']}")
    return 0


def _frames(address: str, clip: bytes) -> int:
    print()
    answer = _post(address, "/frames", "clip.mp4", "video/mp4", clip)
    if answer is None:
        return 2
    found, took = answer
    for segment in found["segments"]:
        span = f"{segment['start_s']:.1f} to {segment['end_s']:.1f} s"
        print(f"  {span:<14}{segment['label']}  ({segment['score']:.2f})")
    print(f"  time        {took:.0f} ms for {len(found['frames'])} frames")
    print(f"  model       {found['model']}")
    return 0


def _models(address: str) -> list[dict[str, Any]]:
    with _DIRECT.open(f"{address}/models", timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)["models"]
    return [model for model in found if model["state"] == "ready"]


def _texts(address: str, models: list[dict[str, Any]]) -> int:
    pair = {name: SENTENCE[name] for name in ("source", "target")}
    if any(pair.items() <= model.items() for model in models):
        print()
        answer = _post_json(address, "/translate", SENTENCE)
        if answer is None:
            return 2
        found, took = answer
        (best,) = found["translations"]
        print(f"  translation {best['text']}")
        for other in best["alternatives"]:
            print(f"  or          {other['text']}")
        print(f"  time        {took:.0f} ms\n  model       {found['model']}")
    if any(model["task"] == "generate" for model in models):
        print()
        return _verse(address)
    return 0


def _verse(address: str) -> int:
    """Prints the prompt, and what follows it as it comes."""
    try:
        answer = _open_json(address, "/generate", VERSE)
    except urllib.error.HTTPError as refused:
        _refused(refused)
        return 2
    print(VERSE["prompt"], end="")
    with answer:
        for line in answer:
            data = line.decode().strip().removeprefix("data: ")
            if not data.startswith("{"):
                continue
            event = json.loads(data)
            if "error" in event:
                print(f"demo: {event['error']['message']}", file=sys.stderr)
                return 2
            print(event.get("delta", ""), end="", flush=True)
            if "finish_reason" in event:
                print(f"\n  time        {event['timing_ms']['total']:.0f} ms")
                print(f"  model       {event['model']}")
    return 0


def _post_json(
    address: str, path: str, body: dict[str, Any]
) -> tuple[dict[str, Any], float] | None:
    begun = time.monotonic()
    try:
        with _open_json(address, path, body) as answer:
            return json.load(answer), (time.monotonic() - begun) * 1000
    except urllib.error.HTTPError as refused:
        _refused(refused)
        return None


def _open_json(address: str, path: str, body: dict[str, Any]) -> Any:
    text = json.dumps(body, ensure_ascii=False)
    print(f"$ curl -N -d '{text}' -H 'Content-Type: application/json' '{address}{path}'")
    request = urllib.request.Request(
        f"{address}{path}", data=text.encode(), headers={"Content-Type": "application/json"}
    )
    return _DIRECT.open(request, timeout=60)


def _post(
    address: str, path: str, name: str, media_type: str, body: bytes
) -> tuple[dict[str, Any], float] | None:
    print(f"$ curl --data-binary @{name} -H 'Content-Type: {media_type}' '{address}{path}'")
    request = urllib.request.Request(
        f"{address}{path}", data=body, headers={"Content-Type": media_type}
    )
    begun = time.monotonic()
    try:
        with _DIRECT.open(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refused:
        _refused(refused)
        return None
    return found, (time.monotonic() - begun) * 1000


def _refused(refused: urllib.error.HTTPError) -> None:
    error = json.load(refused)["error"]
    print(f"demo: {error['message']} ({refused.code} {error['code']})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
