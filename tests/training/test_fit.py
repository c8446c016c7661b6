"""Training as a user runs it: the command line, a table, a config, a bundle, a caption."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from captioner.bundle import open_bundle
from captioner.tasks import load

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., Any]


def test_a_fit_learns_what_the_table_says(trained: Path, shapes_table: Path) -> None:
    task = load("caption", model=str(trained / "bundles" / "caption"))
    picture = shapes_table.parent / "red_square_0.png"
    assert task(picture).caption.startswith("a red ")
    picture = shapes_table.parent / "green_circle_0.png"
    assert task(picture).caption.startswith("a green ")


def test_validation_chooses_by_the_cider_of_real_captions(trained: Path) -> None:
    (logged,) = (trained / "runs" / "csv").glob("*/metrics.csv")
    header, *rows = logged.read_text().splitlines()
    column = header.split(",").index("CIDEr")
    values = [float(row.split(",")[column]) for row in rows if row.split(",")[column]]
    assert len(values) == 15
    assert max(values) > 100


def test_a_bundle_carries_vocabulary_preprocessing_and_search(trained: Path) -> None:
    bundle = open_bundle(trained / "bundles" / "caption")
    assert "square" in bundle.vocabulary()
    assert bundle.decoding["num_beams"] == 2
    assert bundle.card["origin"] == "generated"


def test_a_resume_goes_on_and_one_with_nothing_to_resume_fails(
    trained: Path, shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    for chosen, epoch in (("runs/last.ckpt", 15), ("last", 16)):
        path = config(tmp_path, shapes_table, trainer__max_epochs=epoch + 1)
        done = run("fit", "--config", str(path), "--ckpt_path", chosen, folder=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert set(_logged(tmp_path / "runs", "epoch")) == {epoch}
    for chosen in ("runs/none.ckpt", "last"):
        if chosen == "last":
            shutil.rmtree(tmp_path / "runs")
        done = run("fit", "--config", str(path), "--ckpt_path", chosen, folder=tmp_path)
        assert done.returncode == 2
        assert "Without --ckpt_path" in done.stderr


def _logged(folder: Path, column: str) -> list[float]:
    newest = max((folder / "csv").glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    header, *rows = newest.read_text().splitlines()
    cells = [row.split(",")[header.split(",").index(column)] for row in rows]
    return [float(cell) for cell in cells if cell]


def test_rewards_rise_where_cross_entropy_left_off(
    shapes_table: Path, tmp_path: Path, run: Run, config: Run, card: dict[str, Any]
) -> None:
    path = config(tmp_path, shapes_table, trainer__max_epochs=4)
    assert run("fit", "--config", str(path), folder=tmp_path).returncode == 0
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    last = ("--checkpoint", "runs/last.ckpt", "--card", "card.yaml")
    assert run("export", *last, folder=tmp_path).returncode == 0
    path = config(tmp_path, shapes_table, trainer__max_epochs=12)
    settings = yaml.safe_load(path.read_text())
    settings["model"] = {
        "class_path": "training.self_critical.SelfCriticalModule",
        "init_args": {
            "bundle": "caption",
            "optimiser": {"lr": 0.003, "warmup_steps": 2},
            "search": {"num_beams": 2, "max_tokens": 6},
            "samples": 5,
        },
    }
    settings["data"]["init_args"]["vocabulary_from"] = "caption"
    path.write_text(yaml.safe_dump(settings))
    done = run(
        *("fit", "--config", str(path)),
        folder=tmp_path,
        env={"CAPTIONER_BUNDLES": str(tmp_path / "bundles")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rewards = _logged(tmp_path / "runs", "reward")
    quarter = len(rewards) // 4
    first, last_ones = rewards[:quarter], rewards[-quarter:]
    assert sum(last_ones) / quarter > sum(first) / quarter + 0.5


def _weights(folder: Path, table: Path, config: Run, *, devices: int) -> dict[str, torch.Tensor]:
    folder.mkdir()
    path = config(
        folder,
        table,
        trainer__max_epochs=2,
        trainer__devices=devices,
        data__init_args__batch_size=4 // devices,
    )
    settings = ("--trainer.strategy=ddp", "--trainer.num_sanity_val_steps=0")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "training", "fit", "--config", str(path)),
            *(settings if devices > 1 else settings[1:]),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded = torch.load(folder / "runs" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = loaded["state_dict"]
    return state


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(
    shapes_table: Path, tmp_path: Path, config: Run
) -> None:
    # Captions of three and four words: the processes of a step see different numbers of them.
    alone = _weights(tmp_path / "one", shapes_table, config, devices=1)
    together = _weights(tmp_path / "two", shapes_table, config, devices=2)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=2e-4, rtol=1e-3, msg=name)
