"""``captioner units``: from an installed character model and a text file to a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.bundle import find_bundle
from captioner.cli import main
from captioner.errors import EmptyText, TextTooLong, UnknownCharacters
from captioner.tasks import units

VERSE = "ROMEO:\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"  # what the small model has learnt


@pytest.fixture(autouse=True)
def _bundles(text_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(text_bundles))


@pytest.fixture
def verse(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text(VERSE * 12, encoding="utf-8")
    return path


def test_a_text_becomes_a_page_strips_and_arrays(
    verse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, strips, arrays = (tmp_path / f"units.{kind}" for kind in ("html", "png", "npz"))
    targets = ["--out", str(page), "--png", str(strips), "--npz", str(arrays)]
    assert main(["units", "generate", str(verse), *targets, "--show", "300"]) == 0
    said = capsys.readouterr().out
    assert "before a line end" in said
    (data,) = re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    data = json.loads(data)
    assert data["title"] == "Hidden units of generate@0"
    assert data["text"] == (VERSE * 12)[:300]
    with Image.open(strips) as picture:
        assert picture.height > 200
    with np.load(arrays) as found:
        assert str(found["text"]) == VERSE * 12
        assert found["states"].shape == (len(VERSE) * 12, 64)
        assert "".join(found["characters"]) == "".join(sorted(set(VERSE)))


def test_what_a_text_can_test_is_scored_beside_its_controls() -> None:
    study = units.study_units(find_bundle("generate", "generate"), VERSE * 12)
    found = {finding.hypothesis: finding for finding in study.findings}
    assert set(found) == {"before a line end", "position in the line", "run of capitals"}
    line_end = found["before a line end"]
    # A verse that comes again and again: both halves say the same of a unit.
    assert line_end.best.score == pytest.approx(line_end.best.chosen_score, abs=0.02)
    assert line_end.best.score > line_end.shuffled + 0.25
    assert line_end.untrained is not None


def test_the_same_seed_draws_the_same_untrained_network() -> None:
    bundle = find_bundle("generate", "generate")
    first, second = (units.study_units(bundle, VERSE * 4, seed=3).findings for _ in range(2))
    assert first == second
    other = units.study_units(bundle, VERSE * 4, seed=4).findings
    assert [f.untrained for f in other] != [f.untrained for f in first]


def test_a_long_text_is_read_in_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "IN_ONE_STREAM", 100)
    monkeypatch.setattr(units, "STREAM", 100)
    study = units.study_units(find_bundle("generate", "generate"), VERSE * 7)
    assert len(study.text) == len(study.recording) == len(VERSE) * 7 // 3 * 3


@pytest.mark.parametrize(
    ("text", "error"),
    [("", EmptyText), ("R", EmptyText), ("ROMEO €", UnknownCharacters), ("A" * 11, TextTooLong)],
)
def test_a_text_that_cannot_be_studied(monkeypatch, text: str, error: type[Exception]) -> None:
    monkeypatch.setattr(units, "MOST_CHARACTERS", 10)
    with pytest.raises(error):
        units.study_units(find_bundle("generate", "generate"), text)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": "none"}, "no bundle 'none'"),
        ({"model": "translate-de-en"}, "translate"),
        ({"out": "units.txt"}, "must end in .html"),
        ({"out": "none/units.html"}, "There is no folder"),
        ({"text": "none.txt"}, "none.txt"),
        ({"bytes": b""}, "0 characters"),
        ({"bytes": b"ROMEO\xff"}, "byte 5 is 0xff"),
        ({"bytes": "ROMEO: €".encode()}, "never seen '€'"),
        ({"more": ["--show", "0"]}, "--show is 0"),
        ({"more": ["--unit", "c9.9"]}, "no unit 'c9.9'"),
        ({"more": ["--png", "strips.jpg"]}, "must end in .png"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    changed: dict, named: str, verse: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    if "bytes" in changed:
        verse.write_bytes(changed["bytes"])
    model, text = changed.get("model", "generate"), changed.get("text", str(verse))
    out = changed.get("out", "units.html")
    assert main(["units", model, text, "--out", out, *changed.get("more", [])]) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert not (tmp_path / "units.html").exists()
