"""Training a character model by truncated backpropagation through time, chosen by nats.

One chunk is one batch with automatic optimisation: clipping, mixed precision and schedules work as
always. The state goes from chunk to chunk, cut off (``detach``) where the gradient ends: values
flow over the whole text, gradients within a chunk. Validation has states of its own.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.models.char_language_model import CharLanguageModel
from captioner.recurrent import State, detach
from training.data.stream import PADDING
from training.settings import CharModelSettings, GenerationSettings, OptimiserSettings
from training.text_module import TextModule


class CharLanguageModule(TextModule):
    """Trains a :class:`~captioner.models.char_language_model.CharLanguageModel`.

    A batch has ``tokens (B, T + 1)``: inputs are all but the last column, targets all but the
    first. Validation logs, each character of the text predicted once, ``nats`` and ``bits`` per
    character with the state carried over the whole text, and ``window_nats``, in random windows
    that begin without a past.

    Args:
        network: the model.
        optimiser: rates and schedule.
        generation: how a bundle generates unless told otherwise.
        bundle: a bundle to go on from, by name or directory; it needs data.vocabulary_from.
    """

    task, alphabet_name = "generate", "characters"
    monitor, monitor_mode = "nats", "min"

    def __init__(
        self,
        network: CharModelSettings = CharModelSettings(),  # noqa: B008
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
        generation: GenerationSettings = GenerationSettings(),  # noqa: B008
        bundle: str | None = None,
    ) -> None:
        super().__init__(optimiser, generation, bundle)
        self.network_settings = network
        # Plain attributes: a state is no parameter, and each process has its own.
        self._state: State | None = None
        self._chunk = 0
        self._random: Tensor | None = None
        self._evaluated: State | None = None
        self._totals: dict[str, list[float]] = {}

    def settings(self) -> dict[str, Any]:
        """The arguments of :class:`~captioner.models.char_language_model.CharLanguageModel`."""
        return {"vocabulary_size": len(self.alphabet), **asdict(self.network_settings)}

    def build(self, arguments: dict[str, Any]) -> CharLanguageModel:
        """The model."""
        return CharLanguageModel(**arguments)

    # -- training ---------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Cross-entropy of the next character, from the state that the chunk before left."""
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        state = self._state
        if state is None:  # zeros, not None: a compiled step sees the same types each time
            state = self.model.initial_state(len(inputs))
        logits, after = self.model(inputs, state)
        self._state, self._chunk = detach(after), batch_index + 1
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.log("train_loss", loss.detach(), prog_bar=True, batch_size=len(inputs))
        return loss

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Dropout of a resumed run goes on as it would have; loaders draw numbers, too."""
        if self._random is not None:
            torch.set_rng_state(self._random)
            self._random = None

    def on_train_epoch_end(self) -> None:
        """The next epoch begins at the text's beginning, without a past."""
        self._state, self._chunk = None, 0

    # -- evaluation -------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """No past; the training's state is not touched."""
        self._evaluated, self._totals = None, {}

    def validation_step(
        self, batch: dict[str, Tensor], batch_index: int, dataloader_idx: int = 0
    ) -> None:
        """Sums nats: of the whole text with the state carried, or of windows by themselves."""
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        whole = dataloader_idx == 0
        state = self._evaluated if whole else None
        logits, after = self.model(inputs.clamp(min=0), state)
        if whole:
            self._evaluated = after
        nats = functional.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=PADDING,
            reduction="sum",
        )
        total = self._totals.setdefault("nats" if whole else "window_nats", [0.0, 0])
        total[0] += float(nats)
        total[1] += int((targets != PADDING).sum())

    def on_validation_epoch_end(self) -> None:
        """Logs nats and bits per character; ``nats`` chooses the checkpoint."""
        scores = {name: total / count for name, (total, count) in self._totals.items()}
        scores["bits"] = scores["nats"] / math.log(2)
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            count = int(self._totals["nats"][1])
            values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
            print(f"\n{values} per character ({count} predicted with the state carried)")
        self._evaluated = None
        self.log_dict(scores, prog_bar=True, rank_zero_only=False)

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    # -- checkpoints ------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a bundle needs, and where each process stands in its streams.

        Lightning itself saves the position of a loader in some cases and drops it in others; this
        is exact in all of them.
        """
        stream = None
        if self._state is not None:
            gathered = [self._gathered(part) for part in self._state]
            stream = {"chunk": self._chunk, "state": gathered}
        super().on_save_checkpoint(checkpoint)
        random = self._gathered(torch.get_rng_state().to(self.device))
        checkpoint["captioner"] |= {"stream": stream, "random": random}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on at the chunk, with the state, that the checkpoint has of this process."""
        super().on_load_checkpoint(checkpoint)
        if self.model is None:
            return
        stored = checkpoint["captioner"]
        if not self.trainer.training:
            return
        rank, stream = self.trainer.global_rank, stored["stream"]
        if len(stored["random"]) != self.trainer.world_size:
            raise InvalidOption(
                f"The checkpoint is of {len(stored['random'])} processes, this run has "
                f"{self.trainer.world_size}: each goes on with its own streams.",
                hint="Resume with as many.",
            )
        # A copy: torch reads the storage of the tensor it is given from its beginning.
        self._random = stored["random"][rank].cpu().clone()
        if stream is not None:
            self._state = tuple(part[rank].to(self.device) for part in stream["state"])
            self._chunk = int(stream["chunk"])
            self.data.resume_at(self._chunk)

    def _gathered(self, mine: Tensor) -> Tensor:
        """Every process's own, ``(processes, …)``."""
        if self.trainer.world_size == 1:
            return mine.unsqueeze(0)
        gathered: Tensor = self.trainer.strategy.all_gather(mine)
        return gathered
