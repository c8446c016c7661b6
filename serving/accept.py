"""The Accept header (RFC 9110, section 12.5.1): which of our media types a client takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANGE = re.compile(
    r"\s*(?P<type>[\w!#$&^.+*-]+/[\w!#$&^.+*-]+)\s*(?P<parameters>(;[^;]*)*)", re.ASCII
)
_QUALITY = re.compile(r";\s*q\s*=\s*(0(\.\d{0,3})?|1(\.0{0,3})?)\s*(;|$)", re.ASCII | re.IGNORECASE)


def is_acceptable(headers: Sequence[str], produced: Sequence[str]) -> bool:
    """Whether a client takes one of the ``produced`` types. Without a readable header it takes all.

    The most specific range decides for a type: ``application/json;q=0, */*`` excludes JSON.
    """
    return preferred(headers, produced) is not None


def preferred(headers: Sequence[str], produced: Sequence[str]) -> str | None:
    """Which of the ``produced`` types a client likes best; None: it takes none of them.

    Without a readable header it is the first, as it is of those that it likes as well.
    """
    qualities: dict[str, float] = {}
    for part in ",".join(headers).split(","):
        if match := _RANGE.fullmatch(part):
            quality = _QUALITY.search(match["parameters"])
            qualities[match["type"].lower()] = float(quality[1]) if quality else 1.0
    if not qualities:
        return produced[0]
    best = max(produced, key=lambda media_type: _quality(qualities, media_type))
    return best if _quality(qualities, best) > 0 else None


def prefers(headers: Sequence[str], media_type: str) -> bool:
    """Whether a client names ``media_type`` itself, as a browser names text/html."""
    return any(
        part.split(";")[0].strip().lower() == media_type for part in ",".join(headers).split(",")
    )


def _quality(qualities: dict[str, float], media_type: str) -> float:
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if wanted in qualities:
            return qualities[wanted]
    return 0.0
