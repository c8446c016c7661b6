"""Which unit fits a hypothesis: chosen on the first half of a text, scored on the second.

Linear probes over all units are no evidence: on an *untrained* network a ridge probe finds columns
and depths, too. A score here is that of one unit, and stands beside what comes without learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import InvalidOption
from captioner.explain.units.hypotheses import Labels, is_binary
from captioner.explain.units.recording import Recording

BEST = 10
_HALF = 2**15

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """One unit and one hypothesis.

    ``score`` on the second half, in the direction that the first half showed: the area under the
    ROC curve of a label of zeros and ones (chance: 0.5), else the correlation (chance: 0).
    ``chosen_score``: on the half it was chosen on. ``sign``: -1 for a unit that falls where the
    label rises.
    """

    unit: str
    score: float
    chosen_score: float
    sign: int


@dataclass(frozen=True)
class Finding:
    """What was found for a hypothesis.

    ``fits``: the units, the best of the first half first. Controls: ``untrained``, the best unit of
    a network of the same shape that has learnt nothing, chosen likewise; ``shuffled``, the best
    unit for the same labels in random order; ``character``, what the present character alone says.
    """

    hypothesis: str
    measure: str
    share: float
    """Of the characters, those with a 1; the mean of a label that is a number."""
    fits: tuple[Fit, ...]
    untrained: float | None
    shuffled: float
    character: float

    @property
    def best(self) -> Fit:
        """The unit that was chosen."""
        return self.fits[0]


def rank(
    recording: Recording,
    labels: Mapping[str, Labels],
    tokens: NDArray[np.integer],
    *,
    untrained: Recording | None = None,
    best: int = BEST,
    seed: int = 0,
) -> list[Finding]:
    """A finding for each label that both halves of the text can test.

    ``tokens (T,)``: the characters. Raises :class:`InvalidOption` when lengths do not fit.
    """
    for name, values in labels.items():
        if len(values) != len(recording) or len(tokens) != len(recording):
            raise InvalidOption(
                f"The label {name!r} has {len(values)} values for {len(recording)} characters."
            )
    findings = []
    for name, values in labels.items():
        first, second = _halves(values)
        if not (_tests(values[first]) and _tests(values[second])):
            continue
        binary = is_binary(values)
        mixed = values.copy()
        order = np.random.default_rng(seed)
        for half in (first, second):
            mixed[half] = order.permutation(values[half])
        fits = _fits(recording, values, first, second, binary, best)
        control = _fits(untrained, values, first, second, binary, 1) if untrained else None
        findings.append(
            Finding(
                name,
                "AUC" if binary else "|r|",
                float(values[np.concatenate((first, second))].mean()),
                fits,
                control[0].score if control else None,
                _fits(recording, mixed, first, second, binary, 1)[0].score,
                _by_character(tokens, values, first, second, binary),
            )
        )
    return findings


def area_under_curve(values: NDArray[np.float16], labels: Labels) -> NDArray[np.float64]:
    """Of each column of ``values (T, n)``: how often a 1 has the higher value than a 0.

    Ties count half. Exact: float16 has few enough values to count each.
    """
    bits = np.ascontiguousarray(values).view(np.uint16).astype(np.int32)
    # In order of size: positive numbers follow their bits, negative ones run against them.
    places = np.where(bits < _HALF, bits + _HALF, 2 * _HALF - 1 - bits)
    places = np.where(bits == _HALF, _HALF, places)  # -0 is 0
    ones = labels == 1
    count = int(ones.sum()), int((~ones).sum())
    found = np.empty(values.shape[1])
    for column in range(values.shape[1]):
        high = np.bincount(places[ones, column], minlength=2 * _HALF)
        low = np.bincount(places[~ones, column], minlength=2 * _HALF)
        below = np.cumsum(low) - low
        found[column] = (high * (below + low / 2)).sum() / count[0] / count[1]
    return found


def correlation(values: NDArray[np.floating], labels: Labels) -> NDArray[np.float64]:
    """Pearson's of each column of ``values (T, n)`` with ``labels (T,)``; 0 where one is still."""
    own = values.astype(np.float32) - values.mean(0, dtype=np.float64).astype(np.float32)
    other = (labels - labels.mean()).astype(np.float32)
    products = (other @ own).astype(np.float64)
    sizes = np.sqrt((own**2).sum(0, dtype=np.float64) * (other**2).sum(dtype=np.float64))
    result: NDArray[np.float64] = np.divide(
        products, sizes, out=np.zeros(values.shape[1]), where=sizes > 1e-9
    )
    return result


def _fits(
    recording: Recording, labels: Labels, first: Places, second: Places, binary: bool, best: int
) -> tuple[Fit, ...]:
    """Each score as a distance from chance in a direction, then as it is reported."""
    measure = area_under_curve if binary else correlation
    chance = 0.5 if binary else 0.0
    chosen = measure(recording.states[first], labels[first]) - chance
    order = np.argsort(-np.abs(chosen), kind="stable")[:best]
    found = measure(recording.states[second][:, order], labels[second]) - chance
    return tuple(
        Fit(
            recording.names[unit],
            chance + float(np.sign(chosen[unit]) * score),
            chance + float(abs(chosen[unit])),
            -1 if chosen[unit] < 0 else 1,
        )
        for unit, score in zip(order.tolist(), found.tolist(), strict=True)
    )


def _by_character(
    tokens: NDArray[np.integer], labels: Labels, first: Places, second: Places, binary: bool
) -> float:
    """Each character's mean label on the first half, as the value of a unit on the second."""
    size = int(tokens.max()) + 1
    sums = np.bincount(tokens[first], weights=labels[first], minlength=size)
    counts = np.bincount(tokens[first], minlength=size)
    means = np.divide(sums, counts, out=np.full(size, labels[first].mean()), where=counts > 0)
    values = means[tokens[second]][:, None]
    if binary:
        return float(area_under_curve(values.astype(np.float16), labels[second])[0])
    return float(correlation(values, labels[second])[0])


def _halves(labels: Labels) -> tuple[Places, Places]:
    known = np.flatnonzero(~np.isnan(labels))
    middle = len(labels) // 2
    return known[known < middle], known[known >= middle]


def _tests(labels: Labels) -> bool:
    return len(labels) > 1 and bool(labels.min() < labels.max())
