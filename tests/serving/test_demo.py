"""What ``make demo`` runs, on the bundle that ships."""

from __future__ import annotations

import re
import subprocess
import sys


def run(kit, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.demo", *arguments],
        cwd=kit.root,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_the_demo_captions_the_cat_labels_a_clip_and_stops(kit) -> None:
    done = run(kit)
    assert done.returncode == 0, done.stderr
    photo, clip = done.stdout.split("/frames'\n")
    lines = dict(line.split(maxsplit=1) for line in photo.splitlines() if line[:2] == "  ")
    assert len(lines["caption"].split()) > 3
    assert 0 < float(lines["confidence"]) <= 1
    assert lines["model"].startswith("caption@")
    segments = re.findall(r"^  ([\d.]+) to ([\d.]+) s +(\w+)  \(([\d.]+)\)$", clip, re.MULTILINE)
    assert segments
    assert all(0 <= float(start) < float(end) <= 9.1 for start, end, *_ in segments)
    assert "model       frames@" in clip


def test_a_picture_that_cannot_be_read_is_named(kit, tmp_path) -> None:
    done = run(kit, str(tmp_path / "none.jpg"))
    assert done.returncode == 2
    assert "none.jpg" in done.stderr
    assert "Traceback" not in done.stderr
