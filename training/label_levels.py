"""From which score a label is on, label by label: the best F1, and few labels that come and go.

The mean of the labels' F1 is a mean, and changes are a sum, so that each label's level can be
chosen by itself. With few photos of a label its own best level is chance; it is held near the level
that is best for all.

Letters: K levels, N sequences, T frames, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captioner.metrics.segments import IGNORED
from captioner.models.smoothing import hysteresis, viterbi_labels
from training.data.video_examples import ClipExample

LEVELS = torch.linspace(-3.0, 1.4, 23)  # logits that are tried: probabilities from 0.05 to 0.8
NEAR = 0.05  # points of the mean F1 that a label must bring to be a logit off the common level


class Scored(NamedTuple):
    """In percent, and changes a second; ``excess`` are those that the truth does not have."""

    f1: float
    changes: float
    excess: float


@dataclass(frozen=True)
class Rule:
    """How labels are decided, as :class:`~captioner.tasks.frame_decoding.FrameDecoding` has it.

    ``hysteresis``: a label goes off at ``amount`` times the probability at which it comes.
    ``viterbi``: a change costs ``amount`` nats.
    """

    kind: str
    amount: float

    def __str__(self) -> str:
        words = {"hysteresis": "off at {:g} of on", "viterbi": "viterbi, {:g} nats"}
        return words[self.kind].format(self.amount)

    def decoding(self, level: Tensor, *, shortest: int = 1) -> dict[str, Any]:
        """A bundle's, for logits ``(C,)``; runs last ``shortest`` frames at least."""
        on = [round(probability, 3) for probability in level.sigmoid().tolist()]
        own: dict[str, Any] = {"switch_penalty": self.amount}
        if self.kind == "hysteresis":
            own = {"off": [round(probability * self.amount, 3) for probability in on]}
        return {
            "thresholds": on,
            "smoothing": {"kind": self.kind, "min_frames": shortest, **own},
        }

    def decide(self, logits: Tensor, level: Tensor) -> Tensor:
        """``(N, T, C)`` -> bool, for a ``level``, a logit: one, or one a label ``(C,)``.

        Frames that are NaN, past a sequence's end, speak for nothing and change nothing before.
        """
        sequences, frames, labels = logits.shape
        logits = torch.where(logits.isnan(), level, logits)
        columns = logits.transpose(0, 1).flatten(1)  # labels do not see each other, nor sequences
        on = level.sigmoid().expand(labels).repeat(sequences)
        if self.kind == "hysteresis":
            found = hysteresis(columns.sigmoid(), on=on, off=on * self.amount)
        else:
            found = viterbi_labels(columns, threshold=on, switch_penalty=self.amount)
        return found.view(frames, sequences, labels).transpose(0, 1)


RULES = (
    *(Rule("hysteresis", share) for share in (1.0, 0.6, 0.4, 0.25)),
    *(Rule("viterbi", penalty) for penalty in (0.5, 1.0, 2.0)),
)


class Truth:
    """The labels of sequences, with what is said of them counted against it."""

    def __init__(self, examples: Sequence[ClipExample]) -> None:
        self._labels = padded([example.labels for example in examples], IGNORED)
        ones = [torch.ones(len(example.labels), dtype=torch.bool) for example in examples]
        self._real = padded(ones, False)
        seconds = [float(example.times[-1] - example.times[0]) for example in examples]
        self.seconds = torch.tensor(seconds, dtype=torch.float64)
        # What a view may have lost is unknown, and was there: that it stays is no change.
        self._changes = self._changed(self._labels != 0)

    def changes(self) -> float:
        """Of the truth itself, a second."""
        return float(self._changes.sum() / self.seconds.sum())

    def counts(self, on: Tensor) -> Tensor:
        """``(N, T, C)`` bool -> ``(4, N, C)``: hits, said and true, changes, those in excess."""
        known = self._labels != IGNORED
        true = self._labels == 1
        said = on & known
        changed = self._changed(on)
        parts = (on & true).sum(1), said.sum(1) + true.sum(1), changed.sum(1)
        return torch.stack([*parts, (changed & ~self._changes).sum(1)]).double()

    def score(self, counts: Tensor) -> Scored:
        """Of ``counts`` of all sequences; labels that are never there have no F1."""
        hits, total, changes, excess = counts.sum(1)
        f1 = (2 * hits / total.clamp(min=1))[(self._labels == 1).any(0).any(0)].mean()
        seconds = self.seconds.sum()
        return Scored(
            100 * float(f1), float(changes.sum() / seconds), float(excess.sum() / seconds)
        )

    def _changed(self, on: Tensor) -> Tensor:
        return (on[:, 1:] != on[:, :-1]) & self._real[:, 1:, None]


def padded(rows: Sequence[Tensor], fill: float) -> Tensor:
    """``(T, …)`` of different lengths -> ``(N, T, …)``."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def all_counts(rule: Rule, logits: Sequence[Tensor], truth: Truth) -> Tensor:
    """Counts at every one of :data:`LEVELS`, ``(K, 4, N, C)``."""
    together = padded(logits, torch.nan)
    return torch.stack([truth.counts(rule.decide(together, level)) for level in LEVELS])


def best_levels(counts: Tensor, seconds: Tensor, worth: float) -> Tensor:
    """Numbers of the best levels ``(C,)``, for ``counts (K, 4, N, C)`` of sequences so long.

    What is best: points of the mean F1 of labels, less ``worth`` for each change a second.
    """
    hits, total, changes, _ = counts.sum(2).unbind(1)
    labels = counts.shape[3]
    gain = 100 * 2 * hits / total.clamp(min=1) / labels - worth * changes / seconds.sum()
    common = LEVELS[gain.sum(1).argmax()]
    return (gain - NEAR * (LEVELS - common).square().unsqueeze(1)).argmax(0)


def chosen_apart(counts: Tensor, truth: Truth, worth: float) -> Scored:
    """The score of levels that were chosen on every other sequence and count on the rest, twice."""
    first = torch.arange(counts.shape[2]) % 2 == 0
    labels = torch.arange(counts.shape[3])
    found = torch.empty_like(counts[0])
    for half in (first, ~first):
        levels = best_levels(counts[:, :, half], truth.seconds[half], worth)
        found[:, ~half] = counts[levels, :, :, labels][:, :, ~half].permute(1, 2, 0)
    return truth.score(found)
