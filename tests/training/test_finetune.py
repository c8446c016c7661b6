"""Going on from a bundle with photos of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from captioner.bundle import open_bundle
from captioner.tasks import load

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., Any]


def test_fine_tuning_learns_a_new_word_and_keeps_the_old(
    trained: Path, shapes_table: Path, tmp_path: Path, run: Run, table: Run, card: dict[str, Any]
) -> None:
    # Half of the old photos come along: with new ones alone "cobalt" is said of everything.
    own = table(tmp_path / "own", {"blue": "cobalt"})
    kept = table(tmp_path / "kept", {"red": "red", "green": "green"}, per_kind=4)
    settings = yaml.safe_load((ROOT / "configs" / "caption" / "finetune.yaml").read_text())
    settings["trainer"] |= {"accelerator": "cpu", "enable_progress_bar": False}
    settings["trainer"] |= {"log_every_n_steps": 1, "max_epochs": 20}
    settings["trainer"]["callbacks"][0]["init_args"]["patience"] = 20
    settings["model"]["init_args"]["optimiser"] |= {"lr": 0.005, "warmup_steps": 2}
    settings["data"]["init_args"] |= {"source": [str(own), str(kept)], "batch_size": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    bundles = {"CAPTIONER_BUNDLES": str(trained / "bundles")}
    done = run("fit", "--config", "config.yaml", folder=tmp_path, env=bundles)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|idf:fixed(22)|images:6|search:beam3-lp0.6" in done.stdout
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    last = ("--checkpoint", "runs/caption-finetune/last.ckpt", "--card", "card.yaml")
    done = run("export", *last, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    old = open_bundle(trained / "bundles" / "caption").vocabulary()
    new = open_bundle(tmp_path / "bundles" / "caption").vocabulary()
    assert new.words[: len(old.words)] == old.words
    assert "cobalt" in new
    assert "cobalt" not in old
    task = load("caption", model=str(tmp_path / "bundles" / "caption"))
    photos = [*shapes_table.parent.glob("*.png"), *own.parent.glob("*.png")]
    wanted = [photo.name.split("_")[0].replace("blue", "cobalt") for photo in photos]
    captions = [result.caption for result in task([str(photo) for photo in photos])]
    assert [caption.split()[1] for caption in captions] == wanted


def test_a_bundle_needs_its_words_where_they_were(
    trained: Path, tmp_path: Path, run: Run, config: Run, table: Run
) -> None:
    bundle = str(trained / "bundles" / "caption")
    own = table(tmp_path / "own", {"blue": "cobalt"}, per_kind=2)
    path = config(tmp_path, own, model__init_args__bundle=bundle, trainer__max_epochs=1)
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 2
    assert "data.vocabulary_from" in done.stderr


def test_a_checkpoint_does_not_go_on_with_other_words(
    trained: Path, tmp_path: Path, run: Run, config: Run, table: Run
) -> None:
    path = config(tmp_path, table(tmp_path / "own", {"blue": "cobalt"}, per_kind=2))
    best = str(trained / "runs" / "best.ckpt")
    done = run("fit", "--config", str(path), "--ckpt_path", best, folder=tmp_path)
    assert done.returncode == 2
    assert "vocabulary is not the one of this table" in done.stderr
    assert "model.bundle, data.vocabulary_from" in done.stderr
