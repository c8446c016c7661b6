"""Which Host names the service answers to.

A page on the web can make its own name resolve to 127.0.0.1 and then talk to a service there as if
it were its own server (DNS rebinding). The browser still sends the page's name as Host: whoever
answers only to names of its own is safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(:[0-9]{0,5})?", re.IGNORECASE)


def host_name(header: str) -> str | None:
    """The name in a Host header, lower case and without its port; None where there is none."""
    match = _HOST.fullmatch(header)
    return match["name"].lower() if match else None


def is_allowed(hosts: Sequence[str], patterns: Iterable[str]) -> bool:
    """Whether a request with these Host headers may be answered.

    A pattern is a name, ``*.name`` for every name below it, or ``*``. No Host header (HTTP/1.0) is
    no browser's request, yet it names nothing of ours either: refused, unless ``*`` is a pattern.
    """
    patterns = tuple(patterns)
    if "*" in patterns:
        return True
    if len(hosts) != 1:
        return False
    name = host_name(hosts[0])
    return name is not None and any(
        name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
        for pattern in patterns
    )
