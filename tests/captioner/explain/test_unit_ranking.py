"""The unit that knows something is found, and nothing is found where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from captioner.errors import InvalidOption
from captioner.explain.units.ranking import area_under_curve, correlation, rank
from captioner.explain.units.recording import Recording

LENGTH, UNITS = 4000, 12


def recording(states: np.ndarray) -> Recording:
    length = len(states)
    return Recording(
        tuple(f"h1.{place}" for place in range(states.shape[1])),
        states.astype(np.float16),
        np.zeros((length, 5), dtype=np.int32),
        np.zeros((length, 5), dtype=np.float32),
        np.zeros(length, dtype=np.float32),
    )


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(LENGTH, UNITS))


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 5, LENGTH)


def by_pairs(values: np.ndarray, labels: np.ndarray) -> float:
    """The definition: each 1 against each 0."""
    high, low = values[labels == 1][:, None], values[labels == 0][None]
    return float(((high > low) + (high == low) / 2).mean())


def test_the_area_is_that_of_all_pairs() -> None:
    source = np.random.default_rng(2)
    values = source.normal(size=(200, 3)).round(1).astype(np.float16)  # many ties
    values[:5] = [[-0.0], [0.0], [65504], [-65504], [6e-8]]
    labels = (source.random(200) < 0.3).astype(float)
    expected = [by_pairs(values[:, column], labels) for column in range(3)]
    np.testing.assert_allclose(area_under_curve(values, labels), expected, atol=1e-12)
    # A constant is worth what chance is.
    assert area_under_curve(np.zeros((200, 1), dtype=np.float16), labels)[0] == 0.5


def test_the_correlation_is_pearsons() -> None:
    source = np.random.default_rng(3)
    values, labels = source.normal(size=(300, 4)), source.normal(size=300)
    expected = [np.corrcoef(values[:, column], labels)[0, 1] for column in range(4)]
    np.testing.assert_allclose(correlation(values, labels), expected, atol=1e-5)
    assert correlation(np.ones((300, 1)), labels)[0] == 0


def test_the_unit_that_knows_is_found_whatever_its_sign(
    noise: np.ndarray, tokens: np.ndarray
) -> None:
    flag = (np.arange(LENGTH) // 37 % 2).astype(float)
    count = (np.arange(LENGTH) % 23).astype(float)
    noise[:, 4] = -3 * flag + 0.3 * noise[:, 4]
    noise[:, 9] = count / 23 + 0.02 * noise[:, 9]
    first, second = rank(recording(noise), {"flag": flag, "count": count}, tokens)
    assert (first.best.unit, first.best.sign, first.measure) == ("h1.4", -1, "AUC")
    assert first.best.score > 0.99
    assert (second.best.unit, second.best.sign, second.measure) == ("h1.9", 1, "|r|")
    assert second.best.score > 0.99
    assert first.untrained is None
    for finding in (first, second):
        chance = 0.5 if finding.measure == "AUC" else 0.0
        assert abs(finding.shuffled - chance) < 0.06
        assert abs(finding.character - chance) < 0.06


def test_of_noise_the_chosen_half_flatters_and_the_other_does_not(tokens: np.ndarray) -> None:
    source = np.random.default_rng(5)
    noise, flag = source.normal(size=(400, 500)), (source.random(400) < 0.5).astype(float)
    (finding,) = rank(recording(noise), {"flag": flag}, tokens[:400])
    assert finding.best.chosen_score > 0.6
    assert finding.best.score < 0.6


def test_the_second_half_is_scored_in_the_direction_of_the_first(
    noise: np.ndarray, tokens: np.ndarray
) -> None:
    flag = (np.arange(LENGTH) // 37 % 2).astype(float)
    turned = np.where(np.arange(LENGTH) < LENGTH // 2, flag, 1 - flag)
    noise[:, 4] = 3 * turned + 0.3 * noise[:, 4]
    (finding,) = rank(recording(noise), {"flag": flag}, tokens)
    assert finding.best.chosen_score > 0.99
    assert finding.best.score < 0.01


def test_an_untrained_network_is_chosen_from_likewise(
    noise: np.ndarray, tokens: np.ndarray
) -> None:
    flag = (np.arange(LENGTH) // 37 % 2).astype(float)
    other = noise.copy()
    other[:, 2] += flag
    (finding,) = rank(recording(noise), {"flag": flag}, tokens, untrained=recording(other))
    expected = by_pairs(other[LENGTH // 2 :, 2].astype(np.float16), flag[LENGTH // 2 :])
    assert finding.untrained == pytest.approx(expected, abs=1e-3)


def test_what_the_character_says_is_its_mean_label(noise: np.ndarray, tokens: np.ndarray) -> None:
    flag = (tokens == 3).astype(float)
    (finding,) = rank(recording(noise), {"flag": flag}, tokens)
    assert finding.character == 1.0
    assert finding.share == pytest.approx(flag.mean())


def test_places_without_a_label_do_not_count(noise: np.ndarray, tokens: np.ndarray) -> None:
    flag = (np.arange(LENGTH) // 37 % 2).astype(float)
    noise[:, 4] = flag
    noise[::3, 4] = np.random.default_rng(6).normal(size=len(noise[::3]))
    flag[::3] = np.nan
    (finding,) = rank(recording(noise), {"flag": flag}, tokens)
    assert finding.best.score == 1.0


def test_a_label_that_one_half_does_not_vary_in_is_left_out(
    noise: np.ndarray, tokens: np.ndarray
) -> None:
    late = (np.arange(LENGTH) > 3000).astype(float)
    assert rank(recording(noise), {"late": late}, tokens) == []


def test_lengths_must_fit(noise: np.ndarray, tokens: np.ndarray) -> None:
    with pytest.raises(InvalidOption, match="has 3 values for 4000"):
        rank(recording(noise), {"short": np.zeros(3)}, tokens)
