"""``python -m serving`` before it serves: wrong settings end it with a sentence and exit code 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest


def run(kit, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        cwd=kit.root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--port", "99999"], {}, "99999"),
        (["--port", "many"], {}, "many"),
        (["--host", "example.org"], {}, "example.org"),
        (["--host", "192.0.2.1", "--port", "3000"], {}, "192.0.2.1"),
        ([], {"CAPTIONER_MAX_QUEUE": "lots"}, "CAPTIONER_MAX_QUEUE"),
        ([], {"CAPTIONER_MAX_QEUE": "9"}, "CAPTIONER_MAX_QUEUE"),
        (["--prot", "3000"], {}, "--prot"),
        (["--model", "mine"], {}, "mine"),
    ],
    ids=["port", "port-word", "host-name", "foreign-address", "value", "name", "argument", "model"],
)
def test_what_cannot_be_used_is_named(kit, arguments, environment, named: str) -> None:
    done = run(kit, *arguments, **environment)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(kit) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = run(kit, "--port", port)
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_usage_is_not_reported_whatever_the_environment_says(kit) -> None:
    code = (
        "import serving.service\n"
        "from bentoml._internal.utils.analytics.usage_stats import do_not_track\n"
        "assert do_not_track()"
    )
    for value in ("0", "1"):  # BentoML takes neither for a no
        environment = os.environ | {"BENTOML_DO_NOT_TRACK": value}
        subprocess.run(
            [sys.executable, "-c", code], cwd=kit.root, env=environment, check=True, timeout=60
        )
