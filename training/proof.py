"""Training on a proof task: a cell, and one line out of it, on sequences that need a memory."""

from __future__ import annotations

from typing import Any

import lightning
from torch import Tensor
from torch.nn import functional

from captioner.models.sequence_network import SequenceNetwork
from training.data.proof_tasks import Sequences
from training.optimiser import scheduled
from training.settings import OptimiserSettings


class ProofModule(lightning.LightningModule):
    """Trains a :class:`~captioner.models.sequence_network.SequenceNetwork`.

    A batch is a :class:`~training.data.proof_tasks.Sequences`. Validation logs ``accuracy`` where
    the targets are classes, else ``mse``; and ``score``, by which best.ckpt is chosen: the
    accuracy, or the share of the guess's error that is gone.

    Args:
        cell: a name from captioner.recurrent.CELLS.
        hidden_size: units of a layer.
        num_layers: layers.
        cell_options: what the cell takes beyond sizes: {forget_bias: 1} of an LSTM, {update_bias:
            -1} of MUT1 to MUT3, {nonlinearity: relu} of a plain network.
        optimiser: rates and schedule.
    """

    monitor = "score"

    def __init__(
        self,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        cell_options: dict[str, Any] = {},  # noqa: B006
        optimiser: OptimiserSettings = OptimiserSettings(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {
            "cell": cell,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            **cell_options,
        }
        self.optimiser_settings = optimiser
        self.model: SequenceNetwork | None = None

    def configure_model(self) -> None:
        """Builds the network once the task, and with it what goes in and out, is known."""
        if self.model is None:
            self.task = self.trainer.datamodule.task  # type: ignore[attr-defined]
            self.model = SequenceNetwork(self.task.input_size, self.task.classes or 1, **self.sizes)

    def counted(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        """Read-outs and targets where these count: ``(n, output)`` and ``(n,)``."""
        assert self.model is not None
        return self.model(batch.inputs)[batch.counted], batch.targets[batch.counted]

    def loss(self, batch: Sequences) -> Tensor:
        """Cross-entropy, or the squared error."""
        read, targets = self.counted(batch)
        if self.task.classes is None:
            return functional.mse_loss(read[:, 0], targets)
        return functional.cross_entropy(read, targets)

    def training_step(self, batch: Sequences, batch_index: int) -> Tensor:
        """The loss of new sequences."""
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.inputs))
        return loss

    def validation_step(self, batch: Sequences, batch_index: int) -> None:
        """Logs how far it has come."""
        read, targets = self.counted(batch)
        size = len(batch.inputs)
        if self.task.classes is None:
            mse = functional.mse_loss(read[:, 0], targets)
            self.log("mse", mse, prog_bar=True, batch_size=size)
            self.log("score", 1 - mse / self.task.baseline, batch_size=size)
        else:
            accuracy = (read.argmax(1) == targets).float().mean()
            self.log_dict({"accuracy": accuracy, "score": accuracy}, prog_bar=True, batch_size=size)

    def test_step(self, batch: Sequences, batch_index: int) -> None:
        """The same on sequences that nothing was chosen by."""
        self.validation_step(batch, batch_index)

    def configure_optimizers(self) -> Any:
        """Adam; its rate stays as it is where ``final`` is 1."""
        steps = int(self.trainer.estimated_stepping_batches)
        groups = [{"params": list(self.parameters()), "lr": self.optimiser_settings.lr}]
        fused = "mixed" not in self.trainer.precision
        return scheduled(groups, self.optimiser_settings, steps, fused=fused)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Says what it is a checkpoint of; there is no bundle to make of it."""
        checkpoint["captioner"] = {"task": "proof", "model": dict(self.sizes)}
