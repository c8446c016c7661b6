"""Training a translator: cross-entropy with teacher forcing, chosen by BLEU of free translations.

A batch is what :class:`training.data.parallel.ParallelExamples` describes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from captioner.bundle import find_bundle
from captioner.errors import InvalidOption
from captioner.models.seq2seq import Seq2Seq
from captioner.search import SearchOptions
from captioner.tasks.translate import said_by
from training.processes import share
from training.settings import (
    DecoderSettings,
    OptimiserSettings,
    SentenceEncoderSettings,
    TranslationSearch,
)
from training.text_metrics import TranslationMetrics
from training.text_module import TextModule


class Seq2SeqModule(TextModule):
    """Trains a :class:`~captioner.models.seq2seq.Seq2Seq`.

    Args:
        source: what reads.
        decoder: what writes.
        tied: one embedding for both languages and the read-out.
        optimiser: rates and schedule.
        search: how validation translates, and the bundle's default.
        label_smoothing: share of probability spread over all pieces.
        bundle: a bundle to go on from, by name or directory: its model replaces source's and
            decoder's settings. It needs data.vocabulary_from, so that pieces keep their numbers.
    """

    task, alphabet_name = "translate", "pieces"
    monitor = "BLEU"

    def __init__(
        self,
        source: SentenceEncoderSettings = SentenceEncoderSettings(),  # noqa: B008
        decoder: DecoderSettings = DecoderSettings(  # noqa: B008
            cell="gru", hidden_size=256, attention="soft", dropout=0.3
        ),
        tied: bool = True,
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
        search: TranslationSearch = TranslationSearch(),  # noqa: B008
        label_smoothing: float = 0.1,
        bundle: str | None = None,
    ) -> None:
        super().__init__(optimiser, search, bundle)
        if not 0 <= label_smoothing < 1:
            raise InvalidOption(f"label_smoothing is {label_smoothing}.", hint="From 0 up to 1.")
        self.source_settings, self.decoder_settings, self.tied = source, decoder, tied
        self.label_smoothing = label_smoothing
        self.metrics = TranslationMetrics()

    def settings(self) -> dict[str, Any]:
        """The arguments of :class:`~captioner.models.seq2seq.Seq2Seq`."""
        return {
            "source": asdict(self.source_settings),
            "decoder": asdict(self.decoder_settings) | {"tied": self.tied},
            "vocabulary_size": len(self.alphabet),
            "tied": self.tied,
        }

    def build(self, arguments: dict[str, Any]) -> Seq2Seq:
        """The translator."""
        return Seq2Seq(**arguments)

    # -- steps ------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the next piece, smoothed."""
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        real = steps < batch["lengths"].unsqueeze(1)
        read, _ = self.model(batch["sources"], batch["source_lengths"], inputs, batch["lengths"])
        pieces = targets[real]
        log_probs = self.model.decoder.logits(read[real]).float().log_softmax(1)
        plain = functional.nll_loss(log_probs, pieces)
        loss = (1 - self.label_smoothing) * plain - self.label_smoothing * log_probs.mean()
        self.log("train_loss", plain.detach(), prog_bar=True, batch_size=len(inputs))
        return loss * share(self, len(pieces))

    def translations(self, batch: dict[str, Tensor], options: SearchOptions) -> list[str]:
        """Detokenised translations by free-running search."""
        found = self.model.translate(batch["sources"], batch["source_lengths"], options)
        return [self.alphabet.decode(best[0].ids) for best in found]

    def search_options(self) -> SearchOptions:
        """What validation searches with."""
        return SearchOptions(**asdict(self.decoding_settings))

    def _score(self, batch: dict[str, Tensor], split: str) -> None:
        indices = batch["index"].tolist()
        pairs = self.data.examples(split).pairs
        references = [pairs[index].target for index in indices]
        self.metrics.update(indices, self.translations(batch, self.search_options()), references)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Translations without teacher forcing."""
        self._score(batch, "validation")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same on the test split."""
        self._score(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Logs the scores; ``BLEU`` chooses the checkpoint."""
        self._log_scores()

    def on_test_epoch_end(self) -> None:
        """Logs the scores."""
        self._log_scores()

    def _log_scores(self) -> None:
        scores = self.metrics.compute()
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            values = ", ".join(f"{name} {float(value):.2f}" for name, value in scores.items())
            print(f"\n{values} ({self.search_options().name}) {self.metrics.signatures['BLEU']}")
        self.metrics.reset()
        self.log_dict(
            {name: float(value) for name, value in scores.items()},
            prog_bar=True,
            rank_zero_only=False,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, the languages too."""
        super().on_save_checkpoint(checkpoint)
        pair = dict(zip(("source", "target"), self.data.languages, strict=True))
        checkpoint["captioner"]["assets"]["pair.json"] = json.dumps({**pair, "said": self.said()})

    def said(self) -> list[int] | None:
        """The pieces that the model is to say: its data's, and those of the bundle it came from."""
        data: list[int] = self.data.said
        if self.bundle is None:
            return data
        before = said_by(find_bundle(self.task, self.bundle), self.alphabet)
        return before and sorted({*before, *data})
