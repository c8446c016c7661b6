"""How long a client is willing to wait: ``X-Timeout-Ms``, else the service's default."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request

from serving.responses import RequestError, quoted
from serving.settings import Settings

HEADER = "X-Timeout-Ms"
LEAST_MS = 100
MOST_MS = 60_000

TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "description": "Milliseconds to wait for the answer once the body is here, queue included.",
    "schema": {"type": "integer", "minimum": LEAST_MS, "maximum": MOST_MS},
}


def deadline_of(request: Request, settings: Settings, *, default_s: float | None = None) -> float:
    """The event loop's time at which waiting ends. Call it when the body is here.

    ``default_s``: seconds where the request names none; else ``settings.deadline_s``.

    Raises:
        RequestError: invalid_header.
    """
    given = request.headers.getlist(HEADER)
    seconds = settings.deadline_s if default_s is None else default_s
    if given:
        text = ",".join(given)
        if not re.fullmatch(r"[0-9]{1,6}", text) or not LEAST_MS <= int(text) <= MOST_MS:
            raise RequestError(
                "invalid_header",
                f"{HEADER} is {quoted(text)}.",
                hint=f"It takes milliseconds from {LEAST_MS} to {MOST_MS}.",
            )
        seconds = int(text) / 1000
    return asyncio.get_running_loop().time() + seconds
