"""Training a captioner: cross-entropy with teacher forcing, chosen by free-running CIDEr.

A batch is image-wise (``training/data/captions.py``): ``features (images, positions, size)`` or
``pixels (images, 3, side, side)``; ``tokens (rows, 1 + words + 1)`` from start to end;
``lengths (rows,)``, the predicted tokens of each row; ``rows (rows,)``, whose caption it is.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import functional

from captioner.bundle import Bundle, find_bundle
from captioner.errors import InvalidOption
from captioner.metrics import DocumentFrequency, caption_set
from captioner.models.captioner import Captioner
from captioner.search import SearchOptions, search
from captioner.vision.encoder import STAGES
from training.data.splits import TRAIN
from training.features import cached_features
from training.metrics import CaptionMetrics
from training.optimiser import scheduled
from training.processes import share
from training.settings import (
    DecoderSettings,
    EncoderSettings,
    OptimiserSettings,
    ValidationSearch,
)


class CaptionModule(lightning.LightningModule):
    """Trains a :class:`~captioner.models.captioner.Captioner`.

    Args:
        encoder: the photo's side.
        decoder: the words' side.
        optimiser: rates and schedule.
        search: how validation captions.
        label_smoothing: share of probability spread over all words.
        coverage: weight of the doubly stochastic term, (1 - sum over time of attention)^2.
        idf: whose n-grams say how telling a word is in CIDEr: those of the scored captions, as
            papers have it, or of the training captions, for a validation set of a few photos.
        bundle: a bundle to go on from, by name or directory: its model replaces encoder's and
            decoder's settings. It needs data.vocabulary_from, so that its words keep their numbers;
            words that are new in the table follow them.
        cache: folder for features of the frozen stages; null computes them in every epoch.
    """

    def __init__(
        self,
        encoder: EncoderSettings = EncoderSettings(),  # noqa: B008
        decoder: DecoderSettings = DecoderSettings(),  # noqa: B008
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
        search: ValidationSearch = ValidationSearch(),  # noqa: B008
        label_smoothing: float = 0.1,
        coverage: float = 0.5,
        idf: Literal["scored", "train"] = "scored",
        bundle: str | None = None,
        cache: str | None = "runs/features",
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InvalidOption(f"label_smoothing is {label_smoothing}.", hint="From 0 up to 1.")
        self.encoder_settings, self.decoder_settings = encoder, decoder
        self.optimiser_settings, self.search_settings = optimiser, search
        self.label_smoothing, self.coverage = label_smoothing, coverage
        self.idf, self.bundle, self.cache = idf, bundle, cache
        self.model: Captioner | None = None
        self.model_config: dict[str, Any] = {}
        self.metrics: CaptionMetrics | None = None
        self._cut = len(STAGES)

    # -- building ---------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Builds the model once the table, and with it the vocabulary, is known."""
        if self.model is not None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.vocabulary, self.preprocessing = data.vocabulary, data.preprocessing
        encoder = asdict(self.encoder_settings)
        source = None if self.bundle is None else find_bundle("caption", self.bundle)
        if source is not None:
            self._require_words_of(source)
            kept = source.model
            encoder = kept["encoder"] | {"trainable_stages": encoder["trainable_stages"]}
            self.decoder_config = dict(kept["decoder"])
        else:
            self.decoder_config = asdict(self.decoder_settings)
        self.model = Captioner(encoder, self.decoder_config, vocabulary_size=len(self.vocabulary))
        if source is not None:
            self.model.grow_from(source.state(), len(source.vocabulary()))
        # A bundle holds the weights themselves; their name would only be fetched again.
        stored = {**encoder, "weights": None, "trainable_stages": 0}
        self.model_config = {
            "encoder": stored,
            "decoder": self.decoder_config,
            "vocabulary_size": len(self.vocabulary),
        }
        self.metrics = self._new_metrics()
        self._cut = len(STAGES) - self.encoder_settings.trainable_stages

    def _require_words_of(self, source: Bundle) -> None:
        words = source.vocabulary().words
        if self.vocabulary.words[: len(words)] != words:
            raise InvalidOption(
                f"The data's vocabulary does not begin with the words of bundle {self.bundle!r}.",
                hint=f"Set data.vocabulary_from to {self.bundle!r}: each word keeps its number, "
                "and words that are new in the table follow.",
            )

    def _new_metrics(self) -> CaptionMetrics:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        frequency = None
        if self.idf == "train":
            frequency = DocumentFrequency.of(data.references(TRAIN))
        if self.trainer.state.fn == TrainerFn.FITTING:
            return CaptionMetrics(document_frequency=frequency)
        # A validation or test of its own says everything; in a fit that would cost every epoch.
        seen = caption_set(data.references(TRAIN)) if TRAIN in data.tables else None
        return CaptionMetrics(document_frequency=frequency, training_captions=seen, num_draws=1000)

    def _use_cache(self, splits: tuple[str, ...]) -> None:
        assert self.model is not None
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.cache is None or self._cut == 0:
            return
        for split in splits:
            pictures = data.pictures(split)
            if pictures is None:
                continue
            if self.trainer.is_global_zero:
                self._features(pictures, split)
            self.trainer.strategy.barrier()
            data.use_features(split, self._features(pictures, split))

    def _features(self, pictures: Any, split: str) -> Any:
        assert self.model is not None
        assert self.cache is not None
        return cached_features(
            pictures,
            pictures.fingerprint,
            self.model.encoder,
            self.preprocessing,
            self.cache,
            stages=self._cut,
            name=split,
        )

    def on_fit_start(self) -> None:
        """Features of the frozen stages, once."""
        self._use_cache(("train", "validation"))

    def on_validation_start(self) -> None:
        """The same for a validation of its own."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            self._use_cache(("validation",))

    def on_test_start(self) -> None:
        """The same for a test."""
        self._use_cache(("test",))

    # -- forward ----------------------------------------------------------------------------

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """``(images, positions, size)`` from pixels, from cached maps or as cached."""
        assert self.model is not None
        encoder = self.model.encoder
        if "features" not in batch:
            images = self.preprocessing.normalise(batch["pixels"])
            return encoder(images.contiguous(memory_format=torch.channels_last))
        features = batch["features"].float()
        if self._cut == len(STAGES):
            return features
        side = math.isqrt(features.shape[1])
        maps = features.transpose(1, 2).unflatten(2, (side, side))
        return encoder.upper(maps.contiguous(memory_format=torch.channels_last), self._cut)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the next word, smoothed, plus the coverage of the attention."""
        assert self.model is not None
        decoder = self.model.decoder
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        real = steps < batch["lengths"].unsqueeze(1)
        read, attention = decoder(
            self.features(batch), inputs, rows=batch["rows"], lengths=batch["lengths"]
        )
        logits, words = decoder.logits(read[real]), targets[real]
        log_probs = logits.log_softmax(1)
        plain = functional.nll_loss(log_probs, words)
        loss = (1 - self.label_smoothing) * plain - self.label_smoothing * log_probs.mean()
        loss = loss * share(self, len(words))
        images = len(batch["index"])
        self.log("train_loss", plain.detach(), prog_bar=True, batch_size=images)
        if attention is not None and self.coverage:
            covered = (attention * real.unsqueeze(2)).sum(1)
            coverage = (1 - covered).square().mean() * share(self, len(covered))
            loss = loss + self.coverage * coverage
        return loss

    def search_options(self) -> SearchOptions:
        """What validation searches with."""
        return SearchOptions(**asdict(self.search_settings))

    def captions(self, batch: dict[str, Tensor], options: SearchOptions) -> list[list[str]]:
        """Tokenised captions by free-running search, one for each image."""
        assert self.model is not None
        with torch.inference_mode():
            memory = self.model.decoder.memory(self.features(batch))
            found = search(self.model.decoder, memory, options)
        return [self.vocabulary.decode(best[0].ids) for best in found]

    def _score(self, batch: dict[str, Tensor], split: str) -> None:
        assert self.metrics is not None
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        indices = batch["index"].tolist()
        references = [data.references(split)[index] for index in indices]
        self.metrics.update(indices, self.captions(batch, self.search_options()), references)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Captions without teacher forcing."""
        self._score(batch, "validation")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same on the test split."""
        self._score(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Logs the scores; ``CIDEr`` chooses the checkpoint."""
        self._log_scores()

    def on_test_epoch_end(self) -> None:
        """Logs the scores."""
        self._log_scores()

    def _log_scores(self) -> None:
        assert self.metrics is not None
        scores = self.metrics.compute()
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            print(f"\n{self.metrics.signature(self.search_options().name)}")
        self.metrics.reset()
        self.log_dict(
            {name: float(value) for name, value in scores.items()},
            prog_bar=True,
            rank_zero_only=False,
        )

    # -- optimisation -----------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Adam; the encoder's trainable stages at their own rate."""
        assert self.model is not None
        chosen = self.optimiser_settings
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.decoder.parameters()), "lr": chosen.lr}
        ]
        encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        if encoder:
            groups.append({"params": encoder, "lr": chosen.encoder_lr})
        steps = int(self.trainer.estimated_stepping_batches)
        return scheduled(groups, chosen, steps, fused="mixed" not in self.trainer.precision)

    # -- checkpoints ------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, in plain types: a checkpoint carries its own vocabulary."""
        checkpoint["captioner"] = {
            "task": "caption",
            "model": self.model_config,
            "assets": {"vocabulary.json": self.vocabulary.to_json()},
            "preprocessing": self.preprocessing.to_dict(),
            "decoding": asdict(self.search_settings),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint whose vocabulary is another one than the table's."""
        stored = checkpoint.get("captioner")
        if stored is None:
            raise InvalidOption("This checkpoint was not written by captioner's training.")
        if self.model is not None and stored["assets"] != {
            "vocabulary.json": self.vocabulary.to_json()
        }:
            raise InvalidOption(
                "The checkpoint's vocabulary is not the one of this table.",
                hint="Resume with the data and min_count that it was trained with, or go on from "
                "an exported bundle (model.bundle, data.vocabulary_from): its vocabulary grows.",
            )
