"""A caption for each segment of a video, from the frame in which its label is clearest."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from captioner.tasks.caption import CaptionTask, PreparedImage
from captioner.vision.preprocess import Preprocessing

KEPT_PICTURES = 256


class SegmentCaptions:
    """Captions for pixels that were made for the labeller's encoder.

    ``captioner`` may be used by many; ``lock`` leaves the cores to one batch of theirs at a time.
    """

    def __init__(
        self, captioner: CaptionTask, preprocessing: Preprocessing, lock: threading.Lock
    ) -> None:
        self._captioner = captioner
        self._same = captioner.preprocessing == preprocessing
        self._lock = lock

    def captions(self, pictures: Sequence[Tensor]) -> list[str]:
        """Of pixels uint8 ``(3, size, size)``; a picture that comes again is captioned once."""
        different = list({id(pixels): pixels for pixels in pictures}.values())
        prepared = [self._prepared(pixels) for pixels in different]
        with self._lock:
            results = self._captioner.caption(prepared)
        found = {
            id(pixels): result.caption for pixels, result in zip(different, results, strict=True)
        }
        return [found[id(pixels)] for pixels in pictures]

    def _prepared(self, pixels: Tensor) -> PreparedImage:
        if self._same:
            _, height, width = pixels.shape
            return PreparedImage(pixels, width, height, "VIDEO", (), 0.0)
        picture = Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy())
        return self._captioner.open(picture.convert("RGB"))  # it may be grey


class KeptPictures:
    """Pictures of some frames, evenly over all that were shown to it, in constant memory.

    Of every frame, until there are ``most``; then of every second one, and so on.
    """

    def __init__(self, most: int = KEPT_PICTURES) -> None:
        self._most = most
        self._every = 1
        self._seen = 0
        self._kept: dict[int, Tensor] = {}

    def show(self, pixels: Tensor) -> None:
        """The next frame's, uint8 ``(3, size, size)``."""
        if self._seen % self._every == 0:
            self._kept[self._seen] = pixels.clone()  # or it would keep its whole chunk
        self._seen += 1
        if len(self._kept) > self._most:
            self._every *= 2
            self._kept = {n: kept for n, kept in self._kept.items() if n % self._every == 0}

    def all(self) -> list[Tensor | None]:
        """One for each frame that was shown; None where its picture was not kept."""
        return [self._kept.get(number) for number in range(self._seen)]
