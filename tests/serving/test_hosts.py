"""Names that are answered to, and all the others."""

from __future__ import annotations

import pytest

from serving.hosts import is_allowed
from serving.settings import Settings

OWN = Settings(allowed_hosts=("captions.example.org", "*.inner.example.org")).own_hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:3000", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:65535", "[::1]",
        "[::1]:3000", "localhost.", "captions.example.org", "a.inner.example.org:1",
        "a.b.inner.example.org",
    ],
)  # fmt: skip
def test_own_names(host: str) -> None:
    assert is_allowed([host], OWN)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example.com", "localhost.evil.example.com", "evil-localhost", "127.0.0.1.nip.io",
        "127.0.0.2", "0.0.0.0", "localhost:80:80", "localhost@evil", "evil@localhost", "[::2]",
        "localhost:abc", "localhost/", " localhost", "inner.example.org", "xinner.example.org",
        "2130706433", "[::ffff:127.0.0.1]", "localhost, evil", "example.org", "ⓛocalhost",
    ],
)  # fmt: skip
def test_foreign_names(host: str) -> None:
    assert not is_allowed([host], OWN)


def test_no_name_or_two_names() -> None:
    assert not is_allowed([], OWN)
    assert not is_allowed(["localhost", "localhost"], OWN)
    assert is_allowed([], ("*",))
    assert is_allowed(["anything.at.all"], ("*",))
