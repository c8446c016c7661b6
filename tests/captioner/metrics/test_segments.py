"""Letters are classes, '.' is the background, '?' a frame that nobody labelled."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from captioner.errors import DataError
from captioner.metrics.segments import (
    IGNORED,
    Segment,
    average_precisions,
    changes_per_second,
    class_f1,
    edit_score,
    frame_accuracy,
    match_segments,
    mean_average_precision,
    segment_f1,
    segments,
)


def video(text: str) -> list[int]:
    return ["?.ABC".index(letter) - 1 for letter in text]


BACKGROUND = video(".")

# Truth, prediction; accuracy, edit score, F1@{10, 25, 50}, and TP, FP, FN at 50. By hand: in the
# second row the prediction is A[0,3) B[3,4) A[4,8) with overlaps 3/8, 0 and 4/8, so that at 10 the
# first A hits and the last finds the truth taken, and at 50 the other way round.
TABLE = [
    ("AAAABBBB", "AAABBBBB", 87.5, 100, (100, 100, 100), (2, 0, 0)),
    ("AAAAAAAA", "AAABAAAA", 87.5, 100 / 3, (50, 50, 50), (1, 2, 0)),
    ("..AAA.BB..", ".AAA..BBBC", 60, 200 / 3, (80, 80, 80), (2, 1, 0)),
    ("AABBAA", "BBAABB", 0, 100 / 3, (0, 0, 0), (0, 3, 3)),
    ("AAAA.AA", "AAAAAAA", 600 / 7, 50, (200 / 3,) * 3, (1, 0, 1)),
    ("AAAABBBBCCCC", "AACCCCBBCCCC", 200 / 3, 75, (600 / 7,) * 3, (3, 1, 0)),
    ("A", "A", 100, 100, (100, 100, 100), (1, 0, 0)),
    ("AAAA", "BBBB", 0, 0, (0, 0, 0), (0, 1, 1)),
    ("....", "....", 100, 100, (0, 0, 0), (0, 0, 0)),
    ("....", ".AA.", 50, 0, (0, 0, 0), (0, 1, 0)),
    (".AA.", "....", 50, 0, (0, 0, 0), (0, 0, 1)),
    ("AAAA?BB", "AAAABBB", 100, 100, (100, 100, 100), (2, 0, 0)),
]


@pytest.mark.parametrize(("truth", "guess", "accuracy", "edit", "f1", "counts"), TABLE)
def test_scores_are_those_worked_out_by_hand(
    truth: str, guess: str, accuracy: float, edit: float, f1: tuple[float, ...], counts: object
) -> None:
    pair = [video(guess)], [video(truth)]
    assert frame_accuracy(*pair) == pytest.approx(accuracy)
    assert edit_score(*pair, background=BACKGROUND) == pytest.approx(edit)
    found = segment_f1(*pair, background=BACKGROUND)
    assert found == pytest.approx(dict(zip((10, 25, 50), f1, strict=True)))
    kept = [frame for frame, letter in enumerate(truth) if letter != "?"]
    runs = [
        segments([video(text)[frame] for frame in kept], background=BACKGROUND)
        for text in (guess, truth)
    ]
    assert match_segments(*runs, 50) == counts


def test_scores_are_those_of_the_public_definitions() -> None:
    """Of MS-TCN's evaluation (yabufarha/ms-tcn, eval.py), step by step, on random videos."""

    def runs(labels: list[int]) -> list[tuple[int, int, int]]:
        starts = [t for t in range(len(labels)) if t == 0 or labels[t] != labels[t - 1]]
        ends = [*starts[1:], len(labels)]
        return [(labels[a], a, b) for a, b in zip(starts, ends, strict=True) if labels[a] != 0]

    def edit(guess: list[int], truth: list[int]) -> float:
        table = np.zeros((len(guess) + 1, len(truth) + 1))
        table[:, 0], table[0] = range(len(guess) + 1), range(len(truth) + 1)
        for i, j in itertools.product(range(1, len(guess) + 1), range(1, len(truth) + 1)):
            other = guess[i - 1] != truth[j - 1]
            around = table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + other
            table[i, j] = min(around)
        return 100 * (1 - table[-1, -1] / max(len(guess), len(truth)))

    def hits(guess: list, truth: list, overlap: float) -> tuple[int, int, int]:
        true_positives = false_positives = 0
        used = np.zeros(len(truth))
        for label, start, end in guess:
            overlaps = [
                (min(end, e) - max(start, s)) / (max(end, e) - min(start, s)) * (label == name)
                for name, s, e in truth
            ]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= overlap and not used[best]:
                true_positives += 1
                used[best] = 1
            else:
                false_positives += 1
        return true_positives, false_positives, len(truth) - int(used.sum())

    drawn = random.Random(0)

    def sequence() -> list[int]:
        labels = [drawn.randrange(4)]
        while len(labels) < 60:
            labels.append(drawn.randrange(4) if drawn.random() < 0.2 else labels[-1])
        return labels

    pairs = [(sequence(), sequence()) for _ in range(60)]
    pairs = [(guess, truth) for guess, truth in pairs if runs(guess) and runs(truth)]
    assert len(pairs) > 50
    guesses, truths = map(list, zip(*pairs, strict=True))
    edits = [edit([r[0] for r in runs(g)], [r[0] for r in runs(t)]) for g, t in pairs]
    assert edit_score(guesses, truths, background=[0]) == pytest.approx(np.mean(edits))
    found = segment_f1(guesses, truths, background=[0])
    for overlap in (10, 25, 50):
        counts = [hits(runs(g), runs(t), overlap / 100) for g, t in pairs]
        positive, extra, missed = np.sum(counts, 0)
        precision, recall = positive / (positive + extra), positive / (positive + missed)
        assert found[overlap] == pytest.approx(200 * precision * recall / (precision + recall))


def test_segments_are_the_longest_runs_without_background_and_unlabelled_frames() -> None:
    found = segments(video("..AAB?BB."), background=BACKGROUND)
    assert found == [Segment(1, 2, 4), Segment(2, 4, 5), Segment(2, 6, 8)]
    assert segments(video("..A")) == [Segment(0, 0, 2), Segment(1, 2, 3)]
    assert segments(torch.tensor(video("AA"))) == [Segment(1, 0, 2)]
    assert segments([]) == segments(video("??")) == segments([0, 0], background={0}) == []


def test_the_background_counts_as_any_class_unless_it_is_named() -> None:
    pair = [video(".AA.")], [video("AAA.")]
    assert edit_score(*pair, background=BACKGROUND) == 100
    # . A . against A . : one label too many out of three
    assert edit_score(*pair, background=()) == pytest.approx(100 * (1 - 1 / 3))
    assert segment_f1(*pair, background=(), thresholds=[50]) == {50: 80}  # two hits, one extra


def test_an_overlap_of_exactly_the_threshold_is_a_hit() -> None:
    truth, guess = [Segment(1, 0, 30)], [Segment(1, 0, 3)]  # 3 of 30 frames
    assert match_segments(guess, truth, 10) == (1, 0, 0)
    assert match_segments(guess, truth, 11) == (0, 1, 1)
    # 100 · 0.29 is less than 29 in floating point
    assert match_segments([Segment(1, 0, 29)], [Segment(1, 0, 100)], 29) == (1, 0, 0)


def test_there_is_no_second_choice() -> None:
    # All three overlap the first truth most (4/5, 1/5, 5/10), which only one can hit; that the last
    # overlaps the second truth by 2/10 does not help it.
    truth = [Segment(1, 0, 5), Segment(1, 8, 10)]
    guess = [Segment(1, 0, 4), Segment(1, 4, 5), Segment(1, 0, 10)]
    assert match_segments(guess, truth, 10) == (1, 2, 1)


def test_f1_pools_videos_and_the_edit_score_averages_them() -> None:
    # Rows 2 and 3 of the table: 2 · 3 / (2 · 3 + 3 + 0), where the mean of 50 and 80 would be 65.
    guesses, truths = zip(*((video(row[1]), video(row[0])) for row in TABLE[1:3]), strict=True)
    assert segment_f1(guesses, truths, background=BACKGROUND)[50] == pytest.approx(200 / 3)
    assert edit_score(guesses, truths, background=BACKGROUND) == pytest.approx(50)
    assert frame_accuracy(guesses, truths) == pytest.approx(100 * 13 / 18)


def test_unlabelled_frames_and_videos_change_nothing() -> None:
    plain = [video("AABB"), video("A")], [video("AAAB"), video("B")]
    holes = [video("CAACBB"), video("CC"), video("A")], [video("?AA?AB"), video("??"), video("B")]
    for pair in (plain, holes):
        assert frame_accuracy(*pair) == 60
        assert edit_score(*pair, background=()) == 50
        assert segment_f1(*pair, background=()) == segment_f1(*plain, background=())
        assert class_f1(*pair) == class_f1(*plain)


def test_f1_of_a_class_counts_frames_and_leaves_out_what_never_comes() -> None:
    # A: 2 hits, 2 predicted, 4 true; B: 0 hits, 2 predicted; C: 1 hit, 1 predicted, 1 true.
    found = class_f1([video("AABBC")], [video("AAAAC")])
    assert found == pytest.approx({1: 100 * 4 / 6, 2: 0, 3: 100})


@pytest.mark.parametrize("score", [frame_accuracy, class_f1])
def test_what_does_not_fit_together_is_refused(score: object) -> None:
    assert callable(score)
    for guesses, truths, words in [
        ([[1]], [[1], [1]], "1 videos, but truths for 2"),
        ([[1, 1]], [[1]], "has 2 labels, but 1 true"),
        ([[1, 1]], [[IGNORED, IGNORED]], "no labelled frame"),
        ([[]], [[]], "no labelled frame"),
        ([], [], "no labelled frame"),
    ]:
        with pytest.raises(DataError, match=words):
            score(guesses, truths)


def by_counting(scores: list[float], labels: list[int]) -> Fraction:
    """Average precision from its definition: one threshold after the other, from the highest."""
    total, recall = Fraction(0), Fraction(0)
    for threshold in sorted(set(scores), reverse=True):
        taken = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        reached = Fraction(sum(taken), sum(labels))
        total += (reached - recall) * Fraction(sum(taken), len(taken))
        recall = reached
    return total


def test_average_precision_is_its_definition_with_ties() -> None:
    random.seed(0)
    for _ in range(200):
        size = random.randint(1, 12)
        scores = [random.randint(0, 5) / 5 for _ in range(size)]
        labels = [1, *random.choices([0, 1], k=size - 1)]
        found = average_precisions(torch.tensor([scores]).t(), torch.tensor([labels]).t())
        assert found[0] == pytest.approx(float(100 * by_counting(scores, labels)))


def test_average_precision_worked_out_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.6, 0.5]])
    labels = torch.tensor([[1, 1], [0, 0], [1, 0], [0, 0]])
    # The first: (1 + 2/3) / 2. The second: all scores equal, one of four is positive.
    assert average_precisions(scores, labels) == pytest.approx({0: 250 / 3, 1: 25})
    assert mean_average_precision(scores, labels) == pytest.approx((250 / 3 + 25) / 2)


def test_classes_without_positives_and_ignored_targets_stay_out_of_the_mean() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.9], [0.8, 0.2, 0.8], [0.7, 0.3, 0.1]])
    labels = torch.tensor([[-1, 0, -1], [1, 0, -1], [0, -1, -1]])
    assert average_precisions(scores, labels) == {0: 100}
    assert mean_average_precision(scores, labels) == 100
    with pytest.raises(DataError, match="No class has a positive"):
        mean_average_precision(scores[:, 1:], labels[:, 1:])


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(3, 2\).*\(2, 3\)"):
        average_precisions(torch.zeros(3, 2), torch.zeros(2, 3))
    with pytest.raises(DataError, match="not numbers"):
        average_precisions(torch.tensor([[float("nan")]]), torch.ones(1, 1))


def test_changes_are_counted_over_all_seconds_of_all_videos() -> None:
    # Two changes in 4 s, and none in 6 s; a lone frame lasts no time.
    labels = [video("AABBA"), video("AA"), video("A")]
    times = [[0.0, 1.0, 2.0, 3.0, 4.0], torch.tensor([2.0, 8.0]), [5.0]]
    assert changes_per_second(labels, times) == pytest.approx(2 / 10)
    assert changes_per_second([video("A"), []], [[0.0], []]) == 0
    assert changes_per_second([video("A?AB")], [[0.0, 1.0, 2.0, 4.0]]) == pytest.approx(1 / 4)


def test_every_label_that_comes_or_goes_is_a_change() -> None:
    on = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    assert changes_per_second([on], [[0.0, 0.5, 1.0, 2.0]]) == pytest.approx(2 / 2)
    assert changes_per_second([on.bool()], [[0.0, 0.5, 1.0, 2.0]]) == pytest.approx(2 / 2)
    with pytest.raises(DataError, match="4 labels, but 3 times"):
        changes_per_second([on], [[0.0, 0.5, 1.0]])
