"""Metrics of frame and clip labels as torchmetrics: collected over batches and ranks.

Segments, and average precision, are no means over batches: every rank keeps its labels, and
``compute`` gathers them all. A video that comes twice counts once, since a distributed sampler
repeats some to give every rank as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from captioner.errors import DataError
from captioner.metrics.proportion import proportion_interval
from captioner.metrics.segments import (
    IGNORED,
    average_precisions,
    changes_per_second,
    class_f1,
    edit_score,
    frame_accuracy,
    segment_f1,
)
from captioner.metrics.words import sentence, word_error_rate


class FrameMetrics(Metric):
    """Scores of frame labels in percent, by the names of ``captioner.metrics.segments``.

    Of one label a frame: ``frame_accuracy``, ``edit``, ``F1@10``, ``F1@25``, ``F1@50``; where there
    is a background, ``foreground_accuracy`` of the frames that are not, ``always_background``, what
    always saying its first name would reach, and ``WER`` of the sequence of segments; and with
    ``per_class`` also ``F1 <class>`` over frames. Of independent labels: ``mAP``, ``frame_F1``
    (over all labels together) and ``changes_per_second`` where times are given.

    Args:
        classes: the names of the labels.
        background: names of labels that make no segments.
        multi_label: labels are independent.
        per_class: also the scores of every class.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    videos: list[Tensor]
    frames: list[Tensor]
    times: list[Tensor]
    predictions: list[Tensor]
    targets: list[Tensor]
    scores: list[Tensor]

    def __init__(
        self,
        classes: Sequence[str],
        *,
        background: Sequence[str] = (),
        multi_label: bool = False,
        per_class: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.classes = list(classes)
        self.background = [self.classes.index(name) for name in background]
        self.multi_label, self.per_class = multi_label, per_class
        for name in _STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._begin()

    def _begin(self) -> None:
        # A rank without videos must still send what the others send, by kind and shape.
        wide = (0, len(self.classes)) if self.multi_label else (0,)
        self._append(
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.float64),
            torch.empty(wide, dtype=torch.int8 if self.multi_label else torch.int64),
            torch.empty(wide, dtype=torch.int8 if self.multi_label else torch.int64),
            torch.empty(wide if self.multi_label else (0, 0), dtype=torch.float32),
        )

    def _append(self, *values: Tensor) -> None:
        for name, value in zip(_STATES, values, strict=True):
            getattr(self, name).append(value.to(self.device))

    def reset(self) -> None:
        """Forget what was collected."""
        super().reset()
        self._begin()

    def update(
        self,
        videos: Tensor,
        predictions: Sequence[Tensor],
        targets: Sequence[Tensor],
        *,
        scores: Sequence[Tensor] | None = None,
        times: Sequence[Tensor] | None = None,
    ) -> None:
        """Collect a batch, one tensor a video, without padding.

        ``videos``: their numbers. ``predictions`` and ``targets (T,)``, class numbers; of
        independent labels ``(T, C)``, 0 or 1, and ``scores (T, C)`` with them. Targets are -1
        where there is no label. ``times (T,)`` in seconds.
        """
        for row, (video, prediction, target) in enumerate(
            zip(videos.tolist(), predictions, targets, strict=True)
        ):
            count = len(target)
            kind = torch.int8 if self.multi_label else torch.int64
            seconds = torch.arange(count) if times is None else times[row]
            given = torch.empty(count, 0) if scores is None else scores[row]
            self._append(
                torch.full((count,), int(video)),
                torch.arange(count),
                seconds.double(),
                prediction.to(kind),
                target.to(kind),
                given.detach().float(),
            )

    def compute(self) -> dict[str, Tensor]:
        """The scores, float64 scalars on the CPU. ``DataError`` where no frame is labelled."""
        found = self._by_video()
        scores = self._multi(found) if self.multi_label else self._single(found)
        return {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}

    def labels(self) -> tuple[list[Tensor], list[Tensor]]:
        """Predictions and targets of every video, in the order of their numbers."""
        found = self._by_video()
        return found["predictions"], found["targets"]

    def _single(self, found: dict[str, list[Tensor]]) -> dict[str, float]:
        pair = found["predictions"], found["targets"]
        scores = {
            "frame_accuracy": frame_accuracy(*pair),
            "edit": edit_score(*pair, background=self.background),
        }
        by_overlap = segment_f1(*pair, background=self.background)
        scores |= {f"F1@{overlap}": value for overlap, value in by_overlap.items()}
        if self.background:
            scores |= self._foreground(*pair)
        if self.per_class:
            scores |= {f"F1 {self.classes[n]}": value for n, value in class_f1(*pair).items()}
        return scores

    def _foreground(self, predictions: list[Tensor], targets: list[Tensor]) -> dict[str, float]:
        always = [torch.full_like(target, self.background[0]) for target in targets]
        found = {
            "foreground_accuracy": frame_accuracy(predictions, targets, background=self.background),
            "always_background": frame_accuracy(always, targets),
        }
        said, meant = (
            [sentence(video, background=self.background) for video in videos]
            for videos in (predictions, targets)
        )
        return found | ({"WER": word_error_rate(said, meant)} if any(meant) else {})

    def _multi(self, found: dict[str, list[Tensor]]) -> dict[str, float]:
        prediction, target = torch.cat(found["predictions"]), torch.cat(found["targets"])
        precisions = average_precisions(torch.cat(found["scores"]), target)
        counted = target != IGNORED
        hits = int(((prediction == 1) & (target == 1)).sum())
        total = int(((prediction == 1) & counted).sum()) + int((target == 1).sum())
        scores = {
            "mAP": sum(precisions.values()) / max(1, len(precisions)),
            "frame_F1": 100 * 2 * hits / max(1, total),
            "changes_per_second": changes_per_second(found["predictions"], found["times"]),
        }
        if self.per_class:
            scores |= {f"AP {self.classes[n]}": value for n, value in precisions.items()}
        return scores

    def _by_video(self) -> dict[str, list[Tensor]]:
        state = {name: dim_zero_cat(getattr(self, name)).cpu() for name in _STATES}
        videos, frames = state["videos"], state["frames"]
        # Sorted by video and frame; what is equal in both to the one before it came twice.
        order = torch.argsort(frames, stable=True)
        order = order[torch.argsort(videos[order], stable=True)]
        same = (videos[order][1:] == videos[order][:-1]) & (frames[order][1:] == frames[order][:-1])
        order = order[torch.cat([torch.ones(min(1, len(order)), dtype=torch.bool), ~same])]
        sizes = videos[order].unique_consecutive(return_counts=True)[1].tolist()
        return {name: list(value[order].split(sizes)) for name, value in state.items()}


_STATES = ("videos", "frames", "times", "predictions", "targets", "scores")


class ClipMetrics(Metric):
    """Accuracy of clips' labels in percent, with its 95 % interval.

    ``accuracy``, ``accuracy_low``, ``accuracy_high`` (Wilson's interval); with ``per_class`` the
    share of each class's clips that is right, ``recall <class>``. Clips without a label do not
    count. ``DataError`` where there are none.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    records: list[Tensor]

    def __init__(
        self,
        classes: Sequence[str],
        *,
        per_class: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.classes, self.per_class = list(classes), per_class
        self.add_state("records", default=[], dist_reduce_fx="cat")
        self._begin()

    def _begin(self) -> None:
        self.records.append(torch.empty(0, 3, dtype=torch.int64, device=self.device))

    def reset(self) -> None:
        """Forget what was collected."""
        super().reset()
        self._begin()

    def update(self, clips: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Collect a batch: numbers of the clips, predicted and true classes, all ``(B,)``."""
        self.records.append(torch.stack([clips, predictions, targets], 1).to(self.device))

    def labels(self) -> Tensor:
        """``(clips, 3)``: number, prediction and truth of each labelled clip, by number."""
        records = dim_zero_cat(self.records).cpu().unique(dim=0)
        return records[records[:, 2] != IGNORED]

    def compute(self) -> dict[str, Tensor]:
        """The scores, float64 scalars on the CPU."""
        records = self.labels()
        if not len(records):
            raise DataError("There is no labelled clip to score.", hint="Give at least one.")
        right = (records[:, 1] == records[:, 2]).double()
        low, high = proportion_interval(int(right.sum()), len(right))
        scores = {
            "accuracy": 100 * float(right.mean()),
            "accuracy_low": 100 * low,
            "accuracy_high": 100 * high,
        }
        if self.per_class:
            for number in records[:, 2].unique().tolist():
                share = 100 * float(right[records[:, 2] == number].mean())
                scores[f"recall {self.classes[number]}"] = share
        return {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}
