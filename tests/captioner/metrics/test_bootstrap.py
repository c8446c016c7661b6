import numpy as np
import pytest

from captioner.errors import InvalidOption
from captioner.metrics import bootstrap_interval, mean_of


def _scores(number: int) -> np.ndarray:
    return np.random.default_rng(1).normal(50, 10, number)


def test_the_same_seed_gives_the_same_interval() -> None:
    statistic = mean_of(_scores(200))
    first = bootstrap_interval(statistic, 200, num_draws=100, seed=3)
    assert first == bootstrap_interval(statistic, 200, num_draws=100, seed=3)
    assert first != bootstrap_interval(statistic, 200, num_draws=100, seed=4)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    scores = _scores(400)
    low, high = bootstrap_interval(mean_of(scores), 400, num_draws=4000)
    half = 1.96 * scores.std() / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.1)
    assert high == pytest.approx(scores.mean() + half, abs=0.1)


def test_a_higher_level_gives_a_wider_interval() -> None:
    statistic = mean_of(_scores(50))
    narrow = bootstrap_interval(statistic, 50, level=0.5)
    wide = bootstrap_interval(statistic, 50, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_equal_scores_leave_no_doubt() -> None:
    assert bootstrap_interval(mean_of(np.ones(10)), 10, num_draws=20) == (1, 1)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}, {"num_draws": 0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOption):
        bootstrap_interval(mean_of(np.ones(3)), 3, **options)  # type: ignore[arg-type]
