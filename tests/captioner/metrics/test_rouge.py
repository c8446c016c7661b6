import random

import pytest

from captioner.metrics import rouge_l
from captioner.metrics.rouge import longest_common_subsequence


def _by_table(first: list[str], second: list[str]) -> int:
    row = [0] * (len(second) + 1)
    for one in first:
        before = row.copy()
        for place, other in enumerate(second):
            longest = before[place] + 1 if one == other else max(before[place + 1], row[place])
            row[place + 1] = longest
    return row[-1]


def test_the_bit_parallel_length_equals_the_tables() -> None:
    random.seed(0)
    for _ in range(500):
        first, second = (random.choices("abcd", k=random.randint(0, 90)) for _ in range(2))
        assert longest_common_subsequence(first, second) == _by_table(first, second)


def test_precision_and_recall_may_come_from_different_references() -> None:
    candidate = ["a", "b", "c"]
    precise, recalled = ["a", "b", "c", "d", "e", "f"], ["a"]
    assert rouge_l([candidate], [[precise, recalled]])[0] == pytest.approx(1)


def test_the_f_measure_weighs_recall_more() -> None:
    # P = 1, R = 1/2, beta = 1.2: (1 + 1.44) * 0.5 / (0.5 + 1.44)
    mean, per_image = rouge_l([["a", "b"]], [[["a", "b", "c", "d"]]])
    assert mean == per_image[0] == pytest.approx(1.22 / 1.94)


def test_empty_captions_are_equal_to_empty_ones_only() -> None:
    assert rouge_l([[], [], ["a"]], [[[]], [["a"]], [[]]])[1].tolist() == [1, 0, 0]


def test_the_mean_is_over_images() -> None:
    mean, per_image = rouge_l([["a"], ["b"]], [[["a"]], [["c"]]])
    assert per_image.tolist() == [1, 0]
    assert mean == 0.5
