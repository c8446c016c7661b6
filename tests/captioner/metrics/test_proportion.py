import pytest

from captioner.errors import InvalidOption
from captioner.metrics.proportion import proportion_interval


def test_it_is_wilsons_interval() -> None:
    # Worked by hand for 9 of 10 and z = 1.96: (1.09207 ± 0.26733) / 1.38415, of Wilson's
    # formula, as in Agresti & Coull, The American Statistician 52 (1998).
    low, high = proportion_interval(9, 10)
    assert (low, high) == (pytest.approx(0.5958, abs=2e-4), pytest.approx(0.9821, abs=2e-4))


def test_all_right_is_not_certain() -> None:
    low, high = proportion_interval(43, 43)
    assert 0.9 < low < 1
    assert high == 1
    assert proportion_interval(0, 43)[1] == pytest.approx(1 - low)


def test_more_examples_say_more() -> None:
    widths = [high - low for low, high in (proportion_interval(n, 2 * n) for n in (5, 50, 500))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("right", "total"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_is_refused(right: int, total: int) -> None:
    with pytest.raises(InvalidOption):
        proportion_interval(right, total)
