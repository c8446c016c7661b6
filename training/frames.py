"""Training a frame labeller: a loss for every labelled frame, chosen by what decoding says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.metrics.segments import IGNORED
from captioner.models.frame_losses import frame_loss
from captioner.models.smoothing import hysteresis, viterbi, viterbi_labels
from captioner.models.video_labeller import VideoLabeller
from training.frame_metrics import FrameMetrics
from training.processes import share
from training.settings import FrameDecodingSettings, LabellerSettings, OptimiserSettings
from training.video_module import PRETRAINED, VideoModule, without_padding


class FramesModule(VideoModule):
    """Trains a :class:`~captioner.models.frames.FrameLabeller`.

    A batch has ``labels (B, T)`` int64, or of independent labels ``(B, T, C)``, 1 or 0; -1 is no
    label, past the end too. For the rest see :class:`VideoModule`. Validation logs
    ``frame_accuracy``, ``edit`` and ``F1@{10,25,50}``, of independent labels ``mAP``.

    Args:
        encoder: kind and settings of what makes features of frames; by default a ResNet-18 with
            ImageNet's weights, frozen. See captioner.models.video_labeller.FRAME_ENCODERS. With
            {bundle: caption} it is a caption bundle's, and a bundle of labels shares its file.
        labeller: what reads the features.
        optimiser: rates and schedule.
        decoding: from scores to labels.
        label_smoothing: share of probability spread over all classes, where a frame has one.
        smoothing: weight of the smoothing term between neighbouring frames (MS-TCN).
        class_weights: balanced weighs classes by one over their share of the training frames;
            of independent labels, positives by negatives over positives, at most 20.
        background: labels that make no segments.
        monitor: the score that best.ckpt has the most of; null for frame_accuracy, or mAP.
        cache: folder for frames, maps or features.
    """

    task = "frames"
    metrics: FrameMetrics | None

    def __init__(
        self,
        encoder: dict[str, Any] = PRETRAINED,
        labeller: LabellerSettings = LabellerSettings(),  # noqa: B008
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
        decoding: FrameDecodingSettings = FrameDecodingSettings(),  # noqa: B008
        label_smoothing: float = 0.0,
        smoothing: float = 0.15,
        class_weights: Literal["none", "balanced"] = "none",
        background: list[str] = [],  # noqa: B006
        monitor: str | None = None,
        cache: str = "runs/features",
    ) -> None:
        super().__init__(encoder, optimiser, cache)
        if not 0 <= label_smoothing < 1:
            raise InvalidOption(f"label_smoothing is {label_smoothing}.", hint="From 0 up to 1.")
        if smoothing < 0:
            raise InvalidOption(f"smoothing is {smoothing}.", hint="At least 0.")
        self.labeller_settings, self.decoding_settings = labeller, decoding
        self.label_smoothing = label_smoothing
        self.smoothing, self.class_weights = smoothing, class_weights
        self.background, self._monitor = background, monitor
        self.register_buffer("weight", None, persistent=False)

    @property
    def monitor(self) -> str:
        """As chosen; else the accuracy of frames, or mAP."""
        return self._monitor or ("mAP" if self.data.multi_label else "frame_accuracy")

    def build(self, encoder: dict[str, Any]) -> tuple[VideoLabeller, dict[str, Any]]:
        """The model and its arguments."""
        self.multi_label = bool(self.data.multi_label)
        unknown = [name for name in self.background if name not in self.classes]
        if unknown:
            raise InvalidOption(
                f"The background {unknown[0]!r} is none of the labels.",
                hint=f"They are {', '.join(self.classes)}.",
            )
        if self.decoding_settings.smoothing == "hysteresis" and not self.multi_label:
            raise InvalidOption("hysteresis is for independent labels.", hint="Take viterbi.")
        settings = {**asdict(self.labeller_settings), "multi_label": self.multi_label}
        model = VideoLabeller(encoder, settings, num_classes=len(self.classes))
        return model, {"labeller": settings}

    def new_metrics(self) -> FrameMetrics:
        """Of every class, too, where it is no fit."""
        return FrameMetrics(
            self.classes,
            background=self.background,
            multi_label=self.multi_label,
            per_class=not self.is_fit,
        )

    def decoding(self) -> dict[str, Any]:
        """As ``captioner.tasks`` reads it."""
        chosen = self.decoding_settings
        rule: dict[str, Any] = {}
        if chosen.smoothing == "viterbi":
            rule = {"switch_penalty": chosen.switch_penalty, "min_frames": chosen.min_frames}
        elif chosen.smoothing == "hysteresis":
            rule = {"off": chosen.off, "min_frames": 1}
        return {
            "every_s": getattr(self.data, "every_s", None) or 0.0,
            "thresholds": chosen.threshold,
            "smoothing": {"kind": chosen.smoothing, **rule} if rule else {},
            "background": list(self.background),
        }

    def on_fit_start(self) -> None:
        """Frames or features, and the weights of the classes."""
        super().on_fit_start()
        if self.class_weights == "balanced":
            labels = self.data.frame_labels("train")
            self.weight = balanced_weights(
                [torch.as_tensor(video) for video in labels], len(self.classes)
            ).to(self.device)

    def stages(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """Logits ``(B, T, C)`` of each of the labeller's stages."""
        assert isinstance(self.model, VideoLabeller)
        features = self.features(batch)
        # In float32 also where the encoder is not: a state rounded at each step drifts.
        with torch.autocast(features.device.type, enabled=False):
            return self.model.labeller.stages(features.float(), batch["lengths"])[0]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the labelled frames, of every stage, and the smoothing term."""
        labels = batch["labels"]
        stages = self.stages(batch)
        options = {"multi_label": self.multi_label, "weight": self.weight}
        loss = frame_loss(
            stages,
            labels,
            smoothing=self.smoothing,
            label_smoothing=self.label_smoothing,
            **options,
        )
        with torch.no_grad():
            plain = frame_loss(stages[-1:], labels, smoothing=0, **options)
        self.log("train_loss", plain, prog_bar=True, batch_size=len(labels))
        return loss * share(self, (labels != IGNORED).sum())

    def decide(self, logits: Tensor) -> Tensor:
        """One video's labels: ``(T, C)`` -> ``(T,)`` int64, or 0 and 1 of each label ``(T, C)``."""
        chosen = self.decoding_settings
        if chosen.smoothing == "viterbi":
            rule: dict[str, Any] = {
                "switch_penalty": chosen.switch_penalty,
                "min_frames": chosen.min_frames,
            }
            if self.multi_label:
                return viterbi_labels(logits, threshold=chosen.threshold, **rule).long()
            return viterbi(logits.log_softmax(1), **rule)
        if chosen.smoothing == "hysteresis":
            on = hysteresis(logits.sigmoid(), on=chosen.threshold, off=chosen.off)
            return on.long()
        if self.multi_label:
            return (logits.sigmoid() >= chosen.threshold).long()
        return logits.argmax(1)

    def _score(self, batch: dict[str, Tensor]) -> None:
        assert self.metrics is not None
        lengths = batch["lengths"]
        logits = list(without_padding(self.stages(batch)[-1], lengths))
        times = batch.get("times")
        self.metrics.update(
            batch["index"],
            [self.decide(rows) for rows in logits],
            list(without_padding(batch["labels"], lengths)),
            scores=[rows.sigmoid() for rows in logits] if self.multi_label else None,
            times=None if times is None else list(without_padding(times, lengths)),
        )

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Labels of whole clips, decoded."""
        self._score(batch)

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same on the test split."""
        self._score(batch)


def balanced_weights(labels: list[Tensor], num_classes: int) -> Tensor:
    """A weight for each class from the labels of the training frames, ``(C,)``.

    One class a frame: ``frames / (classes · frames of the class)``, 1 where there is none of it.
    Independent labels, ``(T, C)``: negatives over positives, from 1 to 20.
    """
    together = torch.cat(labels)
    if together.dim() == 2:
        positive = (together == 1).sum(0)
        return ((together == 0).sum(0) / positive.clamp(min=1)).clamp(1, 20)
    counts = torch.bincount(together[together != IGNORED], minlength=num_classes).float()
    weights = counts.sum() / (num_classes * counts.clamp(min=1))
    return torch.where(counts > 0, weights, 1.0)
