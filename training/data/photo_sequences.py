"""The data module of labelling where there are photos and captions, but no videos.

A sequence is a few photos, one shot each, with cuts between them, so that labels change in time. In
a shot the camera zooms and pans (:mod:`training.data.photo_views`). Labels are what the captions
name (:mod:`training.data.photo_labels`).

For validation and test each view is cut out of its photo and encoded. For training a view is the
mean of the encoder's last map over the part of it that the view sees: a photo is encoded once, and
every epoch sees it along other paths. ``shots.cut_out`` of the shots have encoded views there, too.
``shots.disturbed`` of the shots with encoded views are disturbed as frames of videos are
(:mod:`training.data.disturbances`).

Letters: C labels, D feature size.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import lightning
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioner.errors import DataError, InvalidOption
from captioner.vision.encoder import STAGES, ResNetEncoder
from captioner.vision.preprocess import Preprocessing
from training.data.captions import CaptionDataModule
from training.data.photo_labels import LABELS, caption_shares
from training.data.photo_views import PhotoViews
from training.data.shots import EncodedViews, FixedSequences, RandomSequences, ShotSettings
from training.data.splits import TEST, TRAIN, VALIDATION
from training.data.video_examples import ClipExample, collated
from training.features import cached_features


class PhotoSequenceDataModule(lightning.LightningDataModule):
    """Sequences made of captioned photos; a batch is that of :func:`collated`.

    Labels are independent. In training a label is the share of the photo's captions that name it;
    in validation and test 1 where at least ``least`` captions do, else 0. A view of less than half
    of the photo may have lost what a label is about: then the label is -1, unknown, instead.

    Args:
        source: the captioned photos, as CaptionDataModule takes them.
        format: of the source.
        images: folder of the pictures, where they do not lie beside the table.
        classes: names in order, of training.data.photo_labels.LABELS; by default all of them.
        least: captions that must name a label, of those that the photo has.
        every_s: seconds from one frame to the next.
        preprocessing: from view to pixels; by default the whole of it squeezed to 224 x 224.
        shots: how sequences are cut together.
        batch_size: sequences in a batch, in every process.
        seed: of the sequences of validation and test, and of the camera's paths there.
        cache_dir: where datasets keeps its cache; by default below HF_HOME.
    """

    multi_label = True

    def __init__(
        self,
        source: str | list[str] | dict[str, str | list[str]],
        format: str = "auto",
        images: str | None = None,
        classes: list[str] | None = None,
        least: int = 2,
        every_s: float = 0.5,
        preprocessing: Preprocessing | None = None,
        shots: ShotSettings | None = None,
        batch_size: int = 32,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.classes = sorted(LABELS) if classes is None else list(classes)
        unknown = [name for name in self.classes if name not in LABELS]
        if unknown:
            raise InvalidOption(
                f"There is no label {unknown[0]!r}.", hint="See training.data.photo_labels.LABELS."
            )
        if not every_s > 0:
            raise InvalidOption(f"every_s is {every_s}.", hint="A number of seconds above 0.")
        self.shots = shots or ShotSettings()
        self.shots.check()
        self.photos = CaptionDataModule(
            source,
            format=format,
            images=images,
            preprocessing=preprocessing or Preprocessing(),
            check="none",
            cache_dir=cache_dir,
        )
        self.least, self.every_s = least, every_s
        self.batch_size, self.seed = batch_size, seed
        self._grids: np.ndarray | None = None
        self._views: dict[str, EncodedViews] = {}

    @property
    def preprocessing(self) -> Preprocessing:
        """From view to pixels."""
        return self.photos.preprocessing

    @cached_property
    def _shares(self) -> dict[str, np.ndarray]:
        return {
            split: caption_shares(self.photos.references(split), self.classes)
            for split in self.photos.tables
        }

    def shares(self, split: str) -> np.ndarray:
        """The share of each photo's captions that name each label, ``(photos, C)`` float32."""
        return self._shares[split]

    def photo_labels(self, split: str) -> np.ndarray:
        """1 or 0 of each photo and label, ``(photos, C)`` int64."""
        captions = np.array([len(given) for given in self.photos.references(split)])
        needed = np.minimum(self.least, captions) / np.maximum(captions, 1)
        return (self._shares[split] > needed[:, None] - 1e-4).astype(np.int64)

    def frame_labels(self, split: str) -> list[np.ndarray]:
        """The labels of each photo as those of a single frame, ``(1, C)``."""
        return list(self.photo_labels(split)[:, None])

    # -- frames -----------------------------------------------------------------------------

    def use_clips(
        self,
        split: str,
        directory: str,
        *,
        encoder: ResNetEncoder | None = None,
        stages: int = len(STAGES),
    ) -> None:
        """Computes, or finds, the features of the split; ``encoder`` has to be a frozen ResNet."""
        if encoder is None or stages < len(STAGES):
            raise InvalidOption(
                "Sequences of photos are made of features: the encoder has to be frozen.",
                hint="Set encoder.trainable_stages to 0, and take a ResNet.",
            )
        if split == TRAIN and self._grids is None:
            pictures = self.photos.pictures(split)
            self._grids = self._cached(
                split, directory, encoder, "grid", pictures, pictures.fingerprint
            )
        if split not in self._views and (split != TRAIN or self.shots.cut_out):
            share = self.shots.disturbed
            plain, disturbed = (
                self._encoded(split, directory, encoder, disturbed=disturbed) if needed else None
                for disturbed, needed in ((False, share < 1), (True, share > 0))
            )
            self._views[split] = EncodedViews(plain, disturbed, share)

    def _encoded(
        self, split: str, directory: str, encoder: ResNetEncoder, *, disturbed: bool
    ) -> np.ndarray:
        pictures, views = self.photos.pictures(split), self.shots.views
        seen = PhotoViews(pictures, views, seed=self.seed, disturbed=disturbed)
        rows = self._cached(split, directory, encoder, "pooled", seen, seen.fingerprint)
        by_photo: np.ndarray = rows.reshape(len(pictures), views, -1)
        return by_photo

    def _cached(
        self,
        split: str,
        directory: str,
        encoder: ResNetEncoder,
        output: Literal["grid", "pooled"],
        seen: Sequence[Tensor],
        fingerprint: str,
    ) -> np.ndarray:
        encoder = copy.copy(encoder)
        encoder.output = output
        name = f"photos-{split}"
        return cached_features(seen, fingerprint, encoder, self.preprocessing, directory, name=name)

    # -- Lightning --------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """What the table lacks is said before anything is computed."""
        for split in {"fit": (TRAIN, VALIDATION), "test": (TEST,)}.get(stage, (VALIDATION,)):
            if split not in self.photos.tables:
                raise DataError(
                    f"The table has no {split} photos.",
                    hint="Give it a column split, or data.source a mapping.",
                )

    def sequences(self, split: str) -> Dataset[tuple[int, ClipExample]]:
        """The split's sequences: random ones of training, fixed ones of validation and test."""
        if split == TRAIN:
            assert self._grids is not None
            return RandomSequences(
                self._grids,
                self._shares[split],
                self.shots,
                self.every_s,
                cut_out=self._views.get(split),
                seed=self.seed,
            )
        labels = self.photo_labels(split)
        return FixedSequences(self._views[split], labels, self.shots, self.every_s, self.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training photo begins one sequence of an epoch."""
        return self._loader(TRAIN)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation photo is in one sequence."""
        return self._loader(VALIDATION)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test photo is in one sequence."""
        return self._loader(TEST)

    def _loader(self, split: str) -> DataLoader[Any]:
        return DataLoader(
            _Later(self, split),
            batch_size=self.batch_size,
            shuffle=split == TRAIN,
            collate_fn=collated,
        )


class _Later(Dataset[tuple[int, ClipExample]]):
    """Sequences whose features come when the module asks for them, after loaders are made."""

    def __init__(self, data: PhotoSequenceDataModule, split: str) -> None:
        self.data, self.split = data, split
        photos, shots = len(data.photos.tables[split]), data.shots.shots
        self.length = photos if split == TRAIN else -(-photos // shots)
        self._made: Dataset[tuple[int, ClipExample]] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[int, ClipExample]:
        if self._made is None:
            self._made = self.data.sequences(self.split)
        return self._made[item]
