"""The data module of captioning: one table in, batches of pictures and captions out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import lightning
import numpy as np
import torch
from datasets import DatasetDict
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from captioner.bundle import Bundle, find_bundle
from captioner.errors import DataError, InvalidOption
from captioner.text.vocabulary import Vocabulary
from captioner.vision.preprocess import Preprocessing
from training.data.batches import LengthBatches
from training.data.examples import CaptionExamples
from training.data.location import locate
from training.data.pictures import Pictures
from training.data.report import Report, inspect_table, without_problems
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions
from training.data.tables import read_table
from training.data.tokens import Tokens, tokenised

STAGES = {
    "fit": (TRAIN, VALIDATION),
    "validate": (VALIDATION,),
    "test": (TEST,),
    "predict": (TEST,),
}


class CaptionDataModule(lightning.LightningDataModule):
    """Pictures and captions for training, validation and test.

    A batch is what :class:`training.data.examples.CaptionExamples` describes. Nothing is read
    before it is asked for; ``vocabulary`` and ``references`` need no ``setup``.

    Args:
        source: the table: a path, glob or folder, several, or a mapping from split to them;
            hf://owner/name takes a dataset of the hub. Relative paths are looked up in the
            working directory, in CAPTIONER_DATA and in data/.
        format: auto, jsonl, csv, coco, karpathy, flickr8k, kaggle, parquet or imagefolder.
        images: folder of the pictures, where they do not lie beside the table.
        fractions: what is put aside for validation and test where the table has no splits.
        min_count: how often a word must come in the training captions to get a number.
        vocabulary_from: a bundle (name or folder) or a vocabulary.json whose words keep their
            numbers; the table's new words follow them.
        preprocessing: from picture to pixels; by default that of vocabulary_from's bundle, else
            the whole picture squeezed to 224 x 224.
        batch_size: pictures in a batch, in every process.
        captions_per_image: how many of a picture's captions an epoch of training sees, drawn
            anew each time; null for all.
        caption_groups: a picture comes this often in an epoch, with its short captions first and
            its long ones last: less padding, but every time it is encoded or read anew.
        max_tokens: longer captions are cut after so many words.
        num_workers: processes that decode pictures; none are used where features are cached.
        on_bad: error refuses a table with bad rows, drop trains without them.
        check: how closely pictures are looked at before: none, header or decode.
        seed: of the order of the batches.
        cache_dir: where datasets keeps its cache; by default below HF_HOME.
    """

    def __init__(
        self,
        source: str | list[str] | dict[str, str | list[str]],
        format: str = "auto",
        images: str | None = None,
        fractions: SplitFractions | None = None,
        min_count: int = 5,
        vocabulary_from: str | None = None,
        preprocessing: Preprocessing | None = None,
        batch_size: int = 32,
        captions_per_image: int | None = None,
        caption_groups: int = 1,
        max_tokens: int | None = None,
        num_workers: int = 0,
        on_bad: Literal["error", "drop"] = "error",
        check: Literal["none", "header", "decode"] = "header",
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("min_count", min_count, 1),
            ("batch_size", batch_size, 1),
            ("captions_per_image", captions_per_image, 1),
            ("caption_groups", caption_groups, 1),
            ("max_tokens", max_tokens, 1),
            ("num_workers", num_workers, 0),
        ):
            if value is not None and value < least:
                raise InvalidOption(f"{name} is {value}.", hint=f"It must be at least {least}.")
        self.source, self.format, self.images = source, format, images
        self.fractions, self.cache_dir = fractions, cache_dir
        self.min_count, self.vocabulary_from = min_count, vocabulary_from
        self.batch_size, self.num_workers = batch_size, num_workers
        self.captions_per_image, self.caption_groups = captions_per_image, caption_groups
        self.max_tokens, self.on_bad, self.check, self.seed = max_tokens, on_bad, check, seed
        self._preprocessing = preprocessing
        self._features: dict[str, np.ndarray] = {}
        self._examples: dict[str, CaptionExamples] = {}
        self._told = False

    # -- what the table holds ---------------------------------------------------------------

    @cached_property
    def _read(self) -> tuple[DatasetDict, dict[str, Tokens], Report]:
        tables = read_table(
            self.source,
            format=self.format,
            images=self.images,
            fractions=self.fractions,
            cache_dir=self.cache_dir,
        )
        tokens = {
            split: tokenised(list(table["captions"]), self.cache_dir)
            for split, table in tables.items()
        }
        report = inspect_table(tables, tokens, min_count=self.min_count, check=self.check)
        if self.on_bad == "error":
            report.raise_for_problems()
        elif report.problems:
            tables, tokens = without_problems(tables, tokens, report)
        return tables, tokens, report

    @property
    def tables(self) -> DatasetDict:
        """The table by split, with the columns of ``tables.FEATURES``, bad rows dropped."""
        return self._read[0]

    @property
    def report(self) -> Report:
        """What was found in the table."""
        return self._read[2]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the training captions, behind those of ``vocabulary_from``."""
        base = self._given_vocabulary
        if TRAIN not in self.tables and base is None:
            raise DataError(
                "The table has no training captions to take a vocabulary from.",
                hint="Add them, or set vocabulary_from.",
            )
        captions = [caption for image in self._tokens(TRAIN, []) for caption in image]
        own = Vocabulary.from_captions(captions, self.min_count)
        return own if base is None else base.extended(own.words)

    @property
    def vocabulary_size(self) -> int:
        """``len(vocabulary)``, for LightningCLI's ``link_arguments``."""
        return len(self.vocabulary)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """From picture to pixels, as validation and service do it."""
        if self._preprocessing is not None:
            return self._preprocessing
        return self._bundle.preprocessing() if self._bundle is not None else Preprocessing()

    def pictures(self, split: str) -> Pictures:
        """The pixels of a split's pictures, in the order of ``references``."""
        return self.examples(split).pictures

    def references(self, split: str) -> Tokens:
        """The words of all captions of every picture; a batch's ``index`` counts these rows."""
        self._require(split)
        return self._tokens(split)

    def filenames(self, split: str) -> list[str]:
        """What the pictures are called, in the same order."""
        self._require(split)
        return list(self.tables[split]["filename"])

    def examples(self, split: str) -> CaptionExamples:
        """The split as tensors."""
        self._require(split)
        if split not in self._examples:
            pictures = Pictures(self.tables[split], self.preprocessing)
            examples = CaptionExamples(
                pictures, self._tokens(split), self.vocabulary, max_tokens=self.max_tokens
            )
            self._examples[split] = examples
        return self._examples[split]

    def use_features(self, split: str, features: np.ndarray) -> None:
        """From now on batches carry ``features`` in place of pixels.

        ``(pictures, positions, size)``, one row for each of ``pictures(split)``; memory-mapped
        arrays are read a batch at a time.
        """
        examples = self.examples(split)
        if features.ndim != 3 or len(features) != len(examples):
            raise ValueError(f"features are {features.shape}; {split} has {len(examples)} pictures")
        examples.features = features

    # -- Lightning --------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Fill the caches, in one process of each machine."""
        assert self.vocabulary is not None

    def setup(self, stage: str) -> None:
        """Read and check the table, and print the report once."""
        for split in STAGES[stage]:
            self._require(split)
        if not self._told:
            self._tell()
            self._told = True

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches of similar length in an order of their own each epoch."""
        return self._loader(TRAIN, shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every validation picture with all its captions."""
        return self._loader(VALIDATION, shuffle=False)

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every test picture with all its captions."""
        return self._loader(TEST, shuffle=False)

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The test pictures."""
        return self._loader(TEST, shuffle=False)

    def _loader(self, split: str, *, shuffle: bool) -> DataLoader[dict[str, Tensor]]:
        examples = self.examples(split)
        trainer = self.trainer
        batches = LengthBatches(
            examples.lengths(),
            self.batch_size,
            captions_per_image=self.captions_per_image,
            groups=self.caption_groups if shuffle else 1,
            shuffle=shuffle,
            seed=self.seed,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
        )
        workers = 0 if examples.features is not None else self.num_workers
        # batch_size=None: the sampler's items are whole batches already.
        return DataLoader(
            examples,
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    # -- parts ------------------------------------------------------------------------------

    def _tokens(self, split: str, default: Tokens | None = None) -> Tokens:
        tokens: Mapping[str, Tokens] = self._read[1]
        return tokens[split] if default is None else tokens.get(split, default)

    def _require(self, split: str) -> None:
        if split not in self.tables:
            raise DataError(
                f"The table has no {split} pictures, only {', '.join(self.tables) or 'none'}.",
                hint="Name the split in the table or in data.source.",
            )

    @cached_property
    def _bundle(self) -> Bundle | None:
        name = self.vocabulary_from
        return None if name is None or name.endswith(".json") else find_bundle("caption", name)

    @property
    def _given_vocabulary(self) -> Vocabulary | None:
        if self._bundle is not None:
            return self._bundle.vocabulary()
        if self.vocabulary_from is None:
            return None
        path = locate(self.vocabulary_from)[0]
        return Vocabulary.from_json(path.read_text("utf-8"))

    @rank_zero_only
    def _tell(self) -> None:
        print(self.report)
        if self.report.problems:
            print(f"Left out: {len(self.report.problems)} bad rows and captions (on_bad: drop).")
