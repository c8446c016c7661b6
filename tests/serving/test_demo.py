"""What ``make demo`` runs, on the bundle that ships."""

from __future__ import annotations

import json
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
    photo, rest = done.stdout.split("/frames'\n")
    clip, *texts = re.split(r"\n\$ curl -N .*'\n", rest)
    lines = dict(line.split(maxsplit=1) for line in photo.splitlines() if line[:2] == "  ")
    assert len(lines["caption"].split()) > 3
    assert 0 < float(lines["confidence"]) <= 1
    assert lines["model"].startswith("caption@")
    segments = re.findall(r"^  ([\d.]+) to ([\d.]+) s +(\w+)  \(([\d.]+)\)$", clip, re.MULTILINE)
    assert segments
    assert all(0 <= float(start) < float(end) <= 9.1 for start, end, *_ in segments)
    assert "model       frames@" in clip
    shipped = {
        json.loads(path.read_text())["task"] for path in kit.root.glob("bundles/*/bundle.json")
    }
    assert len(texts) == len(shipped & {"translate", "generate"})
    for text in texts:
        assert re.search(r"model       [a-z-]+@", text)
    if "translate" in shipped:
        assert "  translation A dog" in texts[0]
    if "generate" in shipped:
        assert texts[-1].startswith("ROMEO:\nBut soft, what light")
        assert len(texts[-1]) > 240


def test_a_model_of_one_verse_says_it(kit, bundles, tmp_path, monkeypatch, capsys) -> None:
    """Its own words: what it prints of a stream, and that a refusal is an exit code."""
    from serving import demo

    with kit.running(
        **kit.load_from(bundles), endpoints=kit.only("/generate", "/models")
    ) as service:
        verse = demo.VERSE | {"prompt": "ROMEO:", "temperature": 0, "max_tokens": 22}
        verse = {name: value for name, value in verse.items() if name != "seed"}
        monkeypatch.setattr(demo, "VERSE", verse)
        assert demo._texts(service.url, demo._models(service.url)) == 0
        assert "ROMEO:\nBut soft, what light?" in capsys.readouterr().out
        monkeypatch.setattr(demo, "VERSE", verse | {"prompt": "😀"})
        assert demo._texts(service.url, demo._models(service.url)) == 2
        assert "never seen '😀'" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_named(kit, tmp_path) -> None:
    done = run(kit, str(tmp_path / "none.jpg"))
    assert done.returncode == 2
    assert "none.jpg" in done.stderr
    assert "Traceback" not in done.stderr
