"""Training a clip classifier: one label for a clip as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.nn import functional

from captioner.errors import DataError, InvalidOption
from captioner.metrics.segments import IGNORED
from captioner.models.video_labeller import VideoClassifier
from training.frame_metrics import ClipMetrics
from training.processes import share
from training.settings import ClassifierSettings, OptimiserSettings
from training.video_module import PRETRAINED, VideoModule


class ClipsModule(VideoModule):
    """Trains a :class:`~captioner.models.frames.ClipClassifier`.

    A batch has ``label (B,)`` int64, -1 for none. For the rest see :class:`VideoModule`. Validation
    logs ``accuracy`` with its 95 % interval, and a run of its own the recall of every class.

    Args:
        encoder: kind and settings of what makes features of frames; by default a ResNet-18 with
            ImageNet's weights, frozen. See captioner.models.video_labeller.FRAME_ENCODERS.
        classifier: what reads the features.
        optimiser: rates and schedule.
        label_smoothing: share of probability spread over all classes.
        cache: folder for frames, maps or features.
    """

    task = "clips"
    metrics: ClipMetrics | None

    def __init__(
        self,
        encoder: dict[str, Any] = PRETRAINED,
        classifier: ClassifierSettings = ClassifierSettings(),  # noqa: B008
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
        label_smoothing: float = 0.0,
        cache: str = "runs/features",
    ) -> None:
        super().__init__(encoder, optimiser, cache)
        if not 0 <= label_smoothing < 1:
            raise InvalidOption(f"label_smoothing is {label_smoothing}.", hint="From 0 up to 1.")
        self.classifier_settings, self.label_smoothing = classifier, label_smoothing

    @property
    def monitor(self) -> str:
        """The accuracy."""
        return "accuracy"

    def build(self, encoder: dict[str, Any]) -> tuple[VideoClassifier, dict[str, Any]]:
        """The model and its arguments."""
        if self.data.multi_label:
            raise DataError(
                "A clip has one label, but data.multi_label is set.",
                hint="Take training.frames.FramesModule.",
            )
        settings = asdict(self.classifier_settings)
        model = VideoClassifier(encoder, settings, num_classes=len(self.classes))
        return model, {"classifier": settings}

    def new_metrics(self) -> ClipMetrics:
        """Of every class, too, where it is no fit."""
        return ClipMetrics(self.classes, per_class=not self.is_fit)

    def decoding(self) -> dict[str, Any]:
        """The rate of frames."""
        return {"every_s": getattr(self.data, "every_s", None) or 0.0}

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """``(B, C)``."""
        assert isinstance(self.model, VideoClassifier)
        logits: Tensor = self.model.classifier(self.features(batch), batch["lengths"])
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the clips that have one label."""
        labels = batch["label"]
        counted = labels != IGNORED
        if not counted.any():
            raise DataError(
                "No clip of a batch has one label for all of its frames.",
                hint="A clip classifier needs a table with one label a video.",
            )
        logits, labels = self.logits(batch)[counted], labels[counted]
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.log("train_loss", loss.detach(), prog_bar=True, batch_size=len(labels))
        return loss * share(self, counted.sum())

    def _score(self, batch: dict[str, Tensor]) -> None:
        assert self.metrics is not None
        self.metrics.update(batch["index"], self.logits(batch).argmax(1), batch["label"])

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The likeliest class."""
        self._score(batch)

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same on the test split."""
        self._score(batch)
