"""Training as a user runs it: the command line, a table, a config, a bundle, a caption."""

import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from captioner.bundle import open_bundle
from captioner.tasks import load
from training.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
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
        "data": {"source": str(table), "min_count": 1, "batch_size": 4},
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


@pytest.fixture(scope="module")
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
    trained: Path, shapes_table: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    path = config(tmp_path, shapes_table, trainer__max_epochs=16)
    done = run("fit", "--config", str(path), "--ckpt_path", "runs/last.ckpt", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    newest = max((tmp_path / "runs" / "csv").glob("*/metrics.csv"), key=os.path.getmtime)
    header, *rows = newest.read_text().splitlines()
    epochs = {row.split(",")[header.split(",").index("epoch")] for row in rows}
    assert epochs == {"15"}
    for chosen in ("runs/none.ckpt", "last"):
        if chosen == "last":
            shutil.rmtree(tmp_path / "runs")
        done = run("fit", "--config", str(path), "--ckpt_path", chosen, folder=tmp_path)
        assert done.returncode == 2
        assert "Without --ckpt_path" in done.stderr


def test_the_command_line_is_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "export", "--checkpoint", "none", "--card", "none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "There is no checkpoint 'none'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_is_refused_by_name(shapes_table: Path, tmp_path: Path) -> None:
    path = config(tmp_path, shapes_table)
    done = run("fit", "--config", str(path), "--data.batchsize=3", folder=tmp_path)
    assert done.returncode == 2
    assert "batchsize" in done.stderr


def test_print_config_shows_everything(shapes_table: Path, tmp_path: Path) -> None:
    path = config(tmp_path, shapes_table)
    done = run("fit", "--config", str(path), "--print_config", folder=tmp_path)
    assert done.returncode == 0
    shown = yaml.safe_load(done.stdout)
    assert shown["model"]["init_args"]["decoder"]["hidden_size"] == 32
    assert shown["data"]["max_tokens"] is None


def test_fine_tuning_learns_a_new_word_and_keeps_the_old(trained: Path, tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("shapes", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    table = shapes.write_table(tmp_path / "own", {"blue": "cobalt", "red": "red", "green": "green"})
    settings = yaml.safe_load((ROOT / "configs" / "caption" / "finetune.yaml").read_text())
    settings["trainer"] |= {"accelerator": "cpu", "enable_progress_bar": False}
    settings["trainer"] |= {"log_every_n_steps": 1, "max_epochs": 15}
    settings["model"]["init_args"]["optimiser"] |= {"lr": 0.005, "warmup_steps": 2}
    settings["data"] |= {"source": str(table), "batch_size": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    done = run(
        "fit",
        "--config",
        "config.yaml",
        folder=tmp_path,
        env={"CAPTIONER_BUNDLES": str(trained / "bundles")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
    last = "runs/caption-finetune/last.ckpt"
    done = run("export", "--checkpoint", last, "--card", "card.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    old = open_bundle(trained / "bundles" / "caption").vocabulary()
    new = open_bundle(tmp_path / "bundles" / "caption").vocabulary()
    assert new.words[: len(old.words)] == old.words
    assert "cobalt" in new
    assert "cobalt" not in old
    task = load("caption", model=str(tmp_path / "bundles" / "caption"))
    assert "cobalt" in task(tmp_path / "own" / "blue_square_0.png").caption
    assert "red" in task(tmp_path / "own" / "red_square_5.png").caption


def test_scores_as_served_come_with_their_signature(trained: Path, shapes_table: Path) -> None:
    done = run(
        *("score", "--data", str(trained / "config.yaml"), "--model", "bundles/caption"),
        *("--out", "scores.json", "--calibrate"),
        folder=trained,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tokenizer:" in done.stdout
    assert "search:beam2" in done.stdout
    stored = json.loads((trained / "scores.json").read_text())
    assert len(stored["captions"]) == 4
    assert "threshold" in open_bundle(trained / "bundles" / "caption").metrics["confidence"]


def _logged(folder: Path, column: str) -> list[float]:
    newest = max((folder / "csv").glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    header, *rows = newest.read_text().splitlines()
    cells = [row.split(",")[header.split(",").index(column)] for row in rows]
    return [float(cell) for cell in cells if cell]


def test_rewards_rise_where_cross_entropy_left_off(shapes_table: Path, tmp_path: Path) -> None:
    path = config(tmp_path, shapes_table, trainer__max_epochs=4)
    assert run("fit", "--config", str(path), folder=tmp_path).returncode == 0
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
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
    settings["data"]["vocabulary_from"] = "caption"
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


def _weights(folder: Path, table: Path, *, devices: int) -> dict[str, torch.Tensor]:
    folder.mkdir()
    path = config(
        folder,
        table,
        trainer__max_epochs=2,
        trainer__devices=devices,
        data__batch_size=4 // devices,
    )
    settings = ("--trainer.strategy=ddp", "--trainer.num_sanity_val_steps=0")
    done = subprocess.run(
        [sys.executable, "-m", "training", "fit", "--config", str(path)]
        + list(settings if devices > 1 else settings[1:]),
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
def test_two_processes_end_with_the_weights_of_one(shapes_table: Path, tmp_path: Path) -> None:
    # Captions of three and four words: the processes of a step see different numbers of them.
    alone = _weights(tmp_path / "one", shapes_table, devices=1)
    together = _weights(tmp_path / "two", shapes_table, devices=2)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=2e-4, rtol=1e-3, msg=name)
