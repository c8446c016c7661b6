"""CIDEr-D (Vedantam et al. 2015, section 8): n-gram vectors weighted by how telling they are.

This is what the COCO caption evaluation prints as "CIDEr". An n-gram's weight is its count
times ``log N - log max(1, df)``: N images, df of them with the n-gram in some reference. By
default the scored references say what df is, so a score depends on the set, one image alone
gets 0 and small sets score high. A fixed ``DocumentFrequency``, of the training captions, makes
scores comparable across sets, and is what self-critical training needs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError
from captioner.metrics.captions import Caption, NGram, check_captions, count_ngrams

MAX_ORDER = 4
SIGMA = 6.0
SCALE = 10.0


class DocumentFrequency:
    """In how many of ``num_images`` images' references each n-gram comes.

    N-grams in a single image are not stored: ``log max(1, df)`` is 0 for them as for those never
    seen.
    """

    def __init__(self, counts: Mapping[NGram, int], num_images: int) -> None:
        self.counts = {ngram: count for ngram, count in counts.items() if count > 1}
        self.num_images = num_images
        if num_images < 1 or any(count > num_images for count in self.counts.values()):
            raise DataError(
                f"An n-gram cannot come in more than all {num_images} images.",
                hint="Count each n-gram at most once an image.",
            )

    @classmethod
    def of(cls, references: Sequence[Sequence[Caption]]) -> DocumentFrequency:
        """Count over the references of each image."""
        counts: Counter[NGram] = Counter()
        for captions in references:
            seen: set[NGram] = set()
            for caption in captions:
                seen.update(count_ngrams(caption, MAX_ORDER))
            counts.update(seen)
        return cls(counts, len(references))

    def weights(self) -> list[float]:
        """The weight of an n-gram by its count, 0 to ``num_images``."""
        log_images = math.log(self.num_images)
        return [log_images - math.log(max(1, count)) for count in range(self.num_images + 1)]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DocumentFrequency)
            and self.num_images == other.num_images
            and self.counts == other.counts
        )

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> str:
        """A JSON object: the number of images, and n-grams (words joined by spaces) with counts."""
        counts = {" ".join(ngram): count for ngram, count in self.counts.items()}
        return json.dumps({"num_images": self.num_images, "counts": counts}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> DocumentFrequency:
        """Read what ``to_json`` wrote. Raises ``DataError`` for anything else."""
        try:
            table = json.loads(text)
            counts = {tuple(key.split(" ")): int(n) for key, n in table["counts"].items()}
            return cls(counts, int(table["num_images"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"This is not a table of document frequencies: {text[:60]!r}.",
                hint="Write it anew with DocumentFrequency.of(references).to_json().",
            ) from error


_Places = tuple[tuple[int, int], ...]


@dataclass
class _References:
    """One image's references, arranged so that a caption is compared with all at once.

    ``places`` says of each n-gram in which references it comes (by number), and how often.
    """

    norms: list[list[float]]
    lengths: list[int]
    places: dict[NGram, _Places]


class CiderD:
    """Scores captions against references that are turned into vectors once.

    ``references[i]`` are the tokenised references of image ``i``. Without a
    ``document_frequency`` it is counted over these references. What the end of a caption is worth
    can be scored as well: put the end token into references and candidates.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Caption]],
        document_frequency: DocumentFrequency | None = None,
    ) -> None:
        self.document_frequency = document_frequency or DocumentFrequency.of(references)
        self._counts = self.document_frequency.counts
        self._weights = self.document_frequency.weights()
        # Equal n-grams of different images are one object, equal places too: that saves memory.
        same_ngram: dict[NGram, NGram] = {ngram: ngram for ngram in self._counts}
        same_places: dict[_Places, _Places] = {}
        self._images = []
        for captions in references:
            image = self._prepare(captions)
            image.places = {
                same_ngram.get(ngram, ngram): same_places.setdefault(places, places)
                for ngram, places in image.places.items()
            }
            self._images.append(image)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images)

    def score_one(self, image: int, candidate: Caption) -> float:
        """CIDEr-D of one caption for image number ``image``, in 0 to 10."""
        references = self._images[image]
        entries, norms = self._vector(candidate)
        products = [[0.0] * MAX_ORDER for _ in references.norms]
        for ngram, count, weight in entries:
            for number, its_count in references.places.get(ngram, ()):
                clipped = min(count, its_count) * its_count
                products[number][len(ngram) - 1] += clipped * weight * weight
        total = 0.0
        for product, its_norms, its_length in zip(
            products, references.norms, references.lengths, strict=True
        ):
            similarity = sum(
                dot / (norm * its_norm)
                for dot, norm, its_norm in zip(product, norms, its_norms, strict=True)
                if dot
            )
            # The original counts bigrams: the same difference, as an empty caption scores 0 anyhow.
            difference = len(candidate) - its_length
            total += similarity * math.exp(-(difference**2) / (2 * SIGMA**2))
        return SCALE * total / MAX_ORDER / len(products)

    def score(
        self, candidates: Sequence[Caption], images: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """CIDEr-D of many captions ``(captions,)``: the i-th is for image ``images[i]``.

        Without ``images``, the i-th is for image i.
        """
        numbers = range(len(self)) if images is None else images
        pairs = zip(numbers, candidates, strict=True)
        return np.array([self.score_one(image, caption) for image, caption in pairs])

    def _prepare(self, captions: Sequence[Caption]) -> _References:
        places: dict[NGram, list[tuple[int, int]]] = {}
        norms = []
        for number, caption in enumerate(captions):
            entries, its_norms = self._vector(caption)
            norms.append(its_norms)
            for ngram, count, _ in entries:
                places.setdefault(ngram, []).append((number, count))
        return _References(
            norms=norms,
            lengths=[len(caption) for caption in captions],
            places={ngram: tuple(pairs) for ngram, pairs in places.items()},
        )

    def _vector(self, caption: Caption) -> tuple[list[tuple[NGram, int, float]], list[float]]:
        # The n-grams with count and weight, and the norm of the vector of each order.
        known, weights = self._counts.get, self._weights
        squares = [0.0] * MAX_ORDER
        entries = []
        for ngram, count in count_ngrams(caption, MAX_ORDER).items():
            weight = weights[known(ngram, 0)]
            squares[len(ngram) - 1] += (count * weight) ** 2
            entries.append((ngram, count, weight))
        return entries, [math.sqrt(square) for square in squares]


def cider_d(
    candidates: Sequence[Caption],
    references: Sequence[Sequence[Caption]],
    document_frequency: DocumentFrequency | None = None,
) -> tuple[float, NDArray[np.float64]]:
    """The mean over the images, and each image's value ``(images,)``, all in 0 to 10."""
    check_captions(candidates, references)
    per_image = CiderD(references, document_frequency).score(candidates)
    return float(per_image.mean()), per_image
