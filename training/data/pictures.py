"""The pictures of one split as pixels, decoded by the same code as in the service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from datasets import Dataset
from PIL import Image
from torch import Tensor

from captioner.errors import DataError, UserError
from captioner.vision.image import decode_image
from captioner.vision.preprocess import Preprocessing
from training.data.splits import picture_key


class Pictures(Sequence[Tensor]):
    """``pictures[i]``: uint8 pixels ``(3, size, size)`` of row ``i`` of a table.

    Raises ``DataError`` with the picture's name where it cannot be read or decoded.
    """

    def __init__(self, table: Dataset, preprocessing: Preprocessing) -> None:
        self.table = table.select_columns(["image", "filename"])
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """The pixels of one picture, or of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.preprocessing.pixels(self.image(index))

    def image(self, index: int) -> Image.Image:
        """One picture, decoded at least as large as the pixels are to be."""
        row = self.table[index]
        try:
            data = read_bytes(row["image"])
            return decode_image(data, target_size=self.preprocessing.target_size()).image
        except OSError as error:
            raise DataError(f"{row['filename']} cannot be read: {error}.") from None
        except UserError as error:
            raise DataError(f"{row['filename']}: {error.message}", hint=error.hint) from error

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the pictures' files in their order (see ``splits.picture_key``)."""
        digest = hashlib.sha256()
        for row in self.table:
            digest.update(picture_key(row["image"]["bytes"], row["image"]["path"]).encode())
        return digest.hexdigest()


def read_bytes(image: dict[str, Any]) -> bytes:
    """The file of one cell of the column ``image``; OSError when there is none."""
    data = image["bytes"]
    return Path(image["path"]).read_bytes() if data is None else bytes(data)
