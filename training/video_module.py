"""What training on videos has in common, whether frames get labels or clips do."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import lightning
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric

from captioner.bundle import find_bundle
from captioner.errors import InvalidOption
from captioner.models.video_labeller import VideoClassifier, VideoLabeller
from captioner.tasks.caption import captioner_of
from captioner.vision.encoder import STAGES, ResNetEncoder
from captioner.vision.hand_path import HandPathEncoder
from training.data.splits import TRAIN
from training.optimiser import scheduled
from training.settings import OptimiserSettings

PRETRAINED = {"kind": "resnet", "depth": 18, "output": "pooled", "weights": "IMAGENET1K_V1"}


class VideoModule(lightning.LightningModule, ABC):
    """The encoder's side, the optimiser and the checkpoint.

    A data module gives ``classes`` (names), ``multi_label``, ``preprocessing`` and ``every_s``, and
    batches that hold one of ``features (B, T, D)`` or paths of hands ``(B, T, 7)``, ``maps (B, T,
    channels, h, w)`` of a ResNet's frozen stages, and ``frames (B, T, C, H, W)`` uint8; with
    ``lengths (B,)``, ``index (B,)``. If it has ``use_clips``, that is asked for what this encoder
    needs: features where it is frozen, maps where its last stages learn, pixels where all of it
    does or it is no ResNet. Of hands the paths are kept, but for validation and test on streams:
    there cuts are not known beforehand.
    """

    task = ""
    model: VideoLabeller | VideoClassifier | None
    metrics: Metric | None

    def __init__(
        self, encoder: Mapping[str, Any], optimiser: OptimiserSettings, cache: str
    ) -> None:
        super().__init__()
        self.encoder_settings = dict(encoder)
        self.optimiser_settings, self.cache = optimiser, cache
        self.model, self.metrics = None, None
        self.classes: list[str] = []

    # -- what a task adds -------------------------------------------------------------------

    @property
    @abstractmethod
    def monitor(self) -> str:
        """The score that ``best.ckpt`` has the most of."""

    @abstractmethod
    def build(self, encoder: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The model, and its keyword arguments but for the encoder's, for the bundle."""

    @abstractmethod
    def new_metrics(self) -> Metric:
        """What validation and test collect."""

    @abstractmethod
    def decoding(self) -> dict[str, Any]:
        """A bundle's ``decoding``."""

    # -- building ---------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def is_fit(self) -> bool:
        """Whether validation is part of a fit, and need not say everything."""
        return bool(self.trainer.state.fn == TrainerFn.FITTING)

    def configure_model(self) -> None:
        """Builds the model once the table, and with it the classes, is known."""
        if self.model is not None:
            return
        self.classes, self.preprocessing = list(self.data.classes), self.data.preprocessing
        settings, pretrained = self._encoder()
        self.model, arguments = self.build(settings)
        if pretrained is not None:
            self.model.encoder.load_state_dict(pretrained.state_dict())
        # A bundle holds the weights themselves; their name would only be fetched again.
        stored = dict(settings)
        if isinstance(self.model.encoder, ResNetEncoder):
            stored |= {"weights": None, "trainable_stages": 0}
            stored.pop("kind", None)
        self.model_config = {"encoder": stored, **arguments, "num_classes": len(self.classes)}
        self.metrics = self.new_metrics()

    def _encoder(self) -> tuple[dict[str, Any], ResNetEncoder | None]:
        settings = dict(self.encoder_settings)
        name = settings.pop("bundle", None)
        if name is None:
            return settings, None
        bundle = find_bundle("caption", name)
        if bundle.preprocessing() != self.preprocessing:
            raise InvalidOption(
                f"The encoder of bundle {name!r} was trained on pixels made otherwise than these.",
                hint=f"Set data.preprocessing to {bundle.preprocessing().to_dict()}.",
            )
        return {**bundle.model["encoder"], **settings}, captioner_of(bundle).encoder

    @property
    def _frozen_stages(self) -> int:
        encoder = None if self.model is None else self.model.encoder
        if isinstance(encoder, ResNetEncoder):
            return len(STAGES) - encoder.trainable_stages
        return 0

    def _use_clips(self, *splits: str) -> None:
        assert self.model is not None
        if not hasattr(self.data, "use_clips"):
            return
        stages = self._frozen_stages
        for split in splits:
            encoder = self.model.encoder if stages else None
            if isinstance(self.model.encoder, HandPathEncoder):
                from_pixels = split != TRAIN and getattr(self.data, "streams", None) is not None
                encoder = None if from_pixels else self.model.encoder
            if self.trainer.is_global_zero:
                self.data.use_clips(split, self.cache, encoder=encoder, stages=stages)
            self.trainer.strategy.barrier()
            self.data.use_clips(split, self.cache, encoder=encoder, stages=stages)

    def on_fit_start(self) -> None:
        """What the encoder needs of the frames, once."""
        self._use_clips("train", "validation")

    def on_validation_start(self) -> None:
        """The same for a validation of its own."""
        if not self.is_fit:
            self._use_clips("validation")

    def on_test_start(self) -> None:
        """The same for a test."""
        self._use_clips("test")

    # -- forward ----------------------------------------------------------------------------

    def features(self, batch: Mapping[str, Tensor]) -> Tensor:
        """``(B, T, D)``, as they come or from maps or pixels."""
        assert self.model is not None
        if "features" in batch:
            if isinstance(self.model.encoder, HandPathEncoder):
                return self.model.encoder.finish(batch["features"], batch["lengths"])
            return batch["features"]
        if "maps" in batch:
            return self.model.features_from(batch["maps"], self._frozen_stages)
        frames = batch["frames"]
        images = self.preprocessing.normalise(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.model.features(images, batch["lengths"])

    def log_scores(self) -> None:
        """Logs what the metrics found, and forgets it."""
        assert self.metrics is not None
        scores = self.metrics.compute()
        self.metrics.reset()
        self.log_dict({name: float(value) for name, value in scores.items()}, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores; ``monitor`` chooses the checkpoint."""
        self.log_scores()

    def on_test_epoch_end(self) -> None:
        """Logs the scores."""
        self.log_scores()

    # -- optimisation -----------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Adam; a ResNet's trainable stages at their own rate, any other encoder at the common."""
        assert self.model is not None
        chosen = self.optimiser_settings
        own, pretrained = [], []
        is_resnet = isinstance(self.model.encoder, ResNetEncoder)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                slow = is_resnet and name.startswith("encoder.")
                (pretrained if slow else own).append(parameter)
        groups: list[dict[str, Any]] = [{"params": own, "lr": chosen.lr}]
        if pretrained:
            groups.append({"params": pretrained, "lr": chosen.encoder_lr})
        steps = int(self.trainer.estimated_stepping_batches)
        return scheduled(groups, chosen, steps, fused="mixed" not in self.trainer.precision)

    # -- checkpoints ------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, in plain types."""
        checkpoint["captioner"] = {
            "task": self.task,
            "model": self.model_config,
            "assets": {"labels.json": json.dumps(self.classes, ensure_ascii=False, indent=0)},
            "preprocessing": self.preprocessing.to_dict(),
            "decoding": self.decoding(),
        }
        crop = getattr(self.data, "crop", None)
        if crop is not None:
            checkpoint["captioner"]["crop"] = asdict(crop)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint with other labels than the table's."""
        stored = checkpoint.get("captioner")
        if stored is None or stored.get("task") != self.task:
            raise InvalidOption(f"This checkpoint is not one of {self.task!r}.")
        labels = json.loads(stored["assets"]["labels.json"])
        if self.model is not None and labels != self.classes:
            raise InvalidOption(
                f"The checkpoint's labels are {', '.join(labels)}; the table's are "
                f"{', '.join(self.classes)}.",
                hint="Set data.classes to the checkpoint's, in their order.",
            )


def without_padding(values: Tensor, lengths: Tensor) -> Iterator[Tensor]:
    """``(B, T, …)`` -> each row up to its length."""
    return (row[:length] for row, length in zip(values, lengths.tolist(), strict=True))
