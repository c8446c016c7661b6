"""``python -m serving``: the service with everything around it as it should be.

Each instance gets a BENTOML_HOME of its own, because a second one with the same home deletes the
first one's metrics; no telemetry; 30 seconds to finish what has begun.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence

from captioner.errors import UserError
from serving.settings import InvalidSetting, Settings, bracketed

GRACE_S = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; exit code 2 for a setting or a port that cannot be used."""
    options = _parser().parse_args(arguments)
    if options.host is not None:
        os.environ["CAPTIONER_HOST"] = options.host
    if options.port is not None:
        os.environ["CAPTIONER_PORT"] = str(options.port)
    if options.model:
        os.environ["CAPTIONER_MODELS"] = ",".join(options.model)
    try:
        settings = Settings.from_environment()
        _check_port(settings)
    except UserError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    _say_where(settings)
    home = tempfile.mkdtemp(prefix="captioner-")
    try:
        os.environ |= {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "true"}
        sys.argv = [
            "bentoml", "serve", "serving.service:Captioner",
            "--host", settings.host, "--port", str(settings.port),
            "--timeout-graceful-shutdown", str(GRACE_S),
        ]  # fmt: skip
        runpy.run_module("bentoml", run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the installed models over HTTP.",
        epilog="CAPTIONER_* variables set everything else; see serving/settings.py.",
    )
    parser.add_argument("--port", type=int, help="default 3000")
    parser.add_argument("--host", help="default 127.0.0.1: this machine only")
    parser.add_argument(
        "--model",
        action="append",
        metavar="TASK=BUNDLE",
        help="a bundle's name or folder instead of the one that ships, such as caption=mine; "
        "translate and generate take several, each with a --model of its own",
    )
    return parser


def _check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise InvalidSetting(
                f"{bracketed(settings.host)}:{settings.port} cannot be used: {error.strerror}.",
                hint="--port chooses another port.",
            ) from None


def _say_where(settings: Settings) -> None:
    print(f"serving on http://{bracketed(settings.host)}:{settings.port}", flush=True)
    if settings.host in ("0.0.0.0", "::") and not settings.allowed_hosts:
        names = ", ".join(settings.own_hosts)
        print(
            f"serving: open to the network, but only requests for {names} are answered; "
            "CAPTIONER_ALLOWED_HOSTS adds names.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
