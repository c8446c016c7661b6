"""What trainings of text share: an alphabet, a model from settings or a bundle, a checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import lightning
from torch import nn

from captioner.bundle import find_bundle
from captioner.errors import InvalidOption
from training.optimiser import scheduled
from training.settings import OptimiserSettings


class TextModule(lightning.LightningModule):
    """Trains a model whose numbers stand for the data's :meth:`alphabet`, pieces or characters.

    ``bundle``: one to go on from, by name or directory; its alphabet must be the data's.
    """

    task: ClassVar[str]
    alphabet_name: ClassVar[str]
    """What it is called; its file in a bundle is this with ``.json``."""

    def __init__(self, optimiser: OptimiserSettings, decoding: Any, bundle: str | None) -> None:
        super().__init__()
        self.optimiser_settings, self.decoding_settings = optimiser, decoding
        self.bundle = bundle
        self.model: Any = None
        self.model_config: dict[str, Any] = {}

    @property
    def data(self) -> Any:
        """The data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def alphabet(self) -> Any:
        """The data's."""
        return getattr(self.data, self.alphabet_name)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The model's arguments, where no bundle has them."""

    @abstractmethod
    def build(self, arguments: dict[str, Any]) -> nn.Module:
        """The model."""

    def configure_model(self) -> None:
        """Builds the model once the alphabet is known."""
        if self.model is not None:
            return
        source = None if self.bundle is None else find_bundle(self.task, self.bundle)
        if source is not None and source.asset(self._file) != self.alphabet.to_json():
            raise InvalidOption(
                f"The data's {self.alphabet_name} are not those of bundle {self.bundle!r}.",
                hint=f"Set data.vocabulary_from to {self.bundle!r}.",
            )
        self.model_config = self.settings() if source is None else source.model
        self.model = self.build(self.model_config)
        if source is not None:
            source.load_into(self.model)

    def configure_optimizers(self) -> Any:
        """Adam."""
        steps = int(self.trainer.estimated_stepping_batches)
        groups = [{"params": list(self.model.parameters()), "lr": self.optimiser_settings.lr}]
        fused = "mixed" not in self.trainer.precision
        return scheduled(groups, self.optimiser_settings, steps, fused=fused)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, in plain types."""
        checkpoint["captioner"] = {
            "task": self.task,
            "model": self.model_config,
            "assets": {self._file: self.alphabet.to_json()},
            "preprocessing": None,
            "decoding": asdict(self.decoding_settings),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint whose alphabet is another than the data's."""
        stored = checkpoint.get("captioner")
        if stored is None or stored.get("task") != self.task:
            raise InvalidOption(f"This checkpoint is not one of {self.task!r}.")
        if self.model is not None and stored["assets"][self._file] != self.alphabet.to_json():
            raise InvalidOption(
                f"The checkpoint's {self.alphabet_name} are not those of this data.",
                hint="Resume with the data that it was trained on, or go on from an exported "
                "bundle (model.bundle, data.vocabulary_from).",
            )

    @property
    def _file(self) -> str:
        return f"{self.alphabet_name}.json"
