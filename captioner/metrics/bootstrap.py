"""Confidence intervals by the bootstrap (Efron 1979): how much a score depends on the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from captioner.errors import InvalidOption

Statistic = Callable[[NDArray[np.intp]], float]
"""A score of the images whose numbers are given, repetitions included."""


def bootstrap_interval(
    statistic: Statistic,
    num_images: int,
    *,
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval ``(low, high)`` of a statistic over images drawn with repetition.

    The same seed gives the same draws, so two systems are compared on the same images. Raises
    ``InvalidOption`` for a level outside 0 to 1 or fewer than one draw.
    """
    if not 0 < level < 1:
        raise InvalidOption(
            f"A confidence level of {level} is not between 0 and 1.", hint="Take 0.95."
        )
    if num_draws < 1 or num_images < 1:
        raise InvalidOption(
            f"{num_draws} draws of {num_images} images give no interval.",
            hint="Take at least one of each; 1000 draws are usual.",
        )
    values = [statistic(images) for images in _draws(num_images, num_draws, seed)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_of(per_image: NDArray[np.float64]) -> Statistic:
    """The statistic of a score that is a plain mean over images."""
    return lambda images: float(per_image[images].mean())


def _draws(num_images: int, num_draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    generator = np.random.default_rng(seed)
    for _ in range(num_draws):
        yield generator.integers(num_images, size=num_images, dtype=np.intp)
