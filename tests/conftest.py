"""Fixtures that several packages' tests share."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def find_data() -> Path | None:
    """The folder with real data: CAPTIONER_DATA, else data/, else the sibling shared/data."""
    for place in (os.environ.get("CAPTIONER_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    return None


TINY_WORDS = ("a", "dog", "cat", "man", "on", "the", "runs", "red", "grass", "n't", "'s", "is")


def write_tiny_bundle(directory: Path, *, attention: str = "soft", **changed: object) -> Path:
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


@pytest.fixture(scope="session")
def make_tiny_bundle() -> Callable[..., Path]:
    """``write_tiny_bundle``, for tests that need another one than ``tiny_bundle``."""
    return write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with attention over the grid; nobody changes it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles"))


COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 210)}


def write_frames_bundle(
    directory: Path,
    *,
    multi_label: bool = True,
    bidirectional: bool = False,
    encoder: dict[str, object] | None = None,
    **changed: object,
) -> Path:
    """A real bundle that tells red, green and blue frames apart.

    The encoder and the cell are random; only the head is fitted, by least squares. ``encoder``: the
    state of another encoder to take.
    """
    import torch

    from captioner.bundle import write_bundle
    from captioner.models.video_labeller import VideoLabeller, frame_features
    from captioner.vision.preprocess import Preprocessing

    torch.manual_seed(0)
    preprocessing = changed.get("preprocessing", Preprocessing(size=32))
    model = {
        "encoder": {"depth": 18, "output": "grid", "weights": None, "trainable_stages": 0},
        "labeller": {
            "cell": "lstm",
            "hidden_size": 16,
            "bidirectional": bidirectional,
            "multi_label": multi_label,
        },
        "num_classes": len(COLOURS),
    }
    labeller = VideoLabeller(**model).eval()
    if encoder is not None:
        labeller.encoder.load_state_dict(encoder)
    with torch.no_grad():
        truth = torch.randint(3, (400,)).repeat_interleave(3)
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
        size = preprocessing.size
        pixels = colours.view(3, 3, 1, 1).expand(-1, -1, size, size)
        features = frame_features(labeller.encoder, preprocessing.normalise(pixels))
        for name, value in labeller.labeller.reader.named_parameters():
            value.mul_(1 if "weight_ih" not in name else 20 / features.abs().amax())
        hidden, _ = labeller.labeller.reader(features[truth].unsqueeze(0))
        inputs = torch.cat([hidden[0], torch.ones(len(truth), 1)], 1)
        wanted = torch.nn.functional.one_hot(truth).float() * 2 - 1
        fitted = torch.linalg.lstsq(inputs, wanted).solution.t() * 4
        labeller.labeller.head.weight.copy_(fitted[:, :-1])
        labeller.labeller.head.bias.copy_(fitted[:, -1])
    settings = {
        "name": "frames",
        "version": "0",
        "task": "frames",
        "model": model,
        "state": labeller.state_dict(),
        "assets": {"labels.json": json.dumps(list(COLOURS))},
        "preprocessing": preprocessing,
        "decoding": {"every_s": 0.1, "top_k": 2, "min_score": 0.1},
        "metrics": {},
        "card": {"licence": "none", "origin": "random numbers", "limits": ["knows three colours"]},
        "readme": "# tiny",
        "licence": "none",
    }
    return write_bundle(directory, **(settings | changed))


def write_clip(
    shots: Sequence[tuple[str, float]] = (("red", 1.0), ("blue", 1.0), ("green", 1.0)),
    *,
    fps: int = 10,
    size: tuple[int, int] = (96, 64),
    container: str = "mp4",
    options: dict[str, str] | None = None,
    noise: int = 0,
) -> bytes:
    """A video of plain colours: ``shots`` of a colour's name and its seconds, one after another.

    ``noise``: grey levels by which pixels differ; it makes a file larger.
    """
    import av
    import numpy as np

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as output:
        stream = output.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.gop_size = fps
        number, random = 0, np.random.default_rng(0)
        for colour, seconds in shots:
            for _ in range(round(seconds * fps)):
                grain = random.integers(-noise, noise + 1, (size[1], size[0], 1))
                picture = np.clip(np.array(COLOURS[colour]) + grain, 0, 255).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                output.mux(stream.encode(frame))
                number += 1
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_frames_bundle() -> Callable[..., Path]:
    """``write_frames_bundle``, for tests that need another one than ``frames_bundle``."""
    return write_frames_bundle


@pytest.fixture(scope="session")
def frames_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal, multi-label bundle of three colours; nobody changes it."""
    return write_frames_bundle(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., bytes]:
    """``write_clip``: a short video of plain colours."""
    return write_clip


@pytest.fixture(scope="session")
def data_dir() -> Path:
    place = find_data()
    if place is None:
        pytest.skip("no data folder: set CAPTIONER_DATA")
    return place


_data_tests: set[str] = set()
_data_counts = {"ran": 0, "skipped": 0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # By marker: a report's keywords hold folder names, too, and tests/training/data is one.
    _data_tests.update(item.nodeid for item in items if item.get_closest_marker("data"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.nodeid not in _data_tests:
        return
    if report.skipped:
        _data_counts["skipped"] += 1
    elif report.when == "call":
        _data_counts["ran"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"data tests: {_data_counts['ran']} ran, {_data_counts['skipped']} skipped"
    )
