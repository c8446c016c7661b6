"""The data module of frame labelling: a folder of videos and a table in, batches of clips out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from captioner.errors import DataError, InvalidOption
from captioner.vision.crops import Crop
from captioner.vision.encoder import STAGES, ResNetEncoder
from captioner.vision.hand_path import HandPathEncoder
from captioner.vision.preprocess import Preprocessing
from training.clip_cache import Clips, cached_clips
from training.data.captions import STAGES as SPLITS_OF
from training.data.clip_augmentation import ClipAugmentation, middle
from training.data.location import locate
from training.data.path_augmentation import PathAugmentation, is_path
from training.data.splits import TEST, TRAIN, VALIDATION, SplitFractions
from training.data.stretches import frame_labels
from training.data.video_examples import ClipExample, ClipExamples, collated, fresh_generator
from training.data.video_report import VideoReport, inspect_videos
from training.data.video_splits import FoldSettings, grouped, renamed, split_videos, streams_of
from training.data.video_tables import LabelledVideo, read_videos


class FrameDataModule(lightning.LightningDataModule):
    """Videos and the labels of their frames for training, validation and test.

    A batch is what :func:`training.data.video_examples.collated` describes. ``classes`` and
    ``report`` need no ``setup``; frames are read when the module asks for them
    (``use_clips``), since only it knows the encoder.

    Args:
        labels: the table: a path, several, or a mapping from split to path (``docs/data.md``).
            Relative paths are looked up in the working directory, in CAPTIONER_DATA and in data/.
        videos: the folder of the videos, or zip files of them, or several.
        columns: what the table's columns are called where it is unusual: {label: word}.
        classes: names in order, or a file with one a line; by default the table's, sorted.
        rename: other names for labels of the table, before anything else: {sp: sil}.
        multi_label: labels are independent of each other, and none of them may apply.
        every_s: a frame every so many seconds; null takes every frame.
        preprocessing: from frame to pixels; by default the whole frame squeezed to 224 x 224.
        crop: the part of these pixels that is looked at; see captioner.vision.crops.Crop.
        augment: how training clips differ from one epoch to the next; what of it changes pixels
            does nothing where the encoder's first stages are frozen.
        augment_paths: how the paths differ that an encoder such as hand_path reads.
        streams: a table of videos to put one behind the other (columns stream, video, and order
            and split where there are any), or a number: of so many videos, drawn by a seed.
        train_streams: the same for training alone, by number: drawn anew in each epoch.
        window: frames of a training clip; longer ones are cut at random.
        groups: a table with the columns video and group: whose videos are alike, such as a person
            or a place; by default the table's column group, else every video is a group.
        folds: cross-validation: one fold of the groups takes the place of validation.
        fractions: what is put aside where the table has no splits, by group.
        batch_size: clips in a batch, in every process.
        num_workers: processes that make batches.
        on_bad: error refuses a table with bad videos, drop trains without them.
        seed: of the streams and folds.
    """

    def __init__(
        self,
        labels: str | list[str] | dict[str, str],
        videos: str | list[str],
        columns: dict[str, str] | None = None,
        classes: list[str] | str | None = None,
        rename: dict[str, str] | None = None,
        multi_label: bool = False,
        every_s: float | None = None,
        preprocessing: Preprocessing | None = None,
        crop: Crop | None = None,
        augment: ClipAugmentation | None = None,
        augment_paths: PathAugmentation | None = None,
        streams: int | str | None = None,
        train_streams: int | None = None,
        window: int | None = None,
        groups: str | None = None,
        folds: FoldSettings | None = None,
        fractions: SplitFractions | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        on_bad: Literal["error", "drop"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("window", window, 2),
            ("train_streams", train_streams, 1),
            ("streams", streams if isinstance(streams, int) else None, 1),
        ):
            if value is not None and value < least:
                raise InvalidOption(f"{name} is {value}.", hint=f"It must be at least {least}.")
        if every_s is not None and not every_s > 0:
            raise InvalidOption(f"every_s is {every_s}.", hint="A number of seconds above 0.")
        self.labels_source, self.videos_source = labels, videos
        self.columns, self.rename, self._classes = columns, rename or {}, classes
        self.multi_label, self.every_s = multi_label, every_s
        self.preprocessing = preprocessing or Preprocessing()
        self.crop, self.augment, self.augment_paths = crop, augment, augment_paths
        self.streams, self.train_streams, self.window = streams, train_streams, window
        self.groups, self.folds, self.fractions = groups, folds, fractions or SplitFractions()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.on_bad, self.seed = on_bad, seed
        self._clips: dict[str, Clips] = {}
        self._examples: dict[tuple[str, bool], ClipExamples] = {}
        self._told = False

    # -- what the table holds ---------------------------------------------------------------

    @cached_property
    def _read(self) -> _Table:
        videos = read_videos(self.labels_source, self.videos_source, columns=self.columns)
        videos = [renamed(video, self.rename) for video in videos]
        if self.groups is not None:
            videos = grouped(videos, self.groups)
        classes = self._named_classes(videos)
        splits = split_videos(videos, self.fractions, self.folds)
        report = inspect_videos(splits, classes, multi_label=self.multi_label)
        if self.on_bad == "error":
            report.raise_for_problems()
        bad = {(problem.split, problem.name) for problem in report.problems}
        kept = {
            split: [video for video in part if (split, video.name) not in bad]
            for split, part in splits.items()
        }
        return _Table({split: part for split, part in kept.items() if part}, classes, report)

    def _named_classes(self, videos: Sequence[LabelledVideo]) -> list[str]:
        if isinstance(self._classes, str):
            text = locate(self._classes)[0].read_text("utf-8")
            return [line.strip() for line in text.splitlines() if line.strip()]
        if self._classes is not None:
            return list(self._classes)
        return sorted({stretch.label for video in videos for stretch in video.stretches})

    @property
    def classes(self) -> list[str]:
        """The names of the labels, in the order of their numbers."""
        return self._read.classes

    @property
    def report(self) -> VideoReport:
        """What was found in the table."""
        return self._read.report

    def videos(self, split: str) -> list[LabelledVideo]:
        """The videos of a split, bad ones dropped."""
        self._require(split)
        return self._read.splits[split]

    def names(self, split: str) -> list[str]:
        """What a batch's ``index`` counts: names of videos, or of streams."""
        videos = self.videos(split)
        return [" ".join(videos[number].name for number in item) for item in self._items(split)]

    # -- frames -----------------------------------------------------------------------------

    def use_clips(
        self,
        split: str,
        directory: str,
        *,
        encoder: ResNetEncoder | HandPathEncoder | None = None,
        stages: int = len(STAGES),
    ) -> None:
        """From now on batches of the split can be made; see :func:`cached_clips`."""
        crop = self.crop
        if crop is not None and encoder is None and self.augment is not None:
            crop = crop.widened(self.augment.margin)
        videos = self.videos(split)
        # All folds read one file.
        together = videos if self.folds is None else self._pool()
        clips = cached_clips(
            together,
            self.preprocessing,
            directory,
            every_s=self.every_s,
            crop=crop,
            encoder=encoder,
            stages=stages,
            name=split if self.folds is None else "folds",
        )
        places = {video.name: number for number, video in enumerate(together)}
        self._clips[split] = clips.of([places[video.name] for video in videos])
        for training in (False, True):
            if (split, training) in self._examples:
                self._fill(split, training)

    def frame_labels(self, split: str) -> list[np.ndarray]:
        """The labels of each video's frames; see :func:`training.data.stretches.frame_labels`."""
        clips = self._clips[split]
        return [
            frame_labels(
                video.stretches,
                clips.numbers[clips.span(number)],
                clips.times[clips.span(number)],
                self.classes,
                multi_label=self.multi_label,
            )
            for number, video in enumerate(self.videos(split))
        ]

    def examples(self, split: str, *, training: bool = False) -> ClipExamples:
        """The split as tensors; ``training`` with all that chance changes there."""
        key = split, training
        if key not in self._examples:
            self._examples[key] = ClipExamples(
                self._items(split, training),
                random_streams=self.train_streams if training else None,
                augment=self._augment if training else self._middle,
                window=self.window if training else None,
                fresh=training,
                seed=self.seed,
            )
            if split in self._clips:
                self._fill(*key)
        return self._examples[key]

    def _augment(self, example: ClipExample, generator: torch.Generator) -> ClipExample:
        if self.augment_paths is not None and is_path(example):
            example = self.augment_paths(example, generator)
        if self.augment is None:
            return self._middle(example, generator)
        size = None if self.crop is None else self.crop.size
        return self.augment(example, generator, size=size)

    def _middle(self, example: ClipExample, generator: torch.Generator) -> ClipExample:
        # Without the margin that training clips have to move in.
        if self.crop is None or example.rows.dtype != torch.uint8:
            return example
        return example._replace(rows=middle(example.rows, self.crop.size))

    def _fill(self, split: str, training: bool) -> None:
        self._examples[split, training].fill(self._clips[split], self.frame_labels(split))

    # -- Lightning --------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Read and check the table, and print the report once."""
        for split in SPLITS_OF[stage]:
            self._require(split)
        if not self._told:
            self._tell()
            self._told = True

    def train_dataloader(self) -> DataLoader[Any]:
        """Clips in an order of their own each epoch."""
        return self._loader(TRAIN, training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation clip, whole."""
        return self._loader(VALIDATION)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test clip, whole."""
        return self._loader(TEST)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The test clips."""
        return self._loader(TEST)

    def _loader(self, split: str, *, training: bool = False) -> DataLoader[Any]:
        return DataLoader(
            self.examples(split, training=training),
            batch_size=self.batch_size,
            shuffle=training,
            collate_fn=self._collate if training else collated,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _collate(self, examples: list[tuple[int, ClipExample]]) -> dict[str, Tensor]:
        if self.augment is not None:
            examples = self.augment.spliced(examples, fresh_generator())
        return collated(examples)

    # -- parts ------------------------------------------------------------------------------

    def _items(self, split: str, training: bool = False) -> list[list[int]]:
        videos = self.videos(split)
        if self.streams is None or (training and self.train_streams):
            return [[number] for number in range(len(videos))]
        return streams_of(self.streams, split, videos, self.seed)

    def _pool(self) -> list[LabelledVideo]:
        parts = self._read.splits
        both = [video for split in (TRAIN, VALIDATION) for video in parts.get(split, [])]
        return sorted(both, key=lambda video: video.name)

    def _require(self, split: str) -> None:
        if split not in self._read.splits:
            raise DataError(
                f"The table has no {split} videos, only {', '.join(self._read.splits) or 'none'}.",
                hint="Give the table a column split, or set data.fractions or data.folds.",
            )

    @rank_zero_only
    def _tell(self) -> None:
        print(self.report)
        if self.report.problems:
            bad = len({(problem.split, problem.name) for problem in self.report.problems})
            print(f"Left out: {bad} bad videos (on_bad: drop).")


@dataclass(frozen=True)
class _Table:
    splits: dict[str, list[LabelledVideo]]
    classes: list[str]
    report: VideoReport
