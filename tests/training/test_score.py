"""Scores of a bundle as it is served: the search and the idf that were asked for are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.bundle import open_bundle

Run = Callable[..., Any]


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(trained / "bundles", tmp_path / "bundles")) / "caption"


def test_scores_as_served_come_with_their_signature(
    trained: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    done = run(
        *("score", "--data", str(trained / "config.yaml"), "--model", "bundles/caption"),
        *("--out", "scores.json", "--calibrate"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "caption@1 (weights stored as int8), validation" in done.stdout
    assert "tokenizer:" in done.stdout
    assert "|idf:scored(4)|images:4|search:beam2" in done.stdout
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert len(stored["captions"]) == 4
    assert "threshold" in open_bundle(bundle).metrics["confidence"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--length-penalty", "0.6"), "|search:beam2-lp0.6\n"),
        (("--num-beams", "1"), "|search:greedy\n"),
        (("--num-beams", "4"), "|search:beam4\n"),
        (("--idf", "train"), "|idf:fixed(20)|images:4|"),
    ],
)
def test_search_and_idf_can_be_chosen_and_are_named(
    given: tuple[str, ...], said: str, trained: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    data = ("--data", str(trained / "config.yaml"))
    done = run("score", *data, "--model", str(bundle), *given, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert said in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("licence: none", "has no data"),
        ("a: [", "cannot be read"),
        ("data: {init_args: {source: x.csv, batchsize: 3}}", "batchsize"),
    ],
)
def test_a_file_without_data_is_refused(
    text: str | None, said: str, bundle: Path, tmp_path: Path, run: Run
) -> None:
    if text is not None:
        (tmp_path / "card.yaml").write_text(text)
    done = run("score", "--data", "card.yaml", "--model", str(bundle), folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_search_out_of_range_is_refused_by_name(
    trained: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    data = ("--data", str(trained / "config.yaml"))
    done = run("score", *data, "--model", str(bundle), "--num-beams", "0", folder=tmp_path)
    assert done.returncode == 2
    assert "num_beams is 0." in done.stderr
