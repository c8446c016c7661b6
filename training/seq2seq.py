"""Training a translator: cross-entropy with teacher forcing, chosen by BLEU of free translations.

A batch is what :class:`training.data.parallel.ParallelExamples` describes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional

from captioner.bundle import find_bundle
from captioner.errors import InvalidOption
from captioner.models.seq2seq import Seq2Seq
from captioner.search import SearchOptions
from captioner.text.pieces import Pieces
from training.optimiser import scheduled
from training.settings import (
    DecoderSettings,
    OptimiserSettings,
    SentenceEncoderSettings,
    TranslationSearch,
)
from training.text_metrics import TranslationMetrics
from training.video_module import share


class Seq2SeqModule(lightning.LightningModule):
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
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InvalidOption(f"label_smoothing is {label_smoothing}.", hint="From 0 up to 1.")
        self.source_settings, self.decoder_settings, self.tied = source, decoder, tied
        self.optimiser_settings, self.search_settings = optimiser, search
        self.label_smoothing, self.bundle = label_smoothing, bundle
        self.model: Seq2Seq | None = None
        self.model_config: dict[str, Any] = {}
        self.metrics = TranslationMetrics()

    @property
    def data(self) -> Any:
        """The data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def configure_model(self) -> None:
        """Builds the model once the pieces are known."""
        if self.model is not None:
            return
        self.pieces: Pieces = self.data.pieces
        source = None if self.bundle is None else find_bundle("translate", self.bundle)
        if source is None:
            decoder = asdict(self.decoder_settings) | {"tied": self.tied}
            self.model_config = {
                "source": asdict(self.source_settings),
                "decoder": decoder,
                "vocabulary_size": len(self.pieces),
                "tied": self.tied,
            }
        else:
            if source.asset("pieces.json") != self.pieces.to_json():
                raise InvalidOption(
                    f"The data's pieces are not those of bundle {self.bundle!r}.",
                    hint=f"Set data.vocabulary_from to {self.bundle!r}.",
                )
            self.model_config = source.model
        self.model = Seq2Seq(**self.model_config)
        if source is not None:
            source.load_into(self.model)

    # -- steps ------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the next piece, smoothed."""
        assert self.model is not None
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        real = steps < batch["lengths"].unsqueeze(1)
        read, _ = self.model(batch["sources"], batch["source_lengths"], inputs, batch["lengths"])
        pieces = targets[real]
        log_probs = self.model.decoder.logits(read[real]).float().log_softmax(1)
        plain = functional.nll_loss(log_probs, pieces)
        loss = (1 - self.label_smoothing) * plain - self.label_smoothing * log_probs.mean()
        self.log("train_loss", plain.detach(), prog_bar=True, batch_size=len(inputs))
        return loss * share(self, torch.tensor(len(pieces), device=self.device))

    def translations(self, batch: dict[str, Tensor], options: SearchOptions) -> list[str]:
        """Detokenised translations by free-running search."""
        assert self.model is not None
        found = self.model.translate(batch["sources"], batch["source_lengths"], options)
        return [self.pieces.decode(best[0].ids) for best in found]

    def search_options(self) -> SearchOptions:
        """What validation searches with."""
        return SearchOptions(**asdict(self.search_settings))

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

    def configure_optimizers(self) -> Any:
        """Adam."""
        assert self.model is not None
        steps = int(self.trainer.estimated_stepping_batches)
        groups = [{"params": list(self.model.parameters()), "lr": self.optimiser_settings.lr}]
        fused = "mixed" not in self.trainer.precision
        return scheduled(groups, self.optimiser_settings, steps, fused=fused)

    # -- checkpoints ------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, in plain types."""
        pair = dict(zip(("source", "target"), self.data.languages, strict=True))
        checkpoint["captioner"] = {
            "task": "translate",
            "model": self.model_config,
            "assets": {"pieces.json": self.pieces.to_json(), "pair.json": json.dumps(pair)},
            "preprocessing": None,
            "decoding": asdict(self.search_settings),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint whose pieces are others than the data's."""
        stored = checkpoint.get("captioner")
        if stored is None or stored.get("task") != "translate":
            raise InvalidOption("This checkpoint is not one of a translator.")
        if self.model is not None and stored["assets"]["pieces.json"] != self.pieces.to_json():
            raise InvalidOption(
                "The checkpoint's pieces are not those of this data.",
                hint="Resume with the files and vocabulary_size that it was trained with.",
            )
