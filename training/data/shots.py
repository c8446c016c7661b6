"""Photos cut together to sequences: each a shot in which the camera moves, with cuts between them.

Letters: T frames, C labels, D feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

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
    """Training: the share of sequences that are laid over another one (mixup)."""
    cut_out: float = 0.0
    """Training: the share of shots whose views are cut out of the photo and encoded, each photo
    along a path of its own, as in validation. They differ more from frame to frame than means of
    parts of one map, so that a labeller learns to be steady, and cost an encoding each."""


class FixedSequences(Dataset[tuple[int, ClipExample]]):
    """Each photo in one sequence, each view encoded: ``rows (photos, views, D)``.

    ``labels (photos, C)``, 1 or 0. The order of photos, the length of each shot and whether the
    camera goes forth or back are drawn by ``seed``.
    """

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, shots: ShotSettings, every_s: float, seed: int
    ) -> None:
        self.rows, self.labels, self.settings, self.every_s = rows, labels, shots, every_s
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(len(rows), generator=generator).tolist()

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
            boxes = camera_path(photo, self.rows.shape[1], seed=self.seed)
            length = shortest + _below(longest - shortest + 1, generator)
            places = _walk(len(boxes), length, generator)
            rows.append(torch.from_numpy(self.rows[photo].astype(np.float32))[places])
            seen = [boxes[place] for place in places]
            labels.append(_visible(torch.from_numpy(self.labels[photo]), seen))
        return item, _example(rows, labels, self.every_s)


class RandomSequences(Dataset[tuple[int, ClipExample]]):
    """Sequences of training, drawn anew each time; ``grids (photos, positions, D)``.

    ``shares (photos, C)``: the share of captions that name a label. Where a sequence is laid over
    another one, features and labels are the same mixture of both. ``cut_out (photos, views, D)``:
    views that were encoded, along the paths that ``seed`` draws; some of the shots have them.
    """

    def __init__(
        self,
        grids: np.ndarray,
        shares: np.ndarray,
        shots: ShotSettings,
        every_s: float,
        *,
        cut_out: np.ndarray | None = None,
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
        rows, labels = self._draw(item, generator)
        if self._some(self.settings.mix, generator):
            over, theirs = self._draw(_below(len(self), generator), generator)
            count = min(len(rows), len(over))
            weight = float(torch.rand((), generator=generator))
            rows = weight * rows[:count] + (1 - weight) * over[:count]
            unknown = (labels[:count] == IGNORED) | (theirs[:count] == IGNORED)
            labels = weight * labels[:count] + (1 - weight) * theirs[:count]
            labels = labels.masked_fill(unknown, IGNORED)
        return item, _example([rows], [labels], self.every_s)

    def _draw(self, first: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shortest, longest = self.settings.train_shortest, self.settings.train_longest
        rows, labels = [], []
        for shot in range(self.settings.shots):
            photo = _below(len(self), generator) if shot else first
            views, boxes = self._views(photo, generator)
            length = shortest + _below(longest - shortest + 1, generator)
            places = _walk(self.settings.views, length, generator)
            rows.append(views[places])
            seen = [boxes[place] for place in places]
            labels.append(_visible(torch.from_numpy(self.shares[photo]), seen))
        return torch.cat(rows), torch.cat(labels)

    def _views(self, photo: int, generator: torch.Generator) -> tuple[Tensor, list[Box]]:
        """Features ``(views, D)`` along a path of the camera, and the path."""
        if self.cut_out is not None and self._some(self.settings.cut_out, generator):
            views = torch.from_numpy(self.cut_out[photo].astype(np.float32))
            return views, camera_path(photo, self.settings.views, seed=self.seed)
        path = _below(PATHS, generator)
        grid = torch.from_numpy(self.grids[photo].astype(np.float32))
        return self.weights[path] @ grid, self.paths[path]

    @staticmethod
    def _some(share: float, generator: torch.Generator) -> bool:
        return float(torch.rand((), generator=generator)) < share


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
