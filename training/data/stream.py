"""The data module of a character model: one long text, cut into streams that are read in step.

Truncated backpropagation through time needs order: a batch of ``B`` rows is ``B`` places of the
text, and row b of the next batch goes on where row b of this one stopped. Nothing is shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from captioner.bundle import find_bundle
from captioner.errors import DataError, InvalidOption, UnknownCharacters
from captioner.text.characters import Characters
from training.data.lines import read_text
from training.data.location import locate
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions

Text = NDArray[np.int16]
PADDING = -1  # a target past the text's end
STAGES = {"fit": (TRAIN, VALIDATION), "validate": (VALIDATION,), "test": (TEST,)}


class Streams(Dataset[dict[str, Tensor]]):
    """``rows`` streams of a text in chunks: item k is ``tokens (rows, chunk + 1)`` of all.

    The last column is the next chunk's first: inputs are all but the last, targets all but the
    first. Every row is as long, and what is left over at the end falls away; :attr:`epoch` moves
    the cuts, so that it is not the same each time. All processes read one text: of
    ``rows * num_replicas`` streams process r has those from ``r * rows``.
    """

    def __init__(
        self, text: Text, rows: int, chunk: int, *, num_replicas: int = 1, rank: int = 0, seed: int
    ) -> None:
        self.text, self.rows, self.chunk, self.seed = text, rows, chunk, seed
        self.epoch = 0
        self._rank = rank
        self._length = (len(text) - 1) // (rows * num_replicas)
        # One chunk less than there is room for, where there is, so that the cuts can move by one.
        spare = chunk if self._length > 2 * chunk else 0
        self.chunks = (self._length - spare) // chunk
        if self.chunks < 1:
            raise DataError(
                f"The text has {len(text)} characters: too short for {rows * num_replicas} streams "
                f"with a chunk of {chunk} each.",
                hint=f"It needs {rows * num_replicas * chunk + 1}: fewer streams (batch_size) "
                "or a shorter chunk.",
            )

    def __len__(self) -> int:
        return self.chunks

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        starts = np.arange(self.rows) + self._rank * self.rows
        starts = starts * self._length + self._shift() + number * self.chunk
        columns = np.arange(self.chunk + 1)
        return {"tokens": torch.from_numpy(self.text[starts[:, None] + columns].astype(np.int64))}

    def _shift(self) -> int:
        free = self._length - self.chunks * self.chunk
        return int(np.random.default_rng([self.seed, self.epoch]).integers(free + 1))


class ChunksInOrder(DistributedSampler[Any]):
    """Numbers of the chunks, from ``start`` on in the epoch that is resumed.

    A ``DistributedSampler`` because that is what Lightning leaves in place under DDP, where it
    would shuffle otherwise; every process reads all numbers, of streams of its own.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__(streams, num_replicas=1, rank=0, shuffle=False)
        self.streams, self.start = streams, 0

    def __len__(self) -> int:
        return len(self.streams)

    def __iter__(self) -> Iterator[int]:
        self.streams.epoch = self.epoch
        start, self.start = self.start, 0
        yield from range(start, len(self.streams))


class WholeText(Dataset[dict[str, Tensor]]):
    """A text for evaluation, every character predicted once but the first of each stream.

    ``streams`` rows in chunks as :class:`Streams`, with the rest that is left over, too: targets
    past the end are ``PADDING``. Every process reads all of it: the same scores without a word.
    """

    def __init__(self, text: Text, streams: int, chunk: int) -> None:
        if len(text) < 2:
            raise DataError(f"A text of {len(text)} characters has nothing to predict.")
        length = -(-(len(text) - 1) // streams)
        padded = np.full(streams * length + 1, PADDING, dtype=np.int64)
        padded[: len(text)] = text
        rows = np.arange(streams)[:, None] * length + np.arange(length + 1)
        self._rows = torch.from_numpy(padded[rows])
        self._chunk, self._length = chunk, length

    def __len__(self) -> int:
        return -(-self._length // self._chunk)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        start = number * self._chunk
        return {"tokens": self._rows[:, start : start + self._chunk + 1]}


class RandomWindows(Dataset[dict[str, Tensor]]):
    """Windows of ``size`` characters at random places, as nanoGPT estimates its loss.

    ``count`` of them, the same each time, ``batch`` at once; none where the text is shorter.
    """

    def __init__(self, text: Text, count: int, size: int, batch: int, seed: int) -> None:
        count = count if len(text) > size else 0
        places = np.random.default_rng(seed).integers(max(1, len(text) - size), size=count)
        windows = text[places[:, None] + np.arange(size + 1)] if count else np.zeros((0, size + 1))
        self._batches = torch.from_numpy(windows.astype(np.int64)).split(batch) if count else ()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"tokens": self._batches[number]}


class TextStreamDataModule(lightning.LightningDataModule):
    """One text, or several in order, for training, validation and test.

    Args:
        source: a text file or several, in UTF-8; .gz is unpacked. Relative paths are looked up in
            the working directory, in CAPTIONER_DATA and in data/.
        fractions: the shares of the text that are put aside at its end: validation, then test;
            by default a tenth for validation.
        vocabulary_from: a bundle whose characters keep their numbers; the text may have no others.
        batch_size: streams that are read in step, in every process.
        chunk: characters of each stream in a batch: how far gradients reach back.
        validation_streams: as many rows the evaluated text is cut into; 1 is one state over all of
            it, more are faster and begin that often without a past.
        windows: random windows of window_size characters that evaluation also reads.
        window_size: characters of each.
        seed: of the windows, and of where an epoch's cuts fall.
    """

    def __init__(
        self,
        source: str | list[str],
        fractions: SplitFractions | None = None,
        vocabulary_from: str | None = None,
        batch_size: int = 64,
        chunk: int = 128,
        validation_streams: int = 16,
        windows: int = 400,
        window_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("chunk", chunk, 1),
            ("validation_streams", validation_streams, 1),
            ("windows", windows, 0),
            ("window_size", window_size, 1),
        ):
            if value < least:
                raise InvalidOption(f"{name} is {value}.", hint=f"It must be at least {least}.")
        fractions = SplitFractions(validation=0.1, test=0.0) if fractions is None else fractions
        fractions.check()
        self.source, self.fractions, self.vocabulary_from = source, fractions, vocabulary_from
        self.batch_size, self.chunk = batch_size, chunk
        self.validation_streams = validation_streams
        self.windows, self.window_size, self.seed = windows, window_size, seed
        self._start = 0

    @cached_property
    def raw(self) -> str:
        """The whole text."""
        names = [self.source] if isinstance(self.source, str) else self.source
        return "".join(read_text(path) for name in names for path in locate(name))

    @cached_property
    def characters(self) -> Characters:
        """All of the text's, as is usual for these corpora, or those of ``vocabulary_from``."""
        if self.vocabulary_from is None:
            return Characters.of(self.raw)
        bundle = find_bundle("generate", self.vocabulary_from)
        return Characters.from_json(bundle.asset("characters.json"))

    @cached_property
    def text(self) -> Text:
        """The whole text in numbers."""
        try:
            return self.characters.encode_array(self.raw)
        except UnknownCharacters as error:
            raise DataError(
                f"The text does not fit bundle {self.vocabulary_from!r}: {error.message}",
                hint="Take these characters out of the text, or train without vocabulary_from.",
            ) from None

    def part(self, split: str) -> Text:
        """A split's stretch of the text: training first, then validation, then the test."""
        total = len(self.text)
        train = int(total * (1 - self.fractions.validation - self.fractions.test))
        validation = total - round(total * self.fractions.test)
        edges = {TRAIN: (0, train), VALIDATION: (train, validation), TEST: (validation, total)}
        start, end = edges[split]
        if end - start < 2:
            raise DataError(
                f"The text's {split} part has {end - start} characters.",
                hint="Give it a share in data.fractions.",
            )
        return self.text[start:end]

    def resume_at(self, chunk: int) -> None:
        """The next training epoch begins with this chunk: what a resumed run has read is read."""
        self._start = chunk

    def setup(self, stage: str) -> None:
        """Reads the text and says what is there."""
        self._tell({split: len(self.part(split)) for split in STAGES[stage]})

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Chunks of this process's streams, in order."""
        trainer = self.trainer
        streams = Streams(
            self.part(TRAIN),
            self.batch_size,
            self.chunk,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
            seed=self.seed,
        )
        order = ChunksInOrder(streams)
        order.start, self._start = self._start, 0
        return DataLoader(streams, batch_size=None, sampler=order)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """The whole validation text, then random windows of it."""
        return self._evaluation(VALIDATION)

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """The same of the test text."""
        return self._evaluation(TEST)

    def _evaluation(self, split: str) -> list[DataLoader[dict[str, Tensor]]]:
        text = self.part(split)
        sets: list[Any] = [
            WholeText(text, self.validation_streams, self.window_size),
            RandomWindows(text, self.windows, self.window_size, 64, self.seed),
        ]
        # A sampler of their own, or DDP would deal the chunks out.
        return [
            DataLoader(each, batch_size=None, sampler=_Everything(each))
            for each in sets
            if len(each)
        ]

    @rank_zero_only
    def _tell(self, sizes: dict[str, int]) -> None:
        parts = ", ".join(f"{split} {size}" for split, size in sizes.items())
        print(f"{len(self.text)} characters, {len(self.characters)} distinct; {parts}")


class _Everything(DistributedSampler[Any]):
    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.dataset)))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]
