"""Swipes of a painted hand: clips get one label, from the path that the hand draws."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml

from training.checkpoints import read_checkpoint
from training.data.path_augmentation import PathAugmentation, is_path
from training.data.video_examples import ClipExample

Run = Callable[..., Any]

SKIN, WALL = (200, 140, 110), (120, 140, 160)
HEIGHT, WIDTH, FRAMES = 60, 80, 14
STEPS = {"left": (-2, 0), "right": (2, 0)}


def write_swipe(path: Path, label: str, start: tuple[int, int], seed: int) -> None:
    """A fist with a finger on an arm goes two pixels a frame before a mottled wall."""
    random = np.random.default_rng(seed)
    wall = np.array(WALL) + random.integers(-12, 12, (HEIGHT // 10, WIDTH // 10, 3))
    wall = wall.repeat(10, 0).repeat(10, 1)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=15, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 15)
        for number in range(FRAMES):
            x = start[0] + STEPS[label][0] * (number - FRAMES // 2)
            below = rows - start[1]
            hand = (below >= 0) & (np.abs(columns - x) <= np.where(below < 8, 2, 6))
            picture = np.where(hand[..., None], SKIN, wall).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 15)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.fixture(scope="module")
def swipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen clips of four people; the last four clips validate."""
    folder, random = tmp_path_factory.mktemp("swipes"), np.random.default_rng(1)
    with (folder / "segments.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "split", "label", "group"])
        for number in range(16):
            label = ("left", "right")[number % 2]
            start = int(random.integers(34, 46)), int(random.integers(15, 30))
            write_swipe(folder / f"{number}.mp4", label, start, number)
            split = "train" if number < 12 else "validation"
            table.writerow([number, split, label, f"person {number // 4}"])
    return folder


def write_config(folder: Path, swipes: Path) -> Path:
    settings = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.clips.ClipsModule",
            "init_args": {
                "encoder": {"kind": "hand_path", "blur": 3},
                "classifier": {"cell": "gru", "hidden_size": 8, "bidirectional": True},
                "optimiser": {"lr": 3e-2, "warmup_steps": 2},
                "cache": str(folder / "cache"),
            },
        },
        "data": {
            "class_path": "training.data.videos.FrameDataModule",
            "init_args": {
                "labels": str(swipes / "segments.csv"),
                "videos": str(swipes),
                "preprocessing": {"size": 80, "height": 60, "mean": [0] * 3, "std": [1] * 3},
                "augment_paths": {"speed": 0.2, "turn": 10, "scale": 0.2, "noise": 0.02},
                "batch_size": 6,
            },
        },
        "trainer": {
            "max_epochs": 10,
            "accelerator": "cpu",
            "default_root_dir": str(folder / "runs"),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


def test_clips_get_the_label_of_their_path(swipes: Path, tmp_path: Path, run: Run) -> None:
    config = str(write_config(tmp_path, swipes))
    done = run("fit", "--config", config, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_checkpoint(tmp_path / "runs" / "best.ckpt")["captioner"]["task"] == "clips"
    done = run("validate", "--config", config, "--ckpt_path", "best", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("accuracy_low", "accuracy_high", "recall left", "recall right"):
        assert name in done.stdout
    stored = torch.load(tmp_path / "runs" / "best.ckpt", weights_only=True)["callbacks"]
    best = next(value for name, value in stored.items() if name.startswith("BestCheckpoint"))
    assert float(best["best_model_score"]) == 100


def test_folds_hold_each_person_out_once(swipes: Path, tmp_path: Path, run: Run) -> None:
    config = str(write_config(tmp_path, swipes))
    few = ("--trainer.max_epochs=2", "--data.init_args.folds.number=3")
    done = run("folds", "--config", config, *few, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("fold-")]
    # Twelve training clips of three people; validation has no part in it.
    assert [row.split(":")[0] for row in rows] == ["fold-0", "fold-1", "fold-2"]
    assert all(row.endswith("items 4.0") for row in rows)
    found = [float(row.split("accuracy ")[1].split(",")[0]) for row in rows]
    (mean,) = (line for line in done.stdout.splitlines() if line.startswith("accuracy  "))
    assert float(mean.split()[1]) == pytest.approx(sum(found) / 3, abs=0.1)
    # The frames of all were read once.
    assert len(list((tmp_path / "cache").glob("*.rows"))) == 1
    done = run("folds", "--config", config, "--data.init_args.folds.number=4", folder=tmp_path)
    assert done.returncode == 2
    assert "too few for 4 folds" in done.stderr


def path_of(frames: int) -> ClipExample:
    """To the right and down, tip and fist alike."""
    place = torch.stack([torch.linspace(0.2, 0.8, frames), torch.linspace(0.3, 0.6, frames)], 1)
    rows = torch.cat([place, torch.ones(frames, 1)] * 2 + [torch.zeros(frames, 1)], 1)
    rows[0, 6] = 1
    times = torch.arange(frames, dtype=torch.float64) / 15
    return ClipExample(rows, torch.arange(frames), times)


def test_a_path_is_varied_and_keeps_its_direction() -> None:
    example, generator = path_of(40), torch.Generator().manual_seed(0)
    assert is_path(example)
    vary = PathAugmentation(speed=0.3, warp=0.4, trim=0.1, turn=12, shear=0.15, scale=0.25)
    lengths = set()
    for _ in range(20):
        rows, labels, times = vary(example, generator)
        lengths.add(len(rows))
        assert len(rows) == len(labels) == len(times)
        assert 28 <= len(rows) <= 52
        assert rows[:, 6].nonzero().flatten().tolist() == [0]
        assert (rows[:, 0].diff() > 0).all()
        assert (labels.diff() >= 0).all()
        assert times.diff().numpy() == pytest.approx(1 / 15)
    assert len(lengths) > 5
    torch.testing.assert_close(PathAugmentation()(example, generator).rows, example.rows)


def test_mistakes_of_the_finder_are_put_in() -> None:
    example, generator = path_of(40), torch.Generator().manual_seed(0)
    lost = PathAugmentation(lost=1)(example, generator).rows
    elsewhere = ((lost[:, :2] - example.rows[:, :2]).abs().amax(1) > 1e-6).sum()
    assert 1 <= int(elsewhere) <= 5
    noisy = PathAugmentation(noise=0.05)(example, generator).rows
    deviation = (noisy[:, :2] - example.rows[:, :2]).std()
    assert 0.4 * 0.03 < float(deviation) < 2 * 0.03  # 0.05 of an extent of 0.6, correlated
