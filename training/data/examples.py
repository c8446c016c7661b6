"""Pictures and numbered captions -> the tensors of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captioner.text.vocabulary import Vocabulary
from training.data.batches import Example
from training.data.pictures import Pictures
from training.data.tokens import Tokens


class CaptionExamples(Dataset[dict[str, Tensor]]):
    """One split. ``examples[batch]`` gives, for a list of ``Example``, image-wise:

    - ``index (images,)``: the pictures' rows in the table, which ``references`` go by;
    - ``pixels (images, 3, size, size)`` uint8 or, where features are cached,
      ``features (images, positions, size)`` float32;
    - ``tokens (rows, time)``: start, words, end, padded with 0;
    - ``lengths (rows,)``: how many tokens are to be predicted: the words and the end;
    - ``rows (rows,)``: which of the batch's images a caption belongs to.

    Rows come in order of falling length, so that the first ``n`` are what is left at a step. Of a
    caption with more than ``max_tokens`` words the first ones are predicted, and no end.
    """

    def __init__(
        self,
        pictures: Pictures,
        tokens: Tokens,
        vocabulary: Vocabulary,
        *,
        max_tokens: int | None = None,
    ) -> None:
        self.pictures = pictures
        self.features: np.ndarray | None = None
        start, end = vocabulary.start_id, vocabulary.end_id
        self.images: list[int] = []  # a picture's first caption; one more entry closes the last
        offsets, ids = [0], []
        for captions in tokens:
            self.images.append(len(offsets) - 1)
            for caption in captions:
                words = vocabulary.encode(caption)
                whole = max_tokens is None or len(words) <= max_tokens
                ids += [start, *words, end] if whole else [start, *words[:max_tokens]]
                offsets.append(len(ids))
        self.images.append(len(offsets) - 1)
        # Flat arrays: a list of lists would be copied page by page into every worker.
        self.ids = np.array(ids, dtype=np.int32)
        self.offsets = np.array(offsets, dtype=np.int64)

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images) - 1

    def lengths(self) -> list[list[int]]:
        """For each picture, how many tokens of each caption are to be predicted."""
        spans = (np.diff(self.offsets) - 1).tolist()
        pairs = zip(self.images[:-1], self.images[1:], strict=True)
        return [spans[first:last] for first, last in pairs]

    def __getitem__(self, batch: int | Sequence[Example]) -> dict[str, Tensor]:
        """The batch of some examples, or of one picture with all its captions."""
        if isinstance(batch, int):
            count = self.images[batch + 1] - self.images[batch]
            batch = [Example(batch, tuple(range(count)))]
        index = [example.image for example in batch]
        pairs = [
            (self._caption(example.image, number), row)
            for row, example in enumerate(batch)
            for number in example.captions
        ]
        pairs.sort(key=lambda pair: -len(pair[0]))
        longest = max((len(ids) for ids, _ in pairs), default=1)
        tokens = np.zeros((len(pairs), longest), dtype=np.int64)
        for line, (ids, _) in enumerate(pairs):
            tokens[line, : len(ids)] = ids
        return {
            "index": torch.tensor(index),
            **self._seen(index),
            "tokens": torch.from_numpy(tokens),
            "lengths": torch.tensor([len(ids) - 1 for ids, _ in pairs], dtype=torch.long),
            "rows": torch.tensor([row for _, row in pairs], dtype=torch.long),
        }

    def _caption(self, image: int, number: int) -> np.ndarray:
        at = self.images[image] + number
        return self.ids[self.offsets[at] : self.offsets[at + 1]]

    def _seen(self, index: list[int]) -> dict[str, Tensor]:
        if self.features is None:
            return {"pixels": torch.stack([self.pictures[i] for i in index])}
        return {"features": torch.from_numpy(self.features[index].astype(np.float32))}
