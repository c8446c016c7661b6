"""Frames of videos, their labels, and streams of videos -> the tensors of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captioner.metrics.segments import IGNORED
from training.clip_cache import Clips


class ClipExample(NamedTuple):
    """Frames ``(T, …)``, their labels ``(T,)`` or ``(T, C)`` int64, and their times ``(T,)``."""

    rows: Tensor
    labels: Tensor
    times: Tensor


Augmentation = Callable[[ClipExample, torch.Generator], ClipExample]


class ClipExamples(Dataset[tuple[int, ClipExample]]):
    """One split: item ``i`` is ``(i, ClipExample)``, of one video or of several in a row.

    ``streams``: for each item, the numbers of the videos that it puts one behind the other, often
    one. ``random_streams``: of so many videos, the first of them the item's, the others drawn, no
    two neighbours with the same label. The frames themselves come later: :meth:`fill`.

    ``augment`` changes a video's frames before they are joined; ``window`` takes so many frames of
    the whole, wherever chance begins. ``seed`` is for what is drawn: with ``fresh``, PyTorch's
    generator decides instead, anew each epoch.
    """

    def __init__(
        self,
        streams: Sequence[Sequence[int]],
        *,
        random_streams: int | None = None,
        augment: Augmentation | None = None,
        window: int | None = None,
        fresh: bool = False,
        seed: int = 0,
    ) -> None:
        self.streams = streams
        self.clips: Clips | None = None
        self.labels: Sequence[np.ndarray] = ()
        self.random_streams, self.augment, self.window = random_streams, augment, window
        self.fresh, self.seed = fresh, seed

    def fill(self, clips: Clips, labels: Sequence[np.ndarray]) -> None:
        """The frames of the videos, and the labels of each video's frames."""
        self.clips, self.labels = clips, labels

    def __len__(self) -> int:
        """Videos or streams."""
        return len(self.streams)

    def __getitem__(self, item: int) -> tuple[int, ClipExample]:
        """The number of the item, and the item."""
        if self.fresh:
            generator = fresh_generator()
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + item)
        videos = self.streams[item]
        if self.random_streams is not None:
            videos = self._draw(videos[0], self.random_streams, generator)
        parts = [self._video(video, generator) for video in videos]
        return item, _window(_joined(parts), self.window, generator)

    def _video(self, video: int, generator: torch.Generator) -> ClipExample:
        if self.clips is None:
            raise RuntimeError("fill comes first: there are no frames yet")
        span = self.clips.span(video)
        rows = torch.from_numpy(np.array(self.clips.rows[span]))
        example = ClipExample(
            rows.float() if rows.dtype == torch.float16 else rows,
            torch.from_numpy(self.labels[video]),
            torch.from_numpy(self.clips.times[span].copy()),
        )
        return example if self.augment is None else self.augment(example, generator)

    def _draw(self, first: int, count: int, generator: torch.Generator) -> list[int]:
        videos = [first]
        for _ in range(100 * count):
            if len(videos) == count:
                break
            other = int(torch.randint(len(self.labels), (), generator=generator))
            if not np.array_equal(self.labels[other][:1], self.labels[videos[-1]][-1:]):
                videos.append(other)
        return videos


def fresh_generator() -> torch.Generator:
    """A generator of its own, seeded by PyTorch's: another one each time."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


def collated(examples: Sequence[tuple[int, ClipExample]]) -> dict[str, Tensor]:
    """A batch, padded to its longest item:

    - ``frames (B, T, C, H, W)`` uint8, ``maps (B, T, channels, h, w)`` or ``features (B, T, D)``;
    - ``labels (B, T)`` or ``(B, T, C)`` int64, -1 where there is none, past the end too;
    - ``label (B,)``: the one that all labelled frames of an item bear, -1 where they do not;
    - ``lengths (B,)``; ``times (B, T)`` in seconds; ``index (B,)``, the items' numbers.
    """
    parts = [example for _, example in examples]
    longest = max(len(part.rows) for part in parts)
    rows = torch.stack([_padded(part.rows, longest, 0) for part in parts])
    kind = "features" if rows.dim() == 3 else "frames" if rows.dtype == torch.uint8 else "maps"
    return {
        "index": torch.tensor([item for item, _ in examples]),
        kind: rows,
        "labels": torch.stack([_padded(part.labels, longest, IGNORED) for part in parts]),
        "label": torch.stack([_only_label(part.labels) for part in parts]),
        "lengths": torch.tensor([len(part.rows) for part in parts]),
        "times": torch.stack([_padded(part.times, longest, 0) for part in parts]),
    }


def _only_label(labels: Tensor) -> Tensor:
    if labels.dim() == 2:  # several at once: those of any frame
        return labels.amax(0) if len(labels) else labels.new_full(labels.shape[1:], IGNORED)
    found = labels[labels != IGNORED].unique()
    return found[0] if len(found) == 1 else labels.new_tensor(IGNORED)


def _padded(values: Tensor, length: int, filler: int) -> Tensor:
    missing = length - len(values)
    if not missing:
        return values
    return torch.cat([values, values.new_full((missing, *values.shape[1:]), filler)])


def _joined(parts: Sequence[ClipExample]) -> ClipExample:
    if len(parts) == 1:
        return parts[0]
    times, begin = [], 0.0
    for part in parts:
        times.append(part.times + begin)
        step = float(part.times.diff().median()) if len(part.times) > 1 else 0.0
        begin = float(times[-1][-1]) + step
    return ClipExample(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(times),
    )


def _window(example: ClipExample, size: int | None, generator: torch.Generator) -> ClipExample:
    if size is None or len(example.rows) <= size:
        return example
    start = int(torch.randint(len(example.rows) - size + 1, (), generator=generator))
    return ClipExample(*(part[start : start + size] for part in example))
