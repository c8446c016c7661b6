"""The command that scores text bundles, and what costs nothing beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from captioner.bundle import open_bundle, write_bundle
from captioner.models.char_language_model import CharLanguageModel
from captioner.models.seq2seq import Seq2Seq
from captioner.text.characters import Characters
from captioner.text.pieces import Pieces
from training.retrieval import nearest

Run = Callable[..., Any]
LINES = [f"{word} {number}" for number in range(4) for word in ("eins", "zwei", "drei")]


def _bundle(folder: Path, task: str, model: dict[str, Any], **assets: str) -> Path:
    torch.manual_seed(0)
    kind = Seq2Seq if task == "translate" else CharLanguageModel
    return write_bundle(
        folder,
        name="tiny",
        version="0",
        task=task,
        model=model,
        state=kind(**model).state_dict(),
        assets={name.replace("_json", ".json"): text for name, text in assets.items()},
        preprocessing=None,
        decoding={"num_beams": 2, "max_tokens": 6} if task == "translate" else {},
        metrics={},
        card={"licence": "none"},
        readme="",
        licence="",
    )


def _config(folder: Path, kind: str, **data: object) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"class_path": kind, "init_args": data}}))
    return str(path)


def test_a_translator_is_scored_tuned_and_held_to_its_nearest_neighbour(
    tmp_path: Path, run: Run
) -> None:
    (tmp_path / "a.txt").write_text("\n".join(LINES))
    pieces = Pieces.train(LINES, 280)
    sizes = {"hidden_size": 8, "embedding_size": 8}
    model = {"source": sizes, "decoder": sizes, "vocabulary_size": len(pieces)}
    pair = json.dumps({"source": "de", "target": "en"})
    bundle = _bundle(tmp_path, "translate", model, pieces_json=pieces.to_json(), pair_json=pair)
    files = ["a.txt", "a.txt"]
    config = _config(
        tmp_path,
        "training.data.parallel.ParallelDataModule",
        source={"train": files, "validation": files},
        languages=["de", "en"],
    )
    command = ("score-text", "--task", "translate", "--data", config, "--model", str(bundle))
    done = run(*command, "--retrieval", "--store", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    neighbour = next(line for line in done.stdout.splitlines() if "nearest" in line)
    assert "BLEU 100.00" in neighbour or "chrF2 100.00" in neighbour
    stored = open_bundle(bundle).metrics["validation"]
    assert stored["search"] == "beam2"
    assert "tok:13a" in stored["signature"]
    done = run(*command, "--tune", folder=tmp_path)
    assert "greedy" in done.stdout
    assert "beam5-lp1.4" in done.stdout
    done = run(*command, "--split", "test", folder=tmp_path)
    assert done.returncode == 2
    assert "no test pairs" in done.stderr


def test_a_character_model_is_scored_with_its_state_and_without(tmp_path: Path, run: Run) -> None:
    text = "abcab" * 200
    (tmp_path / "text.txt").write_text(text)
    characters = Characters.of(text)
    model = {"vocabulary_size": len(characters), "hidden_size": 8, "num_layers": 1}
    bundle = _bundle(tmp_path, "generate", model, characters_json=characters.to_json())
    config = _config(
        tmp_path,
        "training.data.stream.TextStreamDataModule",
        source="text.txt",
        batch_size=2,
        chunk=8,
        windows=3,
        window_size=8,
    )
    command = ("score-text", "--task", "generate", "--data", config, "--model", str(bundle))
    done = run(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "99 predicted" in done.stdout
    assert "24 predicted" in done.stdout
    (tmp_path / "text.txt").write_text("xyz" * 100)
    done = run(*command, folder=tmp_path)
    assert done.returncode == 2
    assert "characters are not those of bundle" in done.stderr


@pytest.mark.parametrize(("asked", "expected"), [("the dog runs", 1), ("a red house", 2)])
def test_the_nearest_neighbour_shares_the_most_telling_letters(asked: str, expected: int) -> None:
    assert nearest(["one", "the dog ran", "the red houses"], [asked]) == [expected]
