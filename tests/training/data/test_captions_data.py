"""The data module as Lightning and its command line use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from captioner.errors import DataError, InvalidOption
from captioner.text.vocabulary import Vocabulary
from captioner.vision.preprocess import Preprocessing
from training.data.captions import CaptionDataModule
from training.data.splits import SplitFractions

Table = Callable[..., str]
SMALL = Preprocessing(size=16)
REST = ("runs", "on", "the", "very", "green", "grass")


@pytest.fixture
def table(tmp_path: Path, draw: Callable[[Path], Path], write_jsonl: Callable[..., Path]) -> str:
    """30 pictures, 20 for training; "rare" comes once in training, "late" in the test alone."""
    rows = []
    for number in range(30):
        draw(tmp_path / f"{number}.png")
        split = "train" if number < 20 else "validation" if number < 25 else "test"
        captions = ["A dog runs.", f"A {'cat' if number % 2 else 'dog'} on the very green grass."]
        captions += ["A rare one."] if number == 3 else ["late"] if split == "test" else []
        rows.append({"image": f"{number}.png", "captions": captions, "split": split})
    return str(write_jsonl(rows))


def module(source: str, **settings: Any) -> CaptionDataModule:
    given = {"min_count": 2, "batch_size": 4, "preprocessing": SMALL}
    return CaptionDataModule(source, **(given | settings))


def test_nothing_is_read_before_it_is_asked_for() -> None:
    data = module("no/such/table.csv")
    with pytest.raises(DataError, match=r"no/such/table\.csv"):
        data.vocabulary  # noqa: B018


def test_the_vocabulary_is_known_without_setup_and_of_training_words_alone(table: str) -> None:
    data = module(table)
    assert set(data.vocabulary.words) == {"a", "dog", "cat", *REST}
    assert data.vocabulary_size == len(data.vocabulary) == 13
    assert {"rare", "one"} <= set(module(table, min_count=1).vocabulary.words)
    assert "late" not in module(table, min_count=1).vocabulary


def test_a_given_vocabulary_keeps_its_numbers_and_grows(table: str, tmp_path: Path) -> None:
    old = Vocabulary(["zebra", "dog", "a"])
    (tmp_path / "old.json").write_text(old.to_json())
    grown = module(table, vocabulary_from="old.json").vocabulary
    assert grown.words[:3] == old.words
    assert set(grown.words[3:]) == {"cat", *REST}


def test_a_bundle_gives_vocabulary_and_preprocessing(
    table: str, make_tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    crop = Preprocessing(fit="crop", resize=232)
    path = make_tiny_bundle(tmp_path / "bundles", preprocessing=crop)
    data = CaptionDataModule(table, vocabulary_from=str(path))
    bundled = Vocabulary.from_json((path / "vocabulary.json").read_text())
    assert data.vocabulary.words[: len(bundled.words)] == bundled.words
    assert data.preprocessing == crop
    assert module(table, vocabulary_from=str(path)).preprocessing == SMALL
    assert CaptionDataModule(table).preprocessing == Preprocessing()


def test_an_epoch_of_batches_has_every_training_picture_once(table: str) -> None:
    data = module(table)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch["index"]) for batch in batches] == [4] * 5
    index = torch.cat([batch["index"] for batch in batches])
    assert sorted(index.tolist()) == list(range(20))
    assert sum(len(batch["rows"]) for batch in batches) == 41
    for batch in batches:
        for row, image in enumerate(batch["index"].tolist()):
            assert torch.equal(batch["pixels"][row], data.pictures("train")[image])


def test_references_and_names_go_by_a_batchs_index(table: str) -> None:
    data = module(table)
    for batch in data.val_dataloader():
        for index in batch["index"].tolist():
            number = int(data.filenames("validation")[index].removesuffix(".png"))
            kind = "cat" if number % 2 else "dog"
            assert data.references("validation")[index] == [
                ["a", "dog", "runs"],
                ["a", kind, "on", "the", "very", "green", "grass"],
            ]


def test_validation_comes_in_the_same_order_each_time(table: str) -> None:
    orders = [[b["index"].tolist() for b in module(table).val_dataloader()] for _ in range(2)]
    assert orders[0] == orders[1]


def test_cached_features_go_into_the_batches(table: str, tmp_path: Path) -> None:
    data = module(table, num_workers=2)
    features = np.lib.format.open_memmap(
        tmp_path / "f.npy", mode="w+", dtype=np.float16, shape=(20, 2, 3)
    )
    features[:] = np.arange(20)[:, None, None]
    data.use_features("train", features)
    loader = data.train_dataloader()
    assert loader.num_workers == 0
    for batch in loader:
        assert torch.equal(batch["features"][:, 0, 0], batch["index"].float())
    with pytest.raises(ValueError, match="validation has 5 pictures"):
        data.use_features("validation", features)


def test_workers_give_the_same_batches(table: str) -> None:
    alone, helped = (list(module(table, num_workers=n).train_dataloader()) for n in (0, 1))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_report_is_printed_once(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(table)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    out = capsys.readouterr().out
    assert out.count("pictures") == 1
    assert "vocabulary: 9 of 11 words" in out


def test_bad_rows_stop_the_training_or_are_dropped(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0.png").unlink()
    with pytest.raises(DataError, match=r"1 missing files: 0\.png \(train\)"):
        module(table).setup("fit")
    data = module(table, on_bad="drop")
    data.setup("fit")
    assert len(data.pictures("train")) == len(data.references("train")) == 19
    assert "Left out: 1 bad" in capsys.readouterr().out


def test_a_split_that_is_not_there_is_named(table: str, write_jsonl: Callable[..., Path]) -> None:
    rows = [json.loads(line) for line in Path(table).read_text().splitlines()]
    path = write_jsonl((row for row in rows if row["split"] != "test"), "other.jsonl")
    data = module(str(path))
    data.setup("fit")
    with pytest.raises(DataError, match="no test pictures, only train, validation"):
        data.setup("test")


def test_a_users_own_pictures_need_a_table_and_a_path_and_nothing_else(
    tmp_path: Path, draw: Callable[[Path], Path]
) -> None:
    lines = ["image,caption"]
    for number in range(40):
        draw(tmp_path / "holiday" / f"{number}.jpg")
        lines += [f'{number}.jpg,"The beach, again."', f"{number}.jpg,A beach."]
    (tmp_path / "holiday" / "captions.csv").write_text("\n".join(lines))
    data = CaptionDataModule("holiday/captions.csv")
    data.setup("fit")
    assert data.vocabulary.words == ("beach", "a", "again", "the")
    assert next(iter(data.train_dataloader()))["pixels"].shape[1:] == (3, 224, 224)


@pytest.mark.parametrize("name", ["batch_size", "min_count", "captions_per_image", "max_tokens"])
def test_a_setting_below_its_least_value_is_refused(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name} is 0"):
        CaptionDataModule("x.csv", **{name: 0})


def test_the_command_line_reaches_every_setting_and_links_the_vocabulary(table: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CaptionDataModule, "data")
    parser.add_class_arguments(Sized, "model")
    parser.link_arguments("data.vocabulary_size", "model.size", apply_on="instantiate")
    given = ["--data.source", table, "--data.min_count=2", "--data.preprocessing.size=48"]
    config = parser.parse_args([*given, "--data.fractions.seed=5", "--data.on_bad=drop"])
    made = parser.instantiate(config)
    assert made.model.size == 13
    assert made.data.preprocessing == Preprocessing(size=48)
    assert made.data.fractions == SplitFractions(seed=5)
    config = parser.parse_args(["--data.source.train=a.csv", '--data.source.test=["b", "c"]'])
    assert dict(config.data.source) == {"train": "a.csv", "test": ["b", "c"]}


class Sized:
    """Stands for a model that wants to know the vocabulary's size."""

    def __init__(self, size: int) -> None:
        self.size = size


DDP = """
import json, sys, warnings
import lightning, torch
from captioner.vision.preprocess import Preprocessing
from training.data.captions import CaptionDataModule

class Spy(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {"train": [], "validation": []}
    def training_step(self, batch, number):
        self.seen["train"].append([self.current_epoch, batch["index"].tolist()])
        return self.weight * batch["lengths"].float().mean()
    def validation_step(self, batch, number):
        self.seen["validation"].append([self.current_epoch, batch["index"].tolist()])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

world, batch_size, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
data = CaptionDataModule("table.jsonl", min_count=2, batch_size=batch_size,
    preprocessing=Preprocessing(size=16), cache_dir="cache")
trainer = lightning.Trainer(accelerator="cpu", devices=world, max_epochs=2, logger=False,
    strategy="ddp" if world > 1 else "auto", num_sanity_val_steps=0,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
spy = Spy()
trainer.fit(spy, datamodule=data)
with open(f"{out}-{trainer.global_rank}.json", "w") as file:
    json.dump(spy.seen, file)
"""


@pytest.mark.slow
def test_two_processes_under_lightning_see_the_batches_of_one(table: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(DDP)
    seen = {}
    for world, batch_size in ((1, 4), (2, 2)):
        arguments = [sys.executable, "run.py", str(world), str(batch_size), f"seen{world}"]
        root = str(Path(__file__).resolve().parents[3])
        done = subprocess.run(
            arguments,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("same picture again") == 1
        for rank in range(world):
            seen[world, rank] = json.loads((tmp_path / f"seen{world}-{rank}.json").read_text())
    for split in ("train", "validation"):
        alone = seen[1, 0][split]
        parts = zip(seen[2, 0][split], seen[2, 1][split], strict=True)
        together = [[epoch, sorted({*one, *other})] for (epoch, one), (_, other) in parts]
        # The last validation batch has one picture, which then goes to both.
        assert together == [[epoch, sorted(index)] for epoch, index in alone]
    orders = [[index for e, index in seen[1, 0]["train"] if e == epoch] for epoch in (0, 1)]
    assert orders[0] != orders[1]
