"""Levels of labels on sequences small enough to count by hand."""

from __future__ import annotations

import pytest
import torch

from captioner.tasks.frame_decoding import Decider, FrameDecoding
from training.data.video_examples import ClipExample
from training.label_levels import (
    LEVELS,
    RULES,
    Rule,
    Truth,
    all_counts,
    best_levels,
    chosen_apart,
    padded,
)

PLAIN = Rule("hysteresis", 1.0)


def example(*labels: list[int]) -> ClipExample:
    """A frame a second; one list a label."""
    table = torch.tensor(labels).t()
    return ClipExample(torch.zeros(len(table), 1), table, torch.arange(len(table)).double())


def said(*labels: list[int]) -> torch.Tensor:
    return torch.tensor(labels).t().bool().unsqueeze(0)


def test_changes_in_excess_are_those_that_the_truth_does_not_have() -> None:
    truth = Truth([example([0, 1, 1, 0, 0], [0, 0, 0, 0, 0])])
    found = truth.score(truth.counts(said([0, 1, 0, 0, 0], [0, 0, 1, 0, 0])))
    assert truth.changes() == 2 / 4
    # Four changes in four seconds; only that the first label comes is true. One of two hits, one
    # said: 2 of 3; the label that is never there has no F1.
    assert found == pytest.approx((100 * 2 / 3, 1.0, 3 / 4))


def test_what_a_view_may_have_lost_counts_neither_for_nor_against() -> None:
    truth = Truth([example([1, 1, -1, -1])])
    assert truth.score(truth.counts(said([1, 1, 0, 0]))) == pytest.approx((100, 1 / 3, 1 / 3))


def test_a_label_that_comes_and_goes_for_nothing_gets_a_level_that_is_steady() -> None:
    # At a low level the label is right in one frame more and flickers for it.
    labels, scores = [1, 1, 0, 1, 0, 0, 0, 0], [2.0, 2.0, -2, 0.0, -2, 0.0, -2, -2]
    examples, logits = [example(labels)], [torch.tensor(scores).unsqueeze(1)]
    truth = Truth(examples)
    counts = all_counts(PLAIN, logits, truth)
    free, dear = (LEVELS[best_levels(counts, truth.seconds, worth)] for worth in (0.0, 1e3))
    assert -2 < float(free) <= 0
    assert float(dear) > 0 or float(dear) <= -2


def test_levels_are_chosen_on_other_sequences_than_those_that_count() -> None:
    # The label is on above 0 in even sequences and above -1 in odd ones.
    even = example([1, 1, 0, 0]), torch.tensor([[1.0], [1.0], [-0.5], [-0.5]])
    odd = example([1, 1, 0, 0]), torch.tensor([[-0.5], [-0.5], [-2.0], [-2.0]])
    examples, logits = zip(*[even, odd], strict=True)
    truth = Truth(examples)
    counts = all_counts(PLAIN, logits, truth)
    # Levels of odd ones say all of the even frames: 2 hits, 4 said, 2 true; those of even ones none
    # of the odd: 2 true.
    assert chosen_apart(counts, truth, 0.0).f1 == pytest.approx(100 * 2 * 2 / (4 + 2 + 2))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_sequences_decided_together_are_as_a_bundle_decides_each(rule: Rule) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(frames, 3, generator=generator) for frames in (7, 4, 1)]
    levels = torch.tensor([0.4, 0.5, 0.7]).logit()
    together = rule.decide(padded(logits, torch.nan), levels)
    decider = Decider(FrameDecoding(**rule.decoding(levels)), ["a", "b", "c"], multi_label=True)
    for rows, found in zip(logits, together, strict=True):
        assert torch.equal(found[: len(rows)], decider.decide(rows.sigmoid()))
