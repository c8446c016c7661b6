"""Every config that ships parses, and builds trainer, module and data."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from torch import nn

from captioner.errors import DataError
from captioner.models.char_language_model import CharLanguageModel
from captioner.models.decoder import Decoder
from captioner.models.frames import ClipClassifier, FrameLabeller
from captioner.models.sentence_encoder import SentenceEncoder
from captioner.recurrent import CELLS
from training.callbacks import BestCheckpoint, LastCheckpoint
from training.cli import build
from training.export import CARD_FIELDS, read_card

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if not path.stem.startswith("card")
)

# Where each task's configs choose a cell, and what is built of these settings.
CHOICES: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "caption": {"decoder": lambda **settings: Decoder(20, 8, **settings)},
    "frames": {
        "labeller": lambda **settings: FrameLabeller(8, 3, **settings),
        "classifier": lambda **settings: ClipClassifier(8, 3, **settings),
    },
    "seq2seq": {
        "source": lambda **settings: SentenceEncoder(20, **settings),
        "decoder": lambda **settings: Decoder(20, 8, **settings),
    },
    "charlm": {"network": lambda **settings: CharLanguageModel(20, **settings)},
}


def chosen_in(path: Path) -> list[str]:
    """The settings of a config that choose a cell; a bundle's are its own, ``none`` has none."""
    given = yaml.safe_load(path.read_text())["model"]["init_args"]
    return [
        name
        for name in CHOICES.get(path.parent.name, ())
        if name in given and given[name].get("cell") != "none"
    ]


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if chosen_in(path)], ids=lambda path: path.stem
)
def test_every_cell_is_chosen_in_every_config_by_one_word(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = chosen_in(path)
    words = [f"--model.init_args.{name}.cell=mut1" for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice
        cli = build(["--config", str(path), "--trainer.accelerator=cpu", *words], run=False)
    for name in names:
        settings = getattr(cli.model, f"{name}_settings")
        assert settings.cell == "mut1"
        for cell in [*CELLS, "tree:gru"]:
            small = {"cell": cell, "hidden_size": 8}
            made = CHOICES[path.parent.name][name](**asdict(replace(settings, **small)))
            kind = CELLS[cell.partition(":")[0]]
            assert any(isinstance(part, kind) for part in made.modules()), cell


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice
        cli = build(["--config", str(path), "--trainer.accelerator=cpu"], run=False)
    settings = yaml.safe_load(path.read_text())
    assert type(cli.model).__name__ == settings["model"]["class_path"].rsplit(".", 1)[1]
    assert cli.datamodule.batch_size == settings["data"]["init_args"]["batch_size"]
    kinds = [type(callback) for callback in cli.trainer.callbacks]
    assert BestCheckpoint in kinds
    assert LastCheckpoint in kinds


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_that_begins_from_a_bundle_takes_its_words(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    bundle = settings["model"]["init_args"].get("bundle")
    assert bundle is None or settings["data"]["init_args"]["vocabulary_from"] == bundle


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_header_gives_a_command_with_its_own_name(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("python -m training fit" in line and path.name in line for line in header)


CARDS = sorted((ROOT / "configs").rglob("card*.yaml"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_every_card_is_complete(path: Path) -> None:
    assert read_card(path)["licence"]


def test_a_sentence_that_yaml_takes_for_a_key_is_refused(tmp_path: Path) -> None:
    card = dict.fromkeys(CARD_FIELDS, "a sentence") | {"limits": [{"It knows one kind": "photos."}]}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(DataError, match=r"limits holds .*put the sentence in quotes"):
        read_card(tmp_path / "card.yaml")
