"""From a labeller's probabilities to labels that are on or off, and from those to runs with times.

Letters: T labelled frames, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from captioner.models.smoothing import hysteresis, viterbi, viterbi_labels

SMOOTHINGS = {
    "none": (),
    "hysteresis": ("off", "min_frames"),
    "viterbi": ("switch_penalty", "min_frames"),
}
_EPSILON = 1e-6  # probabilities this near to 0 and 1 have no logarithm in float32


@dataclass(frozen=True)
class FrameDecoding:
    """A frames bundle's ``decoding``: how the model was measured, and what nobody asked otherwise.

    ``every_s``: seconds between the frames that the model was trained on (0: every frame).
    ``top_k`` and ``min_score``: of the labels that are listed for a frame. ``thresholds``, one or
    one a label: the probability from which a label of a multi-label model is on. ``background``:
    labels that make no segments.

    ``smoothing``: ``{}``, each frame by itself; ``{"kind": "hysteresis", "off": …}``, multi-label
    and causal: a label that is on stays until its probability is below ``off``, one or one a label,
    and runs of fewer than ``min_frames`` labelled frames are left out;
    ``{"kind": "viterbi", "switch_penalty": …, "min_frames": …}``, of the whole video once it was
    read. See :mod:`captioner.models.smoothing`.
    """

    every_s: float = 1.0
    top_k: int = 5
    min_score: float = 0.0
    thresholds: float | Sequence[float] = 0.5
    smoothing: Mapping[str, Any] = field(default_factory=dict)
    background: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.every_s <= 3600:
            raise ValueError(f"every_s is {self.every_s}; it can be from 0 to 3600")
        if self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it can be 1 or more")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}; it can be from 0 to 1")
        if self.kind not in SMOOTHINGS:
            raise ValueError(f"smoothing is {self.kind!r}; it can be {', '.join(SMOOTHINGS)}")
        unknown = set(self.smoothing) - {"kind", *SMOOTHINGS[self.kind]}
        if unknown:
            raise ValueError(f"smoothing of the kind {self.kind!r} takes no {min(unknown)!r}")

    @property
    def kind(self) -> str:
        """The kind of smoothing."""
        return str(self.smoothing.get("kind", "none"))

    @property
    def whole(self) -> bool:
        """Whether the labels of a frame depend on later ones."""
        return self.kind == "viterbi"


class Decider:
    """Which labels are on, chunk by chunk: what a :class:`FrameDecoding` says, for these labels.

    Raises ValueError where the decoding does not fit the labels or the kind of model.
    """

    def __init__(
        self, decoding: FrameDecoding, labels: Sequence[str], *, multi_label: bool
    ) -> None:
        self._multi_label = multi_label
        self._smoothing = decoding.smoothing
        self._kind = decoding.kind
        self._on = _levels("thresholds", decoding.thresholds, len(labels))
        unknown = set(decoding.background) - set(labels)
        if unknown:
            raise ValueError(f"the background {min(unknown)!r} is none of the labels")
        self._shown = torch.tensor([label not in decoding.background for label in labels])
        if self._kind == "hysteresis":
            if not multi_label:
                raise ValueError("hysteresis is for labels that are independent (multi_label)")
            self._off = _levels("smoothing.off", self._smoothing.get("off"), len(labels))
        self.decide(torch.full((1, len(labels)), 0.5))  # what does not fit fails here

    @property
    def shortest(self) -> int:
        """Labelled frames of a run at least, where the rule itself does not see to it."""
        return int(self._smoothing.get("min_frames", 1)) if self._kind == "hysteresis" else 1

    def decide(self, probabilities: Tensor, before: Tensor | None = None) -> Tensor:
        """``(T, L)`` -> ``(T, L)`` bool; ``before (L,)``: the row before, for hysteresis alone."""
        if self._kind == "viterbi":
            penalty = float(self._smoothing.get("switch_penalty", 0.0))
            shortest = int(self._smoothing.get("min_frames", 1))
            if self._multi_label:
                logits = probabilities.clamp(_EPSILON, 1 - _EPSILON).logit()
                on = viterbi_labels(
                    logits, threshold=self._on, switch_penalty=penalty, min_frames=shortest
                )
            else:
                log_probs = probabilities.clamp(min=_EPSILON).log()
                on = self._one_hot(viterbi(log_probs, switch_penalty=penalty, min_frames=shortest))
        elif self._kind == "hysteresis":
            on = hysteresis(probabilities, on=self._on, off=self._off, before=before)
        elif self._multi_label:
            on = probabilities >= self._on
        else:
            on = self._one_hot(probabilities.argmax(1))
        return on & self._shown

    def _one_hot(self, classes: Tensor) -> Tensor:
        return functional.one_hot(classes, len(self._shown)).bool()


@dataclass
class Run:
    """A label that is on over neighbouring frames; ``keepsake`` is its best frame's."""

    label: int
    start_s: float
    start_frame: int
    end_s: float = 0.0
    end_frame: int = 0
    frames: int = 0
    total: float = 0.0
    best: float = -1.0
    keepsake: Any = None

    @property
    def score(self) -> float:
        """The mean over its frames."""
        return self.total / self.frames


class Runs:
    """Runs of labels from frames that come one after the other; fed by chunks or at once."""

    def __init__(self) -> None:
        self._open: dict[int, Run] = {}

    def feed(
        self,
        on: Tensor,
        scores: Tensor,
        frames: Sequence[tuple[int, float]],
        keepsakes: Sequence[Any] | None = None,
    ) -> Iterator[Run]:
        """Runs that end before one of these frames.

        ``on`` and ``scores (T, L)``, ``frames``: index and seconds of each. ``keepsakes``: what is
        to be remembered of each frame, None for nothing; a run keeps that of its likeliest frame.
        """
        for row, (index, time_s) in enumerate(frames):
            now = on[row].nonzero().flatten().tolist()
            for label in sorted(self._open.keys() - set(now)):
                yield self._end(label, index, time_s)
            kept = None if keepsakes is None else keepsakes[row]
            for label in now:
                run = self._open.setdefault(label, Run(label, time_s, index))
                score = float(scores[row, label])
                run.frames += 1
                run.total += score
                if kept is not None and score > run.best:
                    run.best, run.keepsake = score, kept

    def close(self, index: int, time_s: float) -> Iterator[Run]:
        """The runs still going on, which end with the video: ``index`` is the frame after it."""
        for label in sorted(self._open):
            yield self._end(label, index, time_s)

    def _end(self, label: int, index: int, time_s: float) -> Run:
        run = self._open.pop(label)
        run.end_frame, run.end_s = max(index, run.start_frame + 1), max(time_s, run.start_s)
        return run


def _levels(name: str, value: Any, count: int) -> Tensor:
    if value is None:
        raise ValueError(f"{name} is missing")
    levels = torch.as_tensor(value, dtype=torch.float32)
    if levels.dim() and levels.shape != (count,):
        raise ValueError(f"{name} has {levels.numel()} numbers for {count} labels")
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"{name} must lie between 0 and 1")
    return levels
