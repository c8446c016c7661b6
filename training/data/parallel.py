"""The data module of translation: pairs of sentences in, padded batches of pieces out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from random import Random
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioner.bundle import find_bundle
from captioner.errors import DataError, InvalidOption
from captioner.models.seq2seq import pad_sources
from captioner.text.pieces import BYTES, SPECIAL, Pieces
from training.data.batches import Batch, LengthBatches
from training.data.pairs import Pair, Pairs, read_pairs
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions, split_name
from training.data.subword_dropout import SubwordDropout

STAGES = {"fit": (TRAIN, VALIDATION), "validate": (VALIDATION,), "test": (TEST,)}


class ParallelExamples(Dataset[dict[str, Tensor]]):
    """A split's pairs as tensors, a whole batch at a time.

    ``sources (B, S)`` with the end token behind each, ``source_lengths (B,)``; ``tokens
    (B, 1 + T + 1)`` from start to end, ``lengths (B,)``, the tokens that are predicted;
    ``index (B,)``, which pairs they are.
    """

    def __init__(
        self, pairs: Sequence[Pair], pieces: Pieces, dropout: SubwordDropout | None, seed: int
    ) -> None:
        self.pairs, self.pieces = pairs, pieces
        self._dropout, self._seed = dropout, seed
        self.sources = pieces.encode_batch([pair.source for pair in pairs])
        self.targets = pieces.encode_batch([pair.target for pair in pairs])
        self.epoch = 0
        if dropout is not None:
            self._words = [[pieces.words(side) for side in pair] for pair in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def lengths(self) -> list[tuple[int]]:
        """Of both sides together: pairs that are alike in it are alike in each."""
        both = zip(self.sources, self.targets, strict=True)
        return [(len(source) + len(target),) for source, target in both]

    def __getitem__(self, batch: Any) -> dict[str, Tensor]:
        indices = [example.image for example in batch]
        sources, targets = zip(*map(self._cut, indices), strict=True)
        padded, source_lengths = pad_sources(sources)
        ended, lengths = pad_sources(targets)
        start = torch.full((len(indices), 1), Pieces.start_id)
        return {
            "sources": padded,
            "source_lengths": source_lengths,
            "tokens": torch.cat([start, ended], 1),
            "lengths": lengths,
            "index": torch.tensor(indices),
        }

    def _cut(self, index: int) -> tuple[list[int], list[int]]:
        if self._dropout is None:
            return self.sources[index], self.targets[index]
        random = Random(f"{self._seed}:{self.epoch}:{index}")
        source, target = (self._dropout.encode(words, random) for words in self._words[index])
        return source, target


class _EpochBatches(LengthBatches):
    """Tells the examples which epoch it is: cuttings change with it."""

    examples: ParallelExamples

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.examples.epoch = self.epoch  # known only now: a resumed run sets it late
            yield batch


class ParallelDataModule(lightning.LightningDataModule):
    """Pairs of sentences for training, validation and test.

    A batch is what :class:`ParallelExamples` describes.

    Args:
        source: for each split two files with a sentence a line each, source language first, or one
            table with tabs. Relative paths are looked up in the working directory, in
            CAPTIONER_DATA and in data/; .gz is unpacked.
        languages: of source and target, such as [de, en]; a bundle says them.
        columns: of a table, source and target, counted from 0.
        fractions: what is put aside for validation and test where there is a training table only.
        group: pairs that share this side, 0 source or 1 target, are put aside together.
        vocabulary_size: pieces of both languages together, single bytes included.
        vocabulary_from: a bundle to take the pieces from, by name or folder.
        piece_dropout: probability with which a merge is left out in training (BPE-dropout).
        batch_size: pairs in a batch, in every process.
        max_pieces: longer sentences are left out of training.
        seed: of the order of the batches, and of the cuttings.
    """

    def __init__(
        self,
        source: dict[str, str | list[str]],
        languages: tuple[str, str],
        columns: tuple[int, int] = (0, 1),
        fractions: SplitFractions | None = None,
        group: int = 1,
        vocabulary_size: int = 6000,
        vocabulary_from: str | None = None,
        piece_dropout: float = 0.1,
        batch_size: int = 128,
        max_pieces: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("max_pieces", max_pieces, 1)):
            if value < least:
                raise InvalidOption(f"{name} is {value}.", hint=f"It must be at least {least}.")
        if not 0 <= piece_dropout < 1:
            raise InvalidOption(f"piece_dropout is {piece_dropout}.", hint="From 0 up to 1.")
        if group not in (0, 1):
            raise InvalidOption(f"group is {group}.", hint="0, the source, or 1, the target.")
        self.source, self.languages = source, languages
        self.columns, self.fractions, self.group = columns, fractions, group
        self.vocabulary_size, self.vocabulary_from = vocabulary_size, vocabulary_from
        self.piece_dropout, self.batch_size = piece_dropout, batch_size
        self.max_pieces, self.seed = max_pieces, seed
        self._examples: dict[str, ParallelExamples] = {}

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of each split, as the files have them."""
        return read_pairs(
            self.source, columns=self.columns, fractions=self.fractions, group=self.group
        )

    @cached_property
    def pieces(self) -> Pieces:
        """Learnt from both sides of the training pairs, or those of ``vocabulary_from``."""
        if self.vocabulary_from is not None:
            bundle = find_bundle("translate", self.vocabulary_from)
            return Pieces.from_json(bundle.asset("pieces.json"))
        pairs = self._of(TRAIN)
        return Pieces.train((side for pair in pairs for side in pair), self.vocabulary_size)

    @cached_property
    def said(self) -> list[int]:
        """The pieces of the training targets, with all bytes and special ones: what may be said."""
        targets = self.examples(TRAIN).targets
        return sorted({*range(len(SPECIAL) + BYTES), *(piece for ids in targets for piece in ids)})

    def examples(self, split: str) -> ParallelExamples:
        """A split as tensors; training leaves pairs with an overlong side out."""
        if split not in self._examples:
            pairs, dropout = self._of(split), None
            if split == TRAIN:
                sizes = [self.pieces.encode_batch([p[side] for p in pairs]) for side in (0, 1)]
                pairs = [
                    pair
                    for pair, one, two in zip(pairs, *sizes, strict=True)
                    if max(len(one), len(two)) <= self.max_pieces
                ]
                if not pairs:
                    raise DataError(f"No training pair has at most {self.max_pieces} pieces.")
                if self.piece_dropout:
                    dropout = SubwordDropout(self.pieces, self.piece_dropout)
            self._examples[split] = ParallelExamples(pairs, self.pieces, dropout, self.seed)
        return self._examples[split]

    def setup(self, stage: str) -> None:
        """Reads and checks the files, and says what is there."""
        for split in STAGES[stage]:
            self.examples(split)
        self._tell(stage)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches of similar length in an order and in cuttings of their own each epoch."""
        return self._loader(TRAIN)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every validation pair."""
        return self._loader(VALIDATION)

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every test pair."""
        return self._loader(TEST)

    def _loader(self, split: str) -> DataLoader[dict[str, Tensor]]:
        examples, trainer = self.examples(split), self.trainer
        batches = _EpochBatches(
            examples.lengths(),
            self.batch_size,
            shuffle=split == TRAIN,
            seed=self.seed,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
        )
        batches.examples = examples
        return DataLoader(examples, batch_size=None, sampler=batches)

    def _of(self, split: str) -> list[Pair]:
        pairs = self.pairs.get(split_name(split))
        if not pairs:
            raise DataError(f"There are no {split} pairs.", hint="Name their files in data.source.")
        return pairs

    @rank_zero_only
    def _tell(self, stage: str) -> None:
        for split in STAGES[stage]:
            examples = self.examples(split)
            means = [
                sum(map(len, side)) / len(examples) for side in (examples.sources, examples.targets)
            ]
            print(
                f"{split}: {len(examples)} pairs of {len(self._of(split))}, {means[0]:.1f} and "
                f"{means[1]:.1f} pieces on average, {len(self.pieces)} pieces in all"
            )
