"""Caption metrics as a torchmetrics Metric: the same functions, collected over batches and ranks.

The scores of a set are no mean over its batches (BLEU sums counts, CIDEr-D takes its idf from all
references), so every rank keeps its captions, and ``compute`` gathers them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from captioner.metrics import DocumentFrequency, caption_intervals, caption_scores, signature
from captioner.metrics.captions import Caption


@dataclass(frozen=True, order=True)
class ScoredCaption:
    """One image's caption and references, tokenised; ``image`` is its number in the table."""

    image: int
    candidate: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]


class CaptionMetrics(Metric):
    """Scores of captions in percent, by the names of ``captioner.metrics.caption_scores``.

    An image that comes twice counts once: a distributed sampler repeats images to give every rank
    as many. Under DDP every rank gets the same scores, those of one process.

    Args:
        document_frequency: a fixed idf for CIDEr-D, for small sets.
        training_captions: what ``captioner.metrics.caption_set`` makes of the training captions;
            adds ``seen_in_training``.
        num_draws: of the bootstrap. Above 0, ``CIDEr_low``, ``CIDEr_high`` and the like for
            ``BLEU-4`` and ``ROUGE-L`` are added: the 95 % interval.
        seed: of the bootstrap.

    Attributes:
        scored: the captions of the last ``compute``, of all ranks, in the order of the images.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    records: list[Tensor]

    def __init__(
        self,
        *,
        document_frequency: DocumentFrequency | None = None,
        training_captions: frozenset[str] | None = None,
        num_draws: int = 0,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.document_frequency = document_frequency
        self.training_captions = training_captions
        self.num_draws, self.seed = num_draws, seed
        self.scored: list[ScoredCaption] = []
        self.add_state("records", default=[], dist_reduce_fx="cat")
        self._begin()

    def _begin(self) -> None:
        # A rank without images must still send bytes; torchmetrics would make it send floats.
        self.records.append(torch.empty(0, dtype=torch.uint8, device=self.device))

    def reset(self) -> None:
        """Forget the captions collected; ``scored`` stays until the next ``compute``."""
        super().reset()
        self._begin()

    def update(
        self,
        images: Iterable[int],
        candidates: Sequence[Caption],
        references: Sequence[Sequence[Caption]],
    ) -> None:
        """Collect a batch: image numbers ``(batch,)``, tokenised captions, tokenised references."""
        lines = [
            json.dumps([int(image), list(candidate), [list(caption) for caption in captions]])
            for image, candidate, captions in zip(images, candidates, references, strict=True)
        ]
        data = bytearray("".join(line + "\n" for line in lines).encode("ascii"))
        if data:
            self.records.append(torch.frombuffer(data, dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The scores, each a float64 scalar on the CPU. ``DataError`` where there is no caption."""
        self.scored = _distinct(dim_zero_cat(self.records))
        candidates = [scored.candidate for scored in self.scored]
        references = [scored.references for scored in self.scored]
        scores = caption_scores(
            candidates,
            references,
            document_frequency=self.document_frequency,
            training_captions=self.training_captions,
        )
        if self.num_draws:
            intervals = caption_intervals(
                candidates,
                references,
                document_frequency=self.document_frequency,
                num_draws=self.num_draws,
                seed=self.seed,
            )
            for name, (low, high) in intervals.items():
                scores |= {f"{name}_low": low, f"{name}_high": high}
        return {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}

    def signature(self, search: str) -> str:
        """The line to print with the last ``compute``'s scores; ``search`` names the search."""
        return signature(
            [scored.references for scored in self.scored],
            search=search,
            document_frequency=self.document_frequency,
        )


def _distinct(records: Tensor) -> list[ScoredCaption]:
    """One caption an image, by number: the order does not depend on ranks or batches."""
    lines = records.cpu().numpy().tobytes().decode("ascii").splitlines()
    found: dict[int, ScoredCaption] = {}
    for image, candidate, references in sorted(json.loads(line) for line in lines):
        captions = tuple(tuple(caption) for caption in references)
        found.setdefault(image, ScoredCaption(image, tuple(candidate), captions))
    return list(found.values())
