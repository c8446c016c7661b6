"""Scores of translations, collected over batches and processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from captioner.metrics.translation import translation_scores


class TranslationMetrics(Metric):
    """BLEU and chrF2 of all pairs together; a pair that comes twice counts once.

    Attributes:
        scored: translations and references of the last ``compute``, in the order of the pairs.
        signatures: sacrebleu's, of the last ``compute``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    records: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.scored: list[tuple[str, str]] = []
        self.signatures: dict[str, str] = {}
        self.add_state("records", default=[], dist_reduce_fx="cat")
        self._begin()

    def _begin(self) -> None:
        # A process without pairs must still send bytes; torchmetrics would make it send floats.
        self.records.append(torch.empty(0, dtype=torch.uint8, device=self.device))

    def reset(self) -> None:
        """Forget what was collected."""
        super().reset()
        self._begin()

    def update(
        self, indices: Iterable[int], candidates: Sequence[str], references: Sequence[str]
    ) -> None:
        """Collect a batch: numbers of the pairs, translations, references."""
        rows = zip(indices, candidates, references, strict=True)
        data = bytearray("".join(json.dumps(row) + "\n" for row in rows).encode("ascii"))
        if data:
            self.records.append(torch.frombuffer(data, dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The scores, each a float64 scalar."""
        lines = dim_zero_cat(self.records).cpu().numpy().tobytes().decode("ascii").splitlines()
        found = {index: (ours, theirs) for index, ours, theirs in map(json.loads, lines)}
        self.scored = [found[index] for index in sorted(found)]
        scores, self.signatures = translation_scores(
            [ours for ours, _ in self.scored], [theirs for _, theirs in self.scored]
        )
        return {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}
