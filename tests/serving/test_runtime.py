"""What one process takes for itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving import runtime


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 6), ("", 6)],
)
def test_cores_are_the_affinity_or_a_smaller_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, cores: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(runtime, "CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert runtime.available_cores() == cores
    monkeypatch.setattr(runtime, "CPU_QUOTA", tmp_path / "absent")
    assert runtime.available_cores() == 6


def test_workers_share_the_cores(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(runtime, "set_threads", asked.append)
    monkeypatch.setattr(runtime, "available_cores", lambda: 8)
    for settings in ({"threads": 0}, {"threads": 0, "workers": 3}, {"threads": 5, "workers": 3}):
        with kit.running(**settings):
            pass
    with kit.running(threads=0, workers=64):
        pass
    assert asked == [8, 2, 5, 1]
