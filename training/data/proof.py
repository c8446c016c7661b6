"""The data module of the proof tasks: batches that are drawn, none that are stored."""

from __future__ import annotations

from collections.abc import Iterator

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from captioner.errors import InvalidOption
from training.data.proof_tasks import Sequences, proof_task


class ProofDataModule(lightning.LightningDataModule):
    """Sequences of one of :data:`training.data.proof_tasks.PROOF_TASKS`.

    Every training batch is new. Which one comes when is a function of seed and epoch alone, so that
    a resumed run sees what it would have seen. Validation and test have numbers of their own.

    Args:
        task: adding, copy, dyck or parity.
        length: steps of a sequence, or what the task counts in their place.
        batch_size: sequences a batch.
        batches: how many make an epoch.
        held_out: sequences of validation, and as many of test.
        seed: of what is drawn.
    """

    def __init__(
        self,
        task: str = "adding",
        length: int = 100,
        batch_size: int = 64,
        batches: int = 50,
        held_out: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size, "batches": batches, "held_out": held_out}
        for what, value in sizes.items():
            if value < 1:
                raise InvalidOption(f"{what} is {value}.", hint="At least 1.")
        self.task = proof_task(task, length)
        self.batch_size, self.batches, self.held_out = batch_size, batches, held_out
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Sequences]:
        """``batches`` new batches."""
        drawn = _Drawn(self, self.batch_size, self.seed)
        return DataLoader(drawn, batch_size=None, sampler=_Numbers(self.batches))

    def val_dataloader(self) -> DataLoader[Sequences]:
        """One batch, always the same."""
        return DataLoader(_Drawn(self, self.held_out, -1), batch_size=None, sampler=range(1))

    def test_dataloader(self) -> DataLoader[Sequences]:
        """Another one."""
        return DataLoader(_Drawn(self, self.held_out, -2), batch_size=None, sampler=range(1))


class _Drawn(Dataset[Sequences]):
    """Batch number n, of a seed; seeds below zero are none that a user can give."""

    def __init__(self, data: ProofDataModule, count: int, seed: int) -> None:
        self.task, self.count, self.seed = data.task, count, seed

    def __getitem__(self, number: int) -> Sequences:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return self.task.draw(self.count, generator)


class _Numbers(Sampler[int]):
    """The numbers of an epoch's batches; Lightning says which epoch it is."""

    def __init__(self, batches: int) -> None:
        self.batches, self.epoch = batches, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.batches, (self.epoch + 1) * self.batches))

    def __len__(self) -> int:
        return self.batches
