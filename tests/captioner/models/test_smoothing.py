"""Against exhaustive search: all sequences of a few classes over a few frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioner.errors import InvalidOption
from captioner.models.smoothing import (
    TimedSegment,
    hysteresis,
    segments_of,
    transition_log_probs,
    viterbi,
    viterbi_labels,
)

CLASSES, TIME = 3, 6


def random_log_probs(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).log_softmax(-1)


def best_of(
    allowed: Iterable[tuple[int, ...]],
    log_probs: Tensor,
    penalty: float,
    transitions: Tensor | None = None,
) -> tuple[int, ...]:
    scores = log_probs.tolist()
    steps = [[0.0] * len(scores[0]) for _ in scores[0]]
    if transitions is not None:
        steps = transitions.tolist()

    def worth(labels: tuple[int, ...]) -> float:
        total = sum(frame[label] for frame, label in zip(scores, labels, strict=True))
        for before, after in itertools.pairwise(labels):
            total += steps[before][after] - penalty * (before != after)
        return total

    return max(allowed, key=worth)


def sequences(classes: int, shortest: int) -> list[tuple[int, ...]]:
    """All of TIME frames whose every run lasts so many frames."""
    return [
        labels
        for labels in itertools.product(range(classes), repeat=TIME)
        if all(len(list(run)) >= shortest for _, run in itertools.groupby(labels))
    ]


@pytest.mark.parametrize("with_transitions", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("min_frames", [1, 2, 3, 6, 9])
def test_viterbi_finds_what_exhaustive_search_finds(
    min_frames: int, penalty: float, with_transitions: bool
) -> None:
    allowed = sequences(CLASSES, min(min_frames, TIME))
    transitions = random_log_probs(CLASSES, CLASSES, seed=99) if with_transitions else None
    for seed in range(12):
        log_probs = random_log_probs(TIME, CLASSES, seed=seed)
        found = viterbi(
            log_probs, switch_penalty=penalty, min_frames=min_frames, transitions=transitions
        )
        assert tuple(found.tolist()) == best_of(allowed, log_probs, penalty, transitions)


def test_without_rules_every_frame_has_its_best_class() -> None:
    log_probs = random_log_probs(40, 5)
    assert_close(viterbi(log_probs), log_probs.argmax(1))


def test_a_penalty_is_a_matrix_of_transitions() -> None:
    log_probs, penalty = random_log_probs(40, 5), 0.7
    matrix = penalty * (torch.eye(5) - 1)
    for min_frames in (1, 4):
        assert_close(
            viterbi(log_probs, switch_penalty=penalty, min_frames=min_frames),
            viterbi(log_probs, transitions=matrix, min_frames=min_frames),
        )


def test_rows_are_smoothed_by_themselves() -> None:
    log_probs = random_log_probs(2, 3, 20, 4)
    found = viterbi(log_probs, switch_penalty=0.5, min_frames=3)
    assert found.shape == (2, 3, 20)
    for row, column in itertools.product(range(2), range(3)):
        alone = viterbi(log_probs[row, column], switch_penalty=0.5, min_frames=3)
        assert_close(found[row, column], alone)


def test_where_two_sequences_are_as_good_the_class_stays() -> None:
    assert viterbi(torch.zeros(7, 3), min_frames=2).tolist() == [0] * 7
    # Another class at frame 2 gains 1, and costs two changes.
    scores = torch.tensor([[1.0, 0.0]] * 2 + [[1.0, 2.0]] + [[1.0, 0.0]] * 2)
    assert viterbi(scores, switch_penalty=0.5).tolist() == [0, 0, 0, 0, 0]
    assert viterbi(scores, switch_penalty=0.4).tolist() == [0, 0, 1, 0, 0]


def test_classes_and_steps_that_cannot_be_are_not_taken() -> None:
    never = float("-inf")
    log_probs = torch.tensor([[0.0, -1.0, never], [never, -1.0, 0.0], [0.0, -1.0, never]])
    assert viterbi(log_probs, min_frames=2).tolist() == [1, 1, 1]
    transitions = torch.tensor([[0.0, 0.0, never], [never, 0.0, never], [0.0, 0.0, never]])
    assert viterbi(log_probs, transitions=transitions).tolist() == [0, 1, 1]


def test_no_frames_have_no_labels_and_one_frame_has_one() -> None:
    assert viterbi(torch.zeros(0, 3)).shape == (0,)
    assert viterbi(torch.zeros(2, 0, 3)).shape == (2, 0)
    assert viterbi(torch.tensor([[0.0, 1.0]]), switch_penalty=1, min_frames=5).tolist() == [1]
    assert viterbi_labels(torch.zeros(0, 3)).shape == (0, 3)
    assert hysteresis(torch.zeros(0, 3)).shape == (0, 3)
    assert segments_of([], [], [], 1.0) == []


def test_transitions_are_counted_between_labelled_neighbours() -> None:
    # 0 to 0 twice, 0 to 1 once, 1 to 1 once; the steps to and from -1 are nobody's.
    sequences = [[0, 0, 0, 1], [1, 1, -1, 0], [0], []]
    found = transition_log_probs(sequences, 2).exp()
    assert_close(found, torch.tensor([[3 / 5, 2 / 5], [1 / 3, 2 / 3]], dtype=torch.float64))


@pytest.mark.parametrize("threshold", [0.5, torch.tensor([0.5, 0.9, 0.05])])
def test_each_label_is_a_sequence_of_on_and_off(threshold: float | Tensor) -> None:
    logits = torch.randn(TIME, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = viterbi_labels(logits, threshold=threshold, switch_penalty=0.5, min_frames=2)
    levels = torch.as_tensor(threshold).expand(3).logit()
    for number, column in enumerate((logits - levels).t()):
        log_probs = torch.stack([torch.zeros(TIME), column], 1)  # less log(1 - p) everywhere
        best = best_of(sequences(2, 2), log_probs, 0.5)
        assert tuple(found[:, number].long().tolist()) == best
    plain = viterbi_labels(logits, threshold=threshold)
    assert_close(plain, logits.sigmoid() > torch.as_tensor(threshold))


def by_frame(scores: list[float], on: float, off: float, state: bool) -> list[bool]:
    labels = []
    for score in scores:
        state = score >= on or (state and score >= off)
        labels.append(state)
    return labels


def test_hysteresis_is_its_rule_frame_by_frame_and_for_any_chunks() -> None:
    scores = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = hysteresis(scores, on=0.7, off=0.3)
    for number, column in enumerate(scores.t()):
        assert whole[:, number].tolist() == by_frame(column.tolist(), 0.7, 0.3, False)
    before, pieces = None, []
    for chunk in scores.split([1, 30, 0, 19]):
        piece = hysteresis(chunk, on=0.7, off=0.3, before=before)
        before = piece[-1] if len(piece) else before
        pieces.append(piece)
    assert_close(torch.cat(pieces), whole)


def test_hysteresis_takes_levels_of_each_label() -> None:
    scores = torch.tensor([[0.6, 0.6], [0.4, 0.4], [0.39, 0.39]], dtype=torch.float64)
    assert hysteresis(scores).tolist() == [[True, True], [True, True], [False, False]]
    levels = {"on": torch.tensor([0.6, 0.9]), "off": torch.tensor([0.1, 0.9])}
    assert hysteresis(scores.float(), **levels).t().tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: viterbi(torch.zeros(2, 2), switch_penalty=-1.0), "switch_penalty is -1"),
        (lambda: viterbi(torch.zeros(2, 2), switch_penalty=float("nan")), "switch_penalty is nan"),
        (lambda: viterbi(torch.zeros(2, 2), min_frames=0), "min_frames is 0"),
        (lambda: viterbi_labels(torch.zeros(2, 2), threshold=1.0), "threshold is 1"),
        (lambda: hysteresis(torch.zeros(2, 2), on=0.3, off=0.5), "off is 0.5, above on, 0.3"),
    ],
)
def test_options_out_of_range_are_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidOption, match=words):
        call()


def test_a_segment_lasts_until_the_next_frame_begins() -> None:
    found = segments_of([2, 2, 0, -1, 1], [0.5, 1.0, 0.7, 0.9, 0.2], [0.0, 0.4, 1.0, 1.1, 2.0], 2.5)
    assert found == [
        TimedSegment(2, 0.0, 1.0, 0, 2, pytest.approx(0.75)),
        TimedSegment(0, 1.0, 1.1, 2, 3, pytest.approx(0.7)),
        TimedSegment(1, 2.0, 2.5, 4, 5, pytest.approx(0.2)),
    ]


def test_the_score_of_a_segment_is_that_of_its_own_class() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    found = segments_of(probabilities.argmax(1), probabilities, torch.tensor([0.0, 1.0, 2.0]), 3.0)
    assert [(run.label, run.start, run.end) for run in found] == [(0, 0, 1), (1, 1, 3)]
    assert [run.score for run in found] == pytest.approx([0.9, 0.75])


def test_labels_that_hold_together_are_segments_side_by_side() -> None:
    on = torch.tensor([[0, 1], [1, 1], [1, 0]]).bool()
    scores = torch.tensor([[0.1, 0.9], [0.6, 0.7], [0.8, 0.2]])
    assert segments_of(on, scores, [0.0, 1.0, 2.0], 3.0) == [
        TimedSegment(1, 0.0, 2.0, 0, 2, pytest.approx(0.8)),
        TimedSegment(0, 1.0, 3.0, 1, 3, pytest.approx(0.7)),
    ]


def test_an_end_before_the_last_frame_is_moved_to_it() -> None:
    assert segments_of([1, 1], [1.0, 1.0], [0.0, 2.0], 1.5)[0].end_s == 2.0
    with pytest.raises(ValueError, match="2 labels, 1 scores and 2 times"):
        segments_of([1, 1], [1.0], [0.0, 2.0], 1.5)
