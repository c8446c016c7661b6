"""A translator as a user trains it: two files, a config, a bundle, a translation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from captioner.bundle import open_bundle
from captioner.models.seq2seq import Seq2Seq, pad_sources
from captioner.search import SearchOptions
from captioner.text.pieces import Pieces
from training.checkpoints import read_checkpoint

Run = Callable[..., Any]

COLOURS = {"rot": "red", "blau": "blue", "grün": "green", "weiß": "white"}
ANIMALS = {"Hund": "dog", "Vogel": "bird", "Fuchs": "fox", "Wal": "whale", "Bär": "bear"}
# The adjective behind its noun: the order changes.
PAIRS = [
    (f"Ein {animal}, {colour}.", f"A {COLOURS[colour]} {ANIMALS[animal]}.")
    for colour in COLOURS
    for animal in ANIMALS
]
CARD = {
    "description": "animals",
    "origin": "made up",
    "licence": "none",
    "limits": ["animals"],
    "known_failures": ["everything else"],
}


def write_config(folder: Path, **changed: object) -> Path:
    for side, name in enumerate(("de", "en")):
        text = "".join(pair[side] + "\n" for pair in PAIRS)
        (folder / f"animals.{name}").write_text(text, "utf-8")
    files = ["animals.de", "animals.en"]
    sizes = {"hidden_size": 32, "embedding_size": 32, "dropout": 0.0}
    settings: dict[str, Any] = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.seq2seq.Seq2SeqModule",
            "init_args": {
                "source": sizes,
                "decoder": {**sizes, "cell": "gru", "attention": "soft", "attention_size": 16},
                "optimiser": {"lr": 0.01, "warmup_steps": 5},
                "search": {"num_beams": 2, "max_tokens": 12},
                "label_smoothing": 0.0,
            },
        },
        "data": {
            "class_path": "training.data.parallel.ParallelDataModule",
            "init_args": {
                "source": {"train": files, "validation": files, "test": files},
                "languages": ["de", "en"],
                "vocabulary_size": 320,
                "piece_dropout": 0.0,
                "batch_size": 5,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 25,
            "gradient_clip_val": 1.0,
            "check_val_every_n_epoch": 25,
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
    folder = tmp_path_factory.mktemp("translator")
    done = run("fit", "--config", str(write_config(folder)), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "card.yaml").write_text(yaml.safe_dump(CARD))
    export = ("export", "--checkpoint", "runs/best.ckpt", "--card", "card.yaml")
    done = run(*export, "--name", "translate-de-en", "--out", "bundles", folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_an_exported_bundle_translates_as_it_was_taught(trained: Path) -> None:
    bundle = open_bundle(trained / "bundles" / "translate-de-en")
    pieces = Pieces.from_json(bundle.asset("pieces.json"))
    model = Seq2Seq(**bundle.model)
    bundle.load_into(model)
    model.frozen()
    sources = pad_sources([pieces.encode(source) for source, _ in PAIRS])
    found = model.translate(*sources, SearchOptions(**bundle.decoding))
    said = [pieces.decode(best[0].ids) for best in found]
    right = sum(ours == theirs for ours, (_, theirs) in zip(said, PAIRS, strict=True))
    assert right >= 18, said
    pair = json.loads(bundle.asset("pair.json"))
    assert (pair["source"], pair["target"]) == ("de", "en")
    targets = {piece for _, target in PAIRS for piece in pieces.encode(target)}
    assert set(pair["said"]) == targets | set(range(3 + 256))
    assert len(pair["said"]) < len(pieces)
    assert bundle.task == "translate"


def test_the_test_split_is_scored_with_a_signature(trained: Path, run: Run) -> None:
    arguments = ("--config", "config.yaml", "--ckpt_path", "best")
    done = run("test", *arguments, folder=trained)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "case:mixed" in done.stdout
    assert "tok:13a" in done.stdout
    bleu = float(done.stdout.split("BLEU ")[1].split(",")[0])
    assert bleu > 80


def test_the_plain_form_learns_too(tmp_path: Path, run: Run) -> None:
    path = write_config(
        tmp_path,
        model__init_args__decoder={
            "hidden_size": 24,
            "embedding_size": 32,
            "cell": "lstm",
            "attention": "none",
            "dropout": 0.0,
        },
        trainer__max_epochs=1,
        trainer__check_val_every_n_epoch=1,
    )
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(
    tmp_path: Path, run: Run
) -> None:
    weights = []
    for name, stops in (("whole", [3]), ("parts", [2, 3])):
        folder = tmp_path / name
        folder.mkdir()
        for number, stop in enumerate(stops):
            path = write_config(
                folder,
                # A schedule of its own length would differ: a rate that stays.
                model__init_args__optimiser={"lr": 0.001, "warmup_steps": 0, "final": 1.0},
                trainer__max_epochs=stop,
                trainer__check_val_every_n_epoch=1,
                data__init_args__piece_dropout=0.2,
            )
            more = ("--ckpt_path", "last") if number else ()
            done = run("fit", "--config", str(path), *more, folder=folder)
            assert done.returncode == 0, done.stderr[-3000:]
        loaded = torch.load(folder / "runs" / "last.ckpt", weights_only=True)
        weights.append(loaded["state_dict"])
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0, atol=0, msg=key)


def test_a_checkpoint_of_other_pieces_is_refused(trained: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    path = write_config(tmp_path, data__init_args__vocabulary_size=300)
    done = run("fit", "--config", str(path), "--ckpt_path", "last", folder=tmp_path)
    assert done.returncode == 2
    assert "pieces are not those of this data" in done.stderr


def test_a_run_goes_on_from_a_bundle_with_its_pieces_only(
    trained: Path, tmp_path: Path, run: Run
) -> None:
    bundle = str(trained / "bundles" / "translate-de-en")
    settings = {
        "model__init_args__bundle": bundle,
        "trainer__max_epochs": 1,
        "trainer__check_val_every_n_epoch": 1,
        "data__init_args__vocabulary_size": 300,
    }
    path = write_config(tmp_path, **settings)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "pieces are not those of bundle" in done.stderr
    path = write_config(tmp_path, **settings, data__init_args__vocabulary_from=bundle)
    (tmp_path / "animals.en").write_text("A dog.\n" * len(PAIRS))
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    stored = read_checkpoint(tmp_path / "runs" / "last.ckpt")["captioner"]["assets"]["pair.json"]
    before = json.loads(open_bundle(Path(bundle)).asset("pair.json"))
    assert json.loads(stored) == before, "it has not forgotten what else it could say"


def test_files_of_different_length_stop_the_command_with_a_sentence(
    tmp_path: Path, run: Run
) -> None:
    path = write_config(tmp_path)
    (tmp_path / "animals.en").write_text("A dog.\n")
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "'animals.de' has 20 lines and 'animals.en' has 1." in done.stderr
