"""Which pictures and captions stand together in a batch.

Batches are made of whole pictures, so that a picture is encoded once for all its captions, and of
captions of similar length, so that little padding is computed. The order is a function of seed and
epoch alone: a resumed run goes on in the order it would have had.

On Flickr8k (five captions a picture, 64 pictures a batch) a random order pads 56 % of all steps,
buckets of 32 batches 29 %. The rest is the spread among a picture's own five captions;
``groups=2`` (a picture's short and its long captions in different batches) leaves 14 %, one
caption a picture and epoch 4 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data.distributed import DistributedSampler


class Example(NamedTuple):
    """A picture and which of its captions, by their numbers."""

    image: int
    captions: tuple[int, ...]


Batch = list[Example]


class LengthBatches(DistributedSampler[Any]):
    """Batches of ``Example`` for one epoch and one process.

    ``lengths[i]``: the lengths of picture i's captions. ``batch_size``: pictures a process and
    batch. All processes plan the same epoch of batches of ``batch_size * num_replicas`` pictures
    and take every ``num_replicas``-th picture of each: together they see what one process with
    that batch size would see, each picture once, in equally many batches. Only where a last batch
    has fewer pictures than there are processes does one come twice.

    A ``DistributedSampler`` because that is what Lightning leaves in place under DDP.
    """

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        batch_size: int,
        *,
        captions_per_image: int | None = None,
        groups: int = 1,
        bucket: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        pictures: Any = range(len(lengths))
        super().__init__(pictures, num_replicas, rank, shuffle, seed)
        self.lengths = [np.asarray(each, dtype=np.int64) for each in lengths]
        self.batch_size = batch_size
        self.captions_per_image = captions_per_image
        self.groups, self.bucket = groups, bucket

    def __len__(self) -> int:
        """Batches an epoch; the same in every epoch and process."""
        kept = (self._kept(len(each)) for each in self.lengths)
        examples = sum(max(1, min(self.groups, count)) for count in kept)
        return -(-examples // (self.batch_size * self.num_replicas))

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.plan():
            mine = batch[self.rank :: self.num_replicas]
            yield mine or [batch[self.rank % len(batch)]]

    def plan(self) -> list[Batch]:
        """The batches of all processes together in the epoch of ``set_epoch``."""
        random = np.random.default_rng([self.seed, self.epoch])
        examples: Batch = []
        for image, lengths in enumerate(self.lengths):
            chosen = np.arange(len(lengths))
            if self.shuffle and self._kept(len(lengths)) < len(lengths):
                chosen = np.sort(random.permutation(len(lengths))[: self._kept(len(lengths))])
            if self.groups > 1:
                chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
            parts = np.array_split(chosen, max(1, min(self.groups, len(chosen))))
            examples += [Example(image, tuple(part.tolist())) for part in parts]
        order = random.permutation(len(examples)) if self.shuffle else np.arange(len(examples))
        longest = np.array([self.longest(example) for example in examples])
        size = self.batch_size * self.num_replicas
        chunk = size * self.bucket if self.shuffle else max(1, len(examples))
        batches: list[Batch] = []
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            part = part[np.argsort(-longest[part], kind="stable")]
            batches += [
                [examples[i] for i in part[first : first + size]]
                for first in range(0, len(part), size)
            ]
        if self.shuffle:
            batches = [batches[i] for i in random.permutation(len(batches))]
        return batches

    def longest(self, example: Example) -> int:
        """The length of an example's longest caption, which decides how far its batch runs."""
        return int(self.lengths[example.image][list(example.captions)].max(initial=0))

    def padding(self) -> float:
        """The share of steps computed in this epoch that are padding, 0 to 1."""
        real = steps = 0
        for batch in self.plan():
            real += sum(int(self.lengths[e.image][list(e.captions)].sum()) for e in batch)
            steps += max(map(self.longest, batch)) * sum(len(e.captions) for e in batch)
        return 1 - real / steps if steps else 0.0

    def _kept(self, captions: int) -> int:
        limited = self.shuffle and self.captions_per_image is not None
        return min(captions, self.captions_per_image or captions) if limited else captions
