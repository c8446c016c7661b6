"""Words read off a painted mouth: crops around lips, an encoder of clips, words, errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml

from training.frame_metrics import FrameMetrics

Run = Callable[..., Any]

SKIN, LIPS = (190, 150, 120), (170, 80, 90)
HEIGHTS = {"sil": 6, "a": 14, "o": 10}  # of the mouth, by what is said
WIDTHS = {"sil": 40, "a": 44, "o": 24}
SENTENCES = [["a", "o"], ["o", "a"], ["a", "a"], ["o", "o"]]


def write_face(path: Path, words: list[str], centre: tuple[int, int]) -> list[tuple[str, int, int]]:
    """A clip of 24 frames of 112 x 80 pixels in which a mouth says ``words``: their segments."""
    segments, frame = [("sil", 0, 4)], 4
    for word in words:
        segments += [(word, frame, frame + 5), ("sil", frame + 5, frame + 9)]
        frame += 9
    segments[-1] = ("sil", segments[-1][1], 24)
    buffer, (x, y) = io.BytesIO(), centre
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 112, 80, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(24):
            word = next(name for name, start, end in segments if start <= number < end)
            picture = np.full((80, 112, 3), SKIN, np.uint8)
            high, wide = HEIGHTS[word] // 2, WIDTHS[word] // 2
            picture[y - high : y + high, x - wide : x + wide] = LIPS
            frame_ = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame_.pts, frame_.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame_))
        output.mux(stream.encode(None))
    path.write_bytes(buffer.getvalue())
    return segments


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips and ``segments.csv``."""
    folder, random = tmp_path_factory.mktemp("speakers"), np.random.default_rng(1)
    with (folder / "segments.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip", "split", "word", "start_frame", "end_frame"])
        for number in range(28):
            split = "train" if number < 24 else "validation"
            centre = int(random.integers(40, 73)), int(random.integers(30, 51))
            words = SENTENCES[number % 4]
            for word, start, end in write_face(folder / f"{number}.mp4", words, centre):
                table.writerow([number, split, word, start, end])
    return folder


def write_config(folder: Path, speakers: Path) -> Path:
    """Settings of the size of these clips, with every part that lip reading has."""
    settings = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.frames.FramesModule",
            "init_args": {
                "encoder": {
                    "kind": "spatiotemporal",
                    "height": 24,
                    "width": 56,
                    "in_channels": 1,
                    "reach": 0,
                    "channels": [8, 12, 16],
                    "feature_size": 24,
                },
                "labeller": {"cell": "lstm", "hidden_size": 24, "bidirectional": True},
                "optimiser": {"lr": 1e-2, "warmup_steps": 5},
                "decoding": {"smoothing": "viterbi", "switch_penalty": 1.0},
                "label_smoothing": 0.05,
                "smoothing": 0.0,
                "background": ["sil"],
                "monitor": "foreground_accuracy",
                "cache": str(folder / "cache"),
            },
        },
        "data": {
            "class_path": "training.data.videos.FrameDataModule",
            "init_args": {
                "labels": str(speakers / "segments.csv"),
                "videos": str(speakers),
                "columns": {"label": "word", "video": "clip"},
                "preprocessing": {"size": 112, "height": 80, "grey": True},
                "crop": {"width": 56, "height": 24, "centre": "lips"},
                "augment": {"speed": 0.1, "shift": 2, "flip": 0.5, "brightness": 10, "splice": 0.2},
                "batch_size": 4,
            },
        },
        "trainer": {
            "max_epochs": 12,
            "precision": "bf16-mixed",
            "accelerator": "cpu",
            "gradient_clip_val": 5.0,
            "default_root_dir": str(folder / "runs"),
            "enable_progress_bar": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder / "runs"), "name": "csv"},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
                    "init_args": {"decay": 0.8, "use_buffers": True},
                }
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_words_are_scored_beside_always_saying_silence() -> None:
    metrics = FrameMetrics(["sil", "a", "o"], background=["sil"])
    truth = torch.tensor([0, 0, 1, 1, 0, 2, 2, 2, 0, 0])  # a o
    guess = torch.tensor([0, 0, 1, 1, 1, 2, 0, 2, 0, 0])  # a o o
    metrics.update(torch.tensor([0]), [guess], [truth])
    scores = metrics.compute()
    assert float(scores["frame_accuracy"]) == pytest.approx(80)
    assert float(scores["foreground_accuracy"]) == pytest.approx(80)  # 4 of 5
    assert float(scores["always_background"]) == pytest.approx(50)
    assert float(scores["WER"]) == pytest.approx(50)  # one word too many by two
    plain = FrameMetrics(["sil", "a", "o"])
    plain.update(torch.tensor([0]), [guess], [truth])
    assert "WER" not in plain.compute()


def test_a_painted_mouth_is_read(
    speakers: Path, tmp_path: Path, run: Run, card: dict[str, Any]
) -> None:
    config = write_config(tmp_path, speakers)
    done = run("fit", "--config", str(config), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]

    # The file holds the averaged weights: a validation of its own finds what the fit found.
    best = max(_logged(tmp_path / "runs"), key=lambda row: row.get("foreground_accuracy", 0))
    again = ("validate", "--config", str(config), "--ckpt_path", "best")
    done = run(*again, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (scores,) = _logged(tmp_path / "runs")
    for name in ("foreground_accuracy", "frame_accuracy", "WER"):
        assert scores[name] == best[name]
        assert name in done.stdout
    assert scores["foreground_accuracy"] > 85
    assert scores["WER"] < 20
    # Two words of 5 frames in each clip of 24.
    assert scores["always_background"] == pytest.approx(100 * 14 / 24)

    # A bundle would not know of the crop.
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    kept = ("--checkpoint", "runs/best.ckpt", "--card", "card.yaml")
    done = run("export", *kept, folder=tmp_path)
    assert done.returncode == 2
    assert "data.crop" in done.stderr


def _logged(runs: Path) -> list[dict[str, float]]:
    """The rows of the newest log."""
    newest = max((runs / "csv").glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    with newest.open() as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]
