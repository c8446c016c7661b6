"""How much a share of few examples says."""

from __future__ import annotations

import math

from captioner.errors import InvalidOption


def proportion_interval(right: int, total: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a share, by default of 95 %: ``(low, high)`` in 0 to 1.

    Unlike the bootstrap it is no point where all examples are right, or none is. (E. B. Wilson,
    Journal of the American Statistical Association 22, 1927.)
    """
    if not 0 <= right <= total or total < 1:
        raise InvalidOption(f"{right} of {total} is no share.", hint="Give at least one example.")
    share = right / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
