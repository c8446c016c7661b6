"""A character model as a user trains it: streams, state, and a stop in the middle of a text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from captioner.bundle import open_bundle
from captioner.models.char_language_model import CharLanguageModel
from captioner.search import SearchOptions, TokenStream
from captioner.text.characters import Characters

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parent.parent.parent
RHYME = "round and round the rugged rock the ragged rascal ran; "
EVERY = "lightning.pytorch.callbacks.ModelCheckpoint"


def write_config(folder: Path, text: str = RHYME * 60, **changed: object) -> Path:
    (folder / "text.txt").write_text(text, "utf-8")
    settings: dict[str, Any] = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.char_language_model.CharLanguageModule",
            "init_args": {
                "network": {"hidden_size": 24, "num_layers": 2, "dropout": 0.1},
                "optimiser": {"lr": 0.02, "warmup_steps": 5},
            },
        },
        "data": {
            "class_path": "training.data.stream.TextStreamDataModule",
            "init_args": {
                "source": "text.txt",
                "batch_size": 4,
                "chunk": 20,
                "window_size": 20,
                "validation_streams": 2,
                "windows": 10,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 6,
            "gradient_clip_val": 1.0,
            "default_root_dir": "runs",
            "enable_progress_bar": False,
            "logger": False,
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
def trained(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    folder = tmp_path_factory.mktemp("rhyme")
    done = run("fit", "--config", str(write_config(folder)), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    fields = ("description", "origin", "licence", "limits", "known_failures")
    (folder / "card.yaml").write_text(yaml.safe_dump(dict.fromkeys(fields, "a rhyme")))
    export = ("export", "--checkpoint", "runs/best.ckpt", "--card", "card.yaml")
    done = run(*export, "--name", "rhyme", "--out", "bundles", folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_an_exported_bundle_goes_on_with_what_it_read(trained: Path) -> None:
    bundle = open_bundle(trained / "bundles" / "rhyme")
    assert bundle.task == "generate"
    characters = Characters.from_json(bundle.asset("characters.json"))
    model = CharLanguageModel(**bundle.model)
    bundle.load_into(model)
    prompt = characters.encode(RHYME + "round and ")
    stream = TokenStream(model.frozen(), prompt, SearchOptions(max_tokens=9))
    assert characters.decode(emitted.id for emitted in stream) == "round the"


def test_the_best_checkpoint_has_the_fewest_nats(trained: Path, run: Run) -> None:
    found = {}
    for name in ("best", "last"):
        done = run("validate", "--config", "config.yaml", "--ckpt_path", name, folder=trained)
        assert done.returncode == 0, done.stderr[-3000:]
        line = next(line for line in done.stdout.splitlines() if line.startswith("nats "))
        found[name] = float(line.split()[1].rstrip(","))
    assert found["best"] <= found["last"]
    assert found["best"] < 0.6  # guessing letters by their frequency costs 2.5


def weights(path: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(path, weights_only=True)
    state: dict[str, torch.Tensor] = loaded["state_dict"]
    return state


def test_a_run_stopped_within_an_epoch_goes_on_exactly(tmp_path: Path, run: Run) -> None:
    """State, place in the text, dropout's random numbers: all as if it had not been stopped."""
    steps = {"class_path": EVERY, "init_args": {"dirpath": "steps", "every_n_train_steps": 7}}
    steps["init_args"] |= {"save_top_k": -1, "filename": "{step}"}
    path = write_config(tmp_path, trainer__max_epochs=2, trainer__callbacks=[steps])
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = weights(tmp_path / "runs" / "last.ckpt")
    per_epoch = 36
    for step in (7, 21, 49):
        assert step % per_epoch
        stopped = torch.load(tmp_path / "steps" / f"step={step}.ckpt", weights_only=True)
        assert stopped["captioner"]["stream"]["chunk"] == step % per_epoch
        done = run(
            *("fit", "--config", str(path), "--ckpt_path", f"steps/step={step}.ckpt"),
            *("--trainer.default_root_dir", f"again{step}"),
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        resumed = weights(tmp_path / f"again{step}" / "last.ckpt")
        for key, value in whole.items():
            torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, msg=f"{step} {key}")


def test_validation_does_not_touch_the_state_of_training(tmp_path: Path, run: Run) -> None:
    found = []
    for name, often in (("never", 0.0), ("often", 0.25)):
        folder = tmp_path / name
        folder.mkdir()
        changed = {"trainer__val_check_interval": often} if often else {}
        path = write_config(
            folder,
            trainer__max_epochs=1,
            model__init_args__network={"hidden_size": 24, "num_layers": 2, "dropout": 0.0},
            **changed,
        )
        done = run("fit", "--config", str(path), folder=folder)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(weights(folder / "runs" / "last.ckpt"))
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=0, atol=0, msg=key)


def test_a_text_shorter_than_one_chunk_stops_the_command_with_a_sentence(
    tmp_path: Path, run: Run
) -> None:
    path = write_config(tmp_path, RHYME)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "too short for 4 streams" in done.stderr


def test_a_text_with_characters_that_a_bundle_lacks_is_refused(
    trained: Path, tmp_path: Path, run: Run
) -> None:
    bundle = str(trained / "bundles" / "rhyme")
    changed = {"model__init_args__bundle": bundle, "data__init_args__vocabulary_from": bundle}
    path = write_config(tmp_path, RHYME * 20 + "€", **changed, trainer__max_epochs=1)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "never seen '€'" in done.stderr
    path = write_config(tmp_path, "round the rock " * 100, **changed, trainer__max_epochs=1)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def fit_in_processes(folder: Path, devices: int, *more: str, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = write_config(
        folder,
        trainer__devices=devices,
        data__init_args__batch_size=4 // devices,
        model__init_args__network={"hidden_size": 24, "num_layers": 2, "dropout": 0.0},
        # Small: what rounding makes of another order of sums stays small.
        model__init_args__optimiser={"lr": 0.0005, "warmup_steps": 0},
        **{"trainer__max_epochs": 2, **changed},
    )
    settings = ["--trainer.num_sanity_val_steps=0"]
    if devices > 1:
        settings += ["--trainer.strategy=ddp"]
    done = subprocess.run(
        [sys.executable, "-m", "training", "fit", "--config", str(path), *settings, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "runs" / "last.ckpt"


@pytest.mark.slow
def test_two_processes_read_the_streams_of_one_and_resume_theirs(tmp_path: Path) -> None:
    alone = weights(fit_in_processes(tmp_path / "one", 1))
    steps = {"class_path": EVERY, "init_args": {"dirpath": "steps", "every_n_train_steps": 20}}
    steps["init_args"] |= {"save_top_k": -1, "filename": "{step}"}
    folder = tmp_path / "two"
    together = weights(fit_in_processes(folder, 2, trainer__callbacks=[steps]))
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, rtol=1e-3, atol=2e-4, msg=key)
    stopped = torch.load(folder / "steps" / "step=20.ckpt", weights_only=True)
    states = stopped["captioner"]["stream"]["state"]
    assert all(part.shape[0] == 2 and not torch.equal(part[0], part[1]) for part in states)
    again = fit_in_processes(folder, 2, "--ckpt_path", "steps/step=20.ckpt")
    for key, value in weights(again).items():
        torch.testing.assert_close(value, together[key], rtol=1e-4, atol=1e-6, msg=key)
