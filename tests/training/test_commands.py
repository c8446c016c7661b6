"""What the command line refuses, and how; validation and test of a checkpoint."""

import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from training import cli
from training.settings import TranslationSearch

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., Any]


def _process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line_is_a_process_of_its_own(tmp_path: Path) -> None:
    done = _process(tmp_path, "export", "--checkpoint", "none", "--card", "none")
    assert done.returncode == 2
    assert "There is no checkpoint 'none'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_is_not_told_how_to_call_lightning_from_python(tmp_path: Path) -> None:
    done = _process(tmp_path, "fit", "--print_config")
    assert done.returncode == 0
    assert "LightningCLI" not in done.stderr


def test_a_wrong_key_is_refused_by_name(
    shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    path = config(tmp_path, shapes_table)
    done = run("fit", "--config", str(path), "--data.batchsize=3", folder=tmp_path)
    assert done.returncode == 2
    assert "batchsize" in done.stderr


def test_print_config_shows_everything(
    shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    path = config(tmp_path, shapes_table)
    done = run("fit", "--config", str(path), "--print_config", folder=tmp_path)
    assert done.returncode == 0
    shown = yaml.safe_load(done.stdout)
    assert shown["model"]["init_args"]["decoder"]["hidden_size"] == 32
    assert shown["data"]["init_args"]["max_tokens"] is None


def test_print_config_needs_no_config(tmp_path: Path, run: Run) -> None:
    done = run("fit", "--print_config", folder=tmp_path)
    assert done.returncode == 0
    model = yaml.safe_load(done.stdout)["model"]
    assert model["class_path"] == "training.caption.CaptionModule"
    assert model["init_args"]["decoder"]["hidden_size"] == 512


@pytest.mark.parametrize("where", ["config", "section", "option"])
def test_a_module_that_is_named_has_its_own_defaults(where: str, tmp_path: Path, run: Run) -> None:
    model, data = "training.seq2seq.Seq2SeqModule", "training.data.parallel.ParallelDataModule"
    source = {"source": {"train": ["a.de", "a.en"]}, "languages": ["de", "en"]}
    settings: dict[str, Any] = {"data": {"class_path": data, "init_args": source}}
    if where != "option":
        settings["model"] = {"class_path": model}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"fit": settings} if where == "section" else settings))
    given = {
        "config": ("fit", "--config", str(path)),
        "section": ("--config", str(path), "fit"),
        "option": ("fit", f"--config={path}", f"--model={model}"),
    }[where]
    done = run(*given, "--print_config", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    arguments = shown["model"]["init_args"]
    assert arguments["search"] == asdict(TranslationSearch())  # not the captioner's
    assert arguments["decoder"]["dropout"] == 0.3
    assert shown["data"]["init_args"]["batch_size"] == 128


def test_help_names_every_command(tmp_path: Path, run: Run) -> None:
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert {"fit", "validate", "test", "export", "score"} <= set(re.findall(r"\w+", done.stdout))
    assert done.stdout.startswith("usage: python -m training ")


def test_validate_prints_the_score_that_chose_the_checkpoint(
    trained: Path, shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    (logged,) = (trained / "runs" / "csv").glob("version_0/metrics.csv")
    header, *rows = logged.read_text().splitlines()
    cells = [row.split(",")[header.split(",").index("CIDEr")] for row in rows]
    shutil.copytree(trained / "runs", tmp_path / "runs")
    path = config(tmp_path, shapes_table)
    done = run("validate", "--config", str(path), "--ckpt_path", "best", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert _cider(done.stdout) == pytest.approx(max(float(cell) for cell in cells if cell))
    assert "|idf:scored(4)|images:4|search:beam2" in done.stdout


def test_test_scores_a_checkpoint_or_a_bundle_on_the_test_split(
    trained: Path, tmp_path: Path, run: Run, config: Run, table: Run
) -> None:
    own = table(tmp_path, {"red": "red", "green": "green"}, held_out=("validation", "test"))
    shutil.copytree(trained / "runs", tmp_path / "runs")
    path = config(tmp_path, own, model__init_args__idf="train")
    best = run("test", "--config", str(path), "--ckpt_path", "runs/best.ckpt", folder=tmp_path)
    assert best.returncode == 0, best.stderr[-3000:]
    assert "|idf:fixed(16)|images:4|search:beam2" in best.stdout
    assert _cider(best.stdout) > 100
    bundle = str(trained / "bundles" / "caption")
    path = config(
        tmp_path, own, model__init_args__bundle=bundle, data__init_args__vocabulary_from=bundle
    )
    done = run("test", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert _cider(done.stdout) > 100


def _cider(stdout: str) -> float:
    found = re.search(r"CIDEr\s+[│|]?\s*([\d.]+)", stdout)
    assert found is not None, stdout
    return float(found[1])


@pytest.mark.parametrize("subcommand", ["validate", "test"])
@pytest.mark.parametrize("chosen", ["none.ckpt", "best", None])
def test_random_weights_are_not_scored(
    subcommand: str, chosen: str | None, shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    path = config(tmp_path, shapes_table)
    given = () if chosen is None else ("--ckpt_path", chosen)
    done = run(subcommand, "--config", str(path), *given, folder=tmp_path)
    assert done.returncode == 2
    assert "--ckpt_path" in done.stderr
    assert "There is no checkpoint" in done.stderr or "no weights to score" in done.stderr


def _junk(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("no checkpoint, only words and words and words")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "foreign":
        torch.save({"state_dict": {}}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Path("anything")))
    else:
        torch.save({"captioner": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("kind", ["text", "empty", "foreign", "pickle", "truncated"])
def test_junk_is_no_checkpoint(
    kind: str, shapes_table: Path, tmp_path: Path, run: Run, config: Run, card: dict[str, Any]
) -> None:
    _junk(tmp_path / "junk.ckpt", kind)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    path = config(tmp_path, shapes_table)
    for command in (
        ("export", "--checkpoint", "junk.ckpt", "--card", "card.yaml"),
        ("fit", "--config", str(path), "--ckpt_path", "junk.ckpt"),
    ):
        done = run(*command, folder=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: 'junk.ckpt'")


def test_there_is_no_predict(shapes_table: Path, tmp_path: Path, run: Run, config: Run) -> None:
    path = config(tmp_path, shapes_table)
    done = run("predict", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "predict" in done.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model__init_args__label_smoothing": 3.0}, "label_smoothing is 3.0."),
        ({"data__init_args__min_count": 0}, "min_count is 0."),
        (
            {
                "model__class_path": "training.self_critical.SelfCriticalModule",
                "model__init_args": {"samples": 1},
            },
            "samples is 1.",
        ),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    changed: dict[str, Any], said: str, shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    path = config(tmp_path, shapes_table, **changed)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert f"error: {said}" in done.stderr


def test_bf16_becomes_float32_on_a_cpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_cpu_has_bf16", lambda: False)
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    with pytest.warns(UserWarning, match="no bf16 instructions"):
        trainer = cli.Trainer(precision="bf16-mixed", **settings)
    assert trainer.precision == "32-true"
    monkeypatch.setattr(cli, "_cpu_has_bf16", lambda: True)
    assert cli.Trainer(precision="bf16-mixed", **settings).precision == "bf16-mixed"


def test_mixed_precision_trains_with_clipped_gradients(
    shapes_table: Path, tmp_path: Path, config: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, shapes_table, trainer__gradient_clip_val=1.0, trainer__max_steps=2)
    given = ("--trainer.precision=bf16-mixed", "--trainer.limit_val_batches=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice
        built = cli.build(["fit", "--config", str(path), *given])
    assert built.trainer.precision == "bf16-mixed"
    assert built.trainer.global_step == 2
