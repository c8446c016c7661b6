"""Fixtures that several packages' tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load_beside(name: str) -> Any:
    # In importlib mode a test module's neighbours cannot be imported by their names.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


videos = _load_beside("videos")


def find_data() -> Path | None:
    """The folder with real data: CAPTIONER_DATA, else data/, else the sibling shared/data."""
    for place in (os.environ.get("CAPTIONER_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    return None


TINY_WORDS = ("a", "dog", "cat", "man", "on", "the", "runs", "red", "grass", "n't", "'s", "is")


def write_tiny_bundle(
    directory: Path, *, attention: str = "soft", cell: str = "lstm", **changed: object
) -> Path:
    """A real bundle of random weights: a ResNet-18 and a decoder of a dozen words."""
    import torch

    from captioner.bundle import write_bundle
    from captioner.models.captioner import Captioner
    from captioner.text.vocabulary import Vocabulary
    from captioner.vision.preprocess import Preprocessing

    torch.manual_seed(0)
    vocabulary = Vocabulary(TINY_WORDS)
    output = "grid" if attention == "soft" else "pooled"
    model = {
        "encoder": {"depth": 18, "output": output, "weights": None, "trainable_stages": 0},
        "decoder": {
            "cell": cell,
            "hidden_size": 16,
            "embedding_size": 8,
            "attention": attention,
            "attention_size": 8,
        },
        "vocabulary_size": len(vocabulary),
    }
    settings = {
        "name": "caption",
        "version": "0",
        "task": "caption",
        "model": model,
        "state": Captioner(**model).state_dict(),
        "assets": {"vocabulary.json": vocabulary.to_json()},
        "preprocessing": Preprocessing(),
        "decoding": {"num_beams": 3, "max_tokens": 8},
        "metrics": {"confidence": {"threshold": 0.0}},
        "card": {"licence": "none", "origin": "random numbers", "limits": ["knows nothing"]},
        "readme": "# tiny",
        "licence": "none",
    }
    return write_bundle(directory, **(settings | changed))


texts = _load_beside("texts")


@pytest.fixture(scope="session")
def make_translate_bundle() -> Callable[..., Path]:
    """``texts.write_translate_bundle``: a translator of random weights for a pair."""
    found: Callable[..., Path] = texts.write_translate_bundle
    return found


@pytest.fixture(scope="session")
def make_generate_bundle() -> Callable[..., Path]:
    """``texts.write_generate_bundle``: a character model that has learnt a verse by heart."""
    found: Callable[..., Path] = texts.write_generate_bundle
    return found


@pytest.fixture(scope="session")
def text_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with translators de-en and en-de and two character models; nobody changes it."""
    folder = tmp_path_factory.mktemp("texts")
    for pair in (("de", "en"), ("en", "de")):
        texts.write_translate_bundle(folder, *pair)
    for name in ("generate", "generate-another"):
        texts.write_generate_bundle(folder, name)
    return folder


@pytest.fixture(scope="session")
def make_tiny_bundle() -> Callable[..., Path]:
    """``write_tiny_bundle``, for tests that need another one than ``tiny_bundle``."""
    return write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with attention over the grid; nobody changes it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def make_frames_bundle() -> Callable[..., Path]:
    """``videos.write_frames_bundle``, for tests that need another one than ``frames_bundle``."""
    found: Callable[..., Path] = videos.write_frames_bundle
    return found


@pytest.fixture(scope="session")
def frames_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal, multi-label bundle of three colours; nobody changes it."""
    path: Path = videos.write_frames_bundle(tmp_path_factory.mktemp("frames"))
    return path


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., bytes]:
    """``videos.write_clip``: a short video of plain colours."""
    found: Callable[..., bytes] = videos.write_clip
    return found


@pytest.fixture(scope="session")
def bad_videos() -> dict[str, tuple[bytes, str]]:
    """``videos.bad_videos``: what is no video we label, and the code of each one's error."""
    found: dict[str, tuple[bytes, str]] = videos.bad_videos()
    return found


@pytest.fixture(scope="session")
def data_dir() -> Path:
    place = find_data()
    if place is None:
        pytest.skip("no data folder: set CAPTIONER_DATA")
    return place


# What a run without the folder, or without a browser, leaves out is counted: a run that leaves
# everything out would pass, too.
COUNTED = ("data", "browser")
_marked: dict[str, set[str]] = {mark: set() for mark in COUNTED}
_counts = {mark: {"ran": 0, "skipped": 0} for mark in COUNTED}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # By marker: a report's keywords hold folder names, too, and tests/training/data is one.
    for mark in COUNTED:
        _marked[mark].update(item.nodeid for item in items if item.get_closest_marker(mark))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for mark in COUNTED:
        if report.nodeid in _marked[mark]:
            if report.skipped:
                _counts[mark]["skipped"] += 1
            elif report.when == "call":
                _counts[mark]["ran"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for mark, counts in _counts.items():
        terminalreporter.write_line(
            f"{mark} tests: {counts['ran']} ran, {counts['skipped']} skipped"
        )
