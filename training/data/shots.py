"""Photos cut together to sequences: each a shot in which the camera moves, with cuts between them.

Letters: T frames, C labels, D feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captioner.errors import InvalidOption
from captioner.metrics.segments import IGNORED
from training.data.photo_views import Box, camera_path
from training.data.video_examples import ClipExample, fresh_generator

PATHS = 1000  # of the camera, that training draws from
MOST = 0.5  # share of a photo's area from which a view keeps all of its labels


@dataclass
class ShotSettings:
    """How a sequence is cut together."""

    shots: int = 4
    """Photos in a sequence."""
    views: int = 5
    """Places of the camera along a shot."""
    shortest: int = 4
    """Frames of a shot at least."""
    longest: int = 10
    """Frames of a shot at most."""
    train_shortest: int = 2
    """The same in training, where short shots cost less and a cut is what there is to learn."""
    train_longest: int = 6
    mix: float = 0.5
    """Training: the share of shots that are laid over another one (mixup), cut for cut, so that a
    cut stays one."""
    cut_out: float = 0.0
    """Training: the share of shots whose views are cut out of the photo and encoded, each photo
    along a path of its own, as in validation. They differ more from frame to frame than means of
    parts of one map, so that a labeller learns to be steady, and cost an encoding each."""
    disturbed: float = 0.0
    """The share of shots whose encoded views are blurred, too dark or light, noisy and coarsely
    coded, as frames of videos are (:mod:`training.data.disturbances`): in training of those that
    are cut out, in validation of all."""

    def check(self) -> None:
        """Raises InvalidOption for lengths in the wrong order and for what is no share."""
        for shortest, longest in (
            (self.shortest, self.longest),
            (self.train_shortest, self.train_longest),
        ):
            if not 1 <= shortest <= longest:
                raise InvalidOption(
                    f"Shots of {shortest} to {longest} frames.",
                    hint="At least 1, and the longest no shorter than the shortest.",
                )
        for name in ("cut_out", "disturbed"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InvalidOption(f"shots.{name} is {share}.", hint="A share, from 0 to 1.")


class EncodedViews(NamedTuple):
    """Features of views, ``(photos, views, D)`` each: as they are, and disturbed.

    None for what no shot has: ``share`` of the shots are disturbed.
    """

    plain: np.ndarray | None
    disturbed: np.ndarray | None = None
    share: float = 0.0

    def of(self, photo: int, generator: torch.Generator) -> Tensor:
        """A shot's, ``(views, D)`` float32."""
        is_disturbed = self.share > 0 and _some(self.share, generator)
        rows = self.disturbed if is_disturbed else self.plain
        assert rows is not None
        return torch.from_numpy(rows[photo].astype(np.float32))


class FixedSequences(Dataset[tuple[int, ClipExample]]):
    """Each photo in one sequence, each view encoded.

    ``labels (photos, C)``, 1 or 0. The order of photos, the length of each shot, whether the
    camera goes forth or back and which shots are disturbed are drawn by ``seed``.
    """

    def __init__(
        self,
        views: EncodedViews,
        labels: np.ndarray,
        shots: ShotSettings,
        every_s: float,
        seed: int,
    ) -> None:
        self.views, self.labels, self.settings, self.every_s = views, labels, shots, every_s
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(len(labels), generator=generator).tolist()

    def __len__(self) -> int:
        return -(-len(self.order) // self.settings.shots)

    def __getitem__(self, item: int) -> tuple[int, ClipExample]:
        """The number of the sequence, and the sequence."""
        if not 0 <= item < len(self):
            raise IndexError(item)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + item)
        first = item * self.settings.shots
        shortest, longest = self.settings.shortest, self.settings.longest
        rows, labels = [], []
        for photo in self.order[first : first + self.settings.shots]:
            boxes = camera_path(photo, self.settings.views, seed=self.seed)
            length = shortest + _below(longest - shortest + 1, generator)
            places = _walk(len(boxes), length, generator)
            rows.append(self.views.of(photo, generator)[places])
            seen = [boxes[place] for place in places]
            labels.append(_visible(torch.from_numpy(self.labels[photo]), seen))
        return item, _example(rows, labels, self.every_s)


class RandomSequences(Dataset[tuple[int, ClipExample]]):
    """Sequences of training, drawn anew each time; ``grids (photos, positions, D)``.

    ``shares (photos, C)``: the share of captions that name a label. Where a shot is laid over
    another one, features and labels are the same mixture of both. ``cut_out``: views that
    were encoded, along the paths that ``seed`` draws; some of the shots have them.
    """

    def __init__(
        self,
        grids: np.ndarray,
        shares: np.ndarray,
        shots: ShotSettings,
        every_s: float,
        *,
        cut_out: EncodedViews | None = None,
        seed: int = 0,
    ) -> None:
        self.grids, self.shares, self.settings, self.every_s = grids, shares, shots, every_s
        self.cut_out, self.seed = cut_out, seed
        self.paths = [camera_path(number, shots.views) for number in range(PATHS)]
        self.weights = [map_weights(boxes, grids.shape[1]) for boxes in self.paths]

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, item: int) -> tuple[int, ClipExample]:
        """The number of the first photo, and a sequence that begins with it."""
        generator = fresh_generator()
        shortest, longest = self.settings.train_shortest, self.settings.train_longest
        rows, labels = [], []
        for shot in range(self.settings.shots):
            photo = _below(len(self), generator) if shot else item
            length = shortest + _below(longest - shortest + 1, generator)
            seen, named = self._shot(photo, length, generator)
            if _some(self.settings.mix, generator):
                over, theirs = self._shot(_below(len(self), generator), length, generator)
                weight = float(torch.rand((), generator=generator))
                unknown = (named == IGNORED) | (theirs == IGNORED)
                seen = weight * seen + (1 - weight) * over
                named = (weight * named + (1 - weight) * theirs).masked_fill(unknown, IGNORED)
            rows.append(seen)
            labels.append(named)
        return item, _example(rows, labels, self.every_s)

    def _shot(self, photo: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features ``(length, D)`` and labels ``(length, C)``."""
        views, boxes = self._views(photo, generator)
        places = _walk(self.settings.views, length, generator)
        named = torch.from_numpy(self.shares[photo])
        return views[places], _visible(named, [boxes[place] for place in places])

    def _views(self, photo: int, generator: torch.Generator) -> tuple[Tensor, list[Box]]:
        """Features ``(views, D)`` along a path of the camera, and the path."""
        if self.cut_out is not None and _some(self.settings.cut_out, generator):
            views = self.cut_out.of(photo, generator)
            return views, camera_path(photo, self.settings.views, seed=self.seed)
        path = _below(PATHS, generator)
        grid = torch.from_numpy(self.grids[photo].astype(np.float32))
        return self.weights[path] @ grid, self.paths[path]


def map_weights(boxes: Sequence[Box], positions: int) -> Tensor:
    """What each position of a square map, row by row, counts in each box: ``(boxes, positions)``.

    The share of a box that lies on the position's cell; each row sums to 1.
    """
    side = round(positions**0.5)
    edges = torch.arange(side + 1) / side
    given = torch.tensor(boxes)  # (boxes, 4)

    def overlap(low: Tensor, high: Tensor) -> Tensor:
        begin = torch.maximum(low[:, None], edges[None, :-1])
        end = torch.minimum(high[:, None], edges[None, 1:])
        return (end - begin).clamp(min=0)

    across, down = overlap(given[:, 0], given[:, 2]), overlap(given[:, 1], given[:, 3])
    weights = (down[:, :, None] * across[:, None, :]).flatten(1)
    return weights / weights.sum(1, keepdim=True)


def _some(share: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < share


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _walk(views: int, frames: int, generator: torch.Generator) -> list[int]:
    """The view of each frame: along the path at an even pace, forth or back."""
    places = [round(step * (views - 1) / max(1, frames - 1)) for step in range(frames)]
    return places[::-1] if float(torch.rand((), generator=generator)) < 0.5 else places


def _visible(labels: Tensor, boxes: Sequence[Box]) -> Tensor:
    """``(C,)`` of the photo -> ``(T, C)`` of its views."""
    rows = labels.expand(len(boxes), -1).clone()
    lost = torch.tensor([box.share < MOST for box in boxes])
    return rows.masked_fill(lost[:, None] & (rows > 0), IGNORED)


def _example(rows: list[Tensor], labels: list[Tensor], every_s: float) -> ClipExample:
    joined = torch.cat(rows)
    return ClipExample(joined, torch.cat(labels), torch.arange(len(joined)).double() * every_s)
