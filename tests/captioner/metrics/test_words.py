"""Sentences read off labels of frames, and their word error rate."""

from __future__ import annotations

import pytest
import torch

from captioner.errors import DataError
from captioner.metrics.segments import frame_accuracy
from captioner.metrics.words import sentence, word_error_rate

SILENCE = (0,)


def test_a_sentence_is_the_segments_without_silence() -> None:
    labels = [0, 0, 3, 3, 3, 0, 3, 5, 5, 0]
    assert sentence(labels, background=SILENCE) == [3, 3, 5]
    assert sentence(torch.tensor(labels), background=SILENCE) == [3, 3, 5]
    assert sentence([0, 0], background=SILENCE) == []


def test_unlabelled_frames_are_no_word() -> None:
    assert sentence([-1, 4, -1], background=SILENCE) == [4]


@pytest.mark.parametrize(
    ("guess", "errors"),
    [
        ("bin blue at f two now", 0),
        ("bin blue at s two now", 1),  # one other word
        ("bin blue at two now", 1),  # one missing
        ("bin blue at f two two now", 1),  # one too many
        ("lay blue at f two soon please", 3),  # two others and one too many
        ("", 6),
    ],
)
def test_errors_of_a_sentence_are_those_counted_by_hand(guess: str, errors: int) -> None:
    truth = ["bin", "blue", "at", "f", "two", "now"]
    assert word_error_rate([guess.split()], [truth]) == pytest.approx(100 * errors / 6)


def test_errors_are_summed_over_sentences_before_they_are_divided() -> None:
    # One word wrong of 1, none of 3: 1 / 4, where the mean over sentences would be 1 / 2.
    assert word_error_rate([["a"], ["x", "y", "z"]], [["b"], ["x", "y", "z"]]) == 25.0


def test_more_words_than_were_said_can_be_wrong() -> None:
    assert word_error_rate([["a", "b", "c"]], [["d"]]) == 300.0


def test_sentences_without_a_word_are_refused() -> None:
    with pytest.raises(DataError, match="no true word"):
        word_error_rate([["a"]], [[]])
    with pytest.raises(DataError, match="2 sentences, but 1"):
        word_error_rate([["a"], ["b"]], [["a"]])


def test_frame_accuracy_can_leave_the_background_out() -> None:
    # Three word frames, one of them right; six frames, four of them right.
    truth, guess = [0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 0, 1]
    assert frame_accuracy([guess], [truth], background=SILENCE) == pytest.approx(100 / 3)
    assert frame_accuracy([guess], [truth]) == pytest.approx(400 / 6)
    assert frame_accuracy([[0] * 6], [truth], background=SILENCE) == 0.0
