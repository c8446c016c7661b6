"""A table of generated pictures that a captioner can learn, and training as a user runs it."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from training.cli import main

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "circle")


def draw(colour: str, shape: str, number: int) -> Image.Image:
    picture = Image.new("RGB", (64, 64), (200 + number % 40, 200, 190 + number % 50))
    shift = number * 5 % 20
    box = (8 + shift, 10 + shift // 2, 40 + shift, 42 + shift // 2)
    pen = ImageDraw.Draw(picture)
    (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
    return picture


def write_table(
    folder: Path,
    colours: dict[str, str],
    per_kind: int = 6,
    held_out: tuple[str, ...] = ("validation",),
) -> Path:
    """``colours``: what a colour is called in the captions; ``held_out``: splits of one picture."""
    splits = dict(zip(reversed(range(per_kind)), held_out, strict=False))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for colour, called in colours.items():
        for shape in SHAPES:
            for number in range(per_kind):
                name = f"{colour}_{shape}_{number}.png"
                draw(colour, shape, number).save(folder / name)
                split = splits.get(number, "train")
                rows.append((name, f"A {called} {shape}.", split))
                rows.append((name, f"a {called} {shape} alone", split))
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption", "split"))
        writer.writerows(rows)
    return folder / "captions.csv"


@pytest.fixture(scope="session")
def shapes_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("shapes"), {"red": "red", "green": "green"})


CARD = {
    "description": "shapes",
    "origin": "generated",
    "licence": "none",
    "limits": ["shapes"],
    "known_failures": ["everything else"],
}


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> Done:
    """``python -m training`` in ``folder``; in this process, for torch takes long to import."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on workers and the like
            try:
                code = main(arguments)
            except SystemExit as stop:
                code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def config(folder: Path, table: Path, **changed: object) -> Path:
    settings = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.caption.CaptionModule",
            "init_args": {
                "encoder": {"depth": 18, "output": "grid", "weights": None},
                "decoder": {
                    "hidden_size": 32,
                    "embedding_size": 16,
                    "attention": "soft",
                    "attention_size": 16,
                    "dropout": 0.0,
                },
                "optimiser": {"lr": 0.01, "warmup_steps": 2},
                "label_smoothing": 0.0,
                "search": {"num_beams": 2, "max_tokens": 6},
            },
        },
        "data": {
            "class_path": "training.data.captions.CaptionDataModule",
            "init_args": {"source": str(table), "min_count": 1, "batch_size": 4},
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 15,
            "log_every_n_steps": 1,
            "default_root_dir": "runs",
            "enable_progress_bar": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": "runs", "name": "csv"},
            },
        },
    }
    for path, value in changed.items():
        *keys, last = path.split("__")
        place = settings
        for key in keys:
            place = place[key]
        place[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


@pytest.fixture(scope="session")
def trained(shapes_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small captioner was trained and exported."""
    folder = tmp_path_factory.mktemp("trained")
    path = config(folder, shapes_table)
    done = run("fit", "--config", str(path), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "card.yaml").write_text(yaml.safe_dump(CARD))
    done = run(
        *("export", "--checkpoint", "runs/last.ckpt", "--card", "card.yaml", "--out", "bundles"),
        folder=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session", name="run")
def run_fixture() -> Callable[..., Done]:
    """``run``, for test modules."""
    return run


@pytest.fixture(scope="session", name="config")
def config_fixture() -> Callable[..., Path]:
    """``config``, for test modules."""
    return config


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    """``write_table``, for tests that need other colours than ``shapes_table``."""
    return write_table


VIDEO_COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 210)}


def write_video(
    path: Path, colours: Sequence[str], *, fps: int = 10, side: int = 48, seed: int = 0
) -> None:
    """A frame of each colour in turn, with some noise."""
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 400_000
        stream.codec_context.time_base = Fraction(1, fps)
        for number, colour in enumerate(colours):
            picture = noise.normal(VIDEO_COLOURS[colour], 12, (side, side, 3)).clip(0, 255)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="session", name="write_video")
def write_video_fixture() -> Callable[..., None]:
    """``write_video``, for test modules."""
    return write_video


@pytest.fixture
def card() -> dict[str, Any]:
    """What an export asks for."""
    return dict(CARD)
