"""Training on videos as a user runs it: a folder, a table, a config, a bundle, labels."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from captioner.bundle import open_bundle
from captioner.tasks import load
from training.checkpoints import read_checkpoint

Run = Callable[..., Any]
COLOURS = ("red", "green", "blue")
FPS = 10


def write_set(folder: Path, write_video: Run, *, videos: int = 8, one_colour: bool = False) -> Path:
    """Videos of two to four stretches of colour, and the table of them; the last two validate."""
    draw = random.Random(0)
    (folder / "videos").mkdir(parents=True)
    rows = []
    for number in range(videos):
        colours: list[str] = []
        start = 0
        for _ in range(1 if one_colour else draw.randint(2, 4)):
            others = [name for name in COLOURS if name not in colours[-1:]]
            colour = COLOURS[number % 3] if one_colour else draw.choice(others)
            colours += [colour] * draw.randint(4, 9)
            split = "validation" if number >= videos - 3 else "train"
            times = (round(start / FPS, 3), round(len(colours) / FPS, 3))
            rows.append((f"v{number}", split, colour, *times))
            start = len(colours)
        write_video(folder / "videos" / f"v{number}.mp4", colours, seed=number)
    with (folder / "segments.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "split", "label", "start_s", "end_s"))
        writer.writerows(rows)
    return folder / "segments.csv"


def write_config(folder: Path, table: Path, **changed: object) -> Path:
    settings: dict[str, Any] = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.frames.FramesModule",
            "init_args": {
                "encoder": {"depth": 18, "output": "pooled", "weights": None},
                "labeller": {"cell": "gru", "hidden_size": 16},
                "optimiser": {"lr": 0.03, "warmup_steps": 2},
            },
        },
        "data": {
            "class_path": "training.data.videos.FrameDataModule",
            "init_args": {
                "labels": str(table),
                "videos": str(table.parent / "videos"),
                "preprocessing": {"size": 32},
                "batch_size": 2,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 12,
            "log_every_n_steps": 1,
            "default_root_dir": "runs",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    for path, value in changed.items():
        *keys, last = path.split("__")
        place = settings
        for key in keys:
            place = place.get("init_args", place)[key]
        place.get("init_args", place)[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory, write_video: Run) -> Path:
    return write_set(tmp_path_factory.mktemp("colours"), write_video)


def scores_of(checkpoint: Path) -> dict[str, Any]:
    """What chose the checkpoint."""
    import torch

    stored = torch.load(checkpoint, weights_only=True)
    return next(v for k, v in stored["callbacks"].items() if k.startswith("BestCheckpoint"))


@pytest.fixture(scope="module")
def trained(colours: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A folder in which a small labeller was trained."""
    folder = tmp_path_factory.mktemp("trained")
    done = run("fit", "--config", str(write_config(folder, colours)), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_fit_learns_the_labels_of_frames(trained: Path) -> None:
    best = scores_of(trained / "runs" / "best.ckpt")
    assert best["monitor"] == "frame_accuracy"
    assert float(best["best_model_score"]) > 90


def test_a_validation_of_its_own_says_the_same_and_more(
    trained: Path, colours: Path, run: Run
) -> None:
    config = str(trained / "config.yaml")
    done = run("validate", "--config", config, "--ckpt_path", "best", folder=trained)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("frame_accuracy", "edit", "F1@10", "F1@25", "F1@50", "F1 red", "F1 blue"):
        assert name in done.stdout


def test_a_bundle_of_it_labels_videos(
    trained: Path, run: Run, card: dict[str, Any], write_video: Run
) -> None:
    (trained / "card.yaml").write_text(yaml.safe_dump(card))
    done = run(
        *("export", "--checkpoint", "runs/best.ckpt", "--card", "card.yaml", "--out", "bundles"),
        folder=trained,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    bundle = open_bundle(trained / "bundles" / "frames")
    assert json.loads(bundle.asset("labels.json")) == ["blue", "green", "red"]
    write_video(trained / "new.mp4", ["red"] * 8 + ["blue"] * 8, seed=99)
    result = load("frames", model=str(trained / "bundles" / "frames"))(trained / "new.mp4")
    found = [max(frame.labels, key=lambda label: label.score).label for frame in result.frames]
    assert len(found) == 16
    assert sum(a == b for a, b in zip(found, ["red"] * 8 + ["blue"] * 8, strict=True)) >= 14


def test_the_last_stages_of_a_resnet_learn_on_maps_that_are_kept(
    colours: Path, tmp_path: Path, run: Run
) -> None:
    encoder = {"depth": 18, "output": "pooled", "weights": None, "trainable_stages": 1}
    config = write_config(
        tmp_path,
        colours,
        model__encoder=encoder,
        model__cache=str(tmp_path / "cache"),
        model__optimiser={"lr": 0.03, "encoder_lr": 1e-3, "warmup_steps": 2},
        trainer__max_epochs=6,
    )
    done = run("fit", "--config", str(config), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    # Of 32 pixels the fourth of five stages leaves a side of 2, of 256 maps.
    for index in (tmp_path / "cache").glob("*.npz"):
        assert np.load(index)["shape"].tolist()[1:] == [256, 2, 2]
    assert float(scores_of(tmp_path / "runs" / "best.ckpt")["best_model_score"]) > 80
    # The encoder's last stage has a rate of its own, and what is below it none.
    (state,) = read_checkpoint(tmp_path / "runs" / "best.ckpt")["optimizer_states"]
    labeller, last_stage = state["param_groups"]
    assert labeller["initial_lr"] == 0.03
    assert last_stage["initial_lr"] == 1e-3
    assert len(last_stage["params"]) == 15  # of layer4: 5 convolutions, 5 norms of 2 each
