"""Every config that ships parses, and builds trainer, module and data."""

import warnings
from pathlib import Path

import pytest
import yaml

from training.callbacks import BestCheckpoint, LastCheckpoint
from training.cli import build
from training.export import read_card

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if not path.stem.startswith("card")
)


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


def test_the_card_is_complete() -> None:
    assert read_card(ROOT / "configs" / "caption" / "card.yaml")["licence"]
