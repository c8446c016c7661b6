"""``make demo``: starts the service, sends it one real photograph, prints the answer, stops.

Without an argument the photograph is scikit-image's cat, chelsea.
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

READY_WITHIN_S = 120
# Whatever http_proxy says: the service is on this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when a caption came back; 2 when the picture cannot be read."""
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
        return _caption(address, name, body)
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
    media_type = "application/octet-stream"
    print(f"$ curl --data-binary @{name} -H 'Content-Type: {media_type}' '{address}/caption?n=3'")
    request = urllib.request.Request(
        f"{address}/caption?n=3", data=body, headers={"Content-Type": media_type}
    )
    begun = time.monotonic()
    try:
        with _DIRECT.open(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as refused:
        error = json.load(refused)["error"]
        print(f"demo: {error['message']} ({refused.code} {error['code']})", file=sys.stderr)
        return 2
    took = (time.monotonic() - begun) * 1000
    print(f"  caption     {found['caption']}")
    print(f"  confidence  {found['confidence']:.2f}")
    print(f"  time        {took:.0f} ms, of which the model {found['timing_ms']['total']:.0f} ms")
    for other in found["captions"][1:]:
        print(f"  or          {other['text']}")
    for warning in found["warnings"]:
        print(f"  warning     {warning}")
    print(f"  model       {found['model']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
