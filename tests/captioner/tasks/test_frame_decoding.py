from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.models.smoothing import segments_of
from captioner.tasks.frame_captions import KeptPictures
from captioner.tasks.frame_decoding import Decider, FrameDecoding, Runs

LABELS = ("walk", "run", "jump")


def decider(*, multi_label: bool = True, **decoding: Any) -> Decider:
    return Decider(FrameDecoding(**decoding), LABELS, multi_label=multi_label)


def wandering(frames: int = 200, seed: int = 0) -> Tensor:
    """Probabilities ``(frames, 3)`` that change slowly."""
    noise = torch.randn(frames, len(LABELS), generator=torch.Generator().manual_seed(seed))
    return (noise.cumsum(0) * 0.4).sigmoid()


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [3, 50, 7, 140]], ids=["whole", "one", "some"])
def test_runs_are_the_segments_however_the_frames_come(sizes: list[int]) -> None:
    scores = wandering()
    frames = [(3 * number, number * 0.5) for number in range(len(scores))]
    rule = decider(smoothing={"kind": "hysteresis", "off": 0.3})
    runs, found, before, start = Runs(), [], None, 0
    for size in sizes:
        part = slice(start, start + size)
        on = rule.decide(scores[part], before)
        found += runs.feed(on, scores[part], frames[part])
        before, start = on[-1], start + size
    found += runs.close(600, 100.0)
    on = rule.decide(scores)
    expected = segments_of(on, scores, [time_s for _, time_s in frames], 100.0)
    found.sort(key=lambda run: (run.start_s, run.label))
    assert [(r.label, r.start_s, r.end_s) for r in found] == [
        (s.label, s.start_s, s.end_s) for s in expected
    ]
    assert [(r.start_frame, r.end_frame) for r in found] == [
        (3 * s.start, 3 * s.end) for s in expected
    ]
    assert [r.score for r in found] == pytest.approx([s.score for s in expected])


def test_a_run_keeps_what_is_remembered_of_its_likeliest_frame() -> None:
    scores = torch.tensor([[0.6, 0.1, 0.1], [0.9, 0.1, 0.1], [0.7, 0.1, 0.1], [0.1, 0.1, 0.1]])
    runs = Runs()
    frames = [(number, float(number)) for number in range(4)]
    [run] = runs.feed(scores > 0.5, scores, frames, ["a", "b", "c", "d"])
    assert run.keepsake == "b"
    [run] = Runs().feed(scores > 0.5, scores, frames, ["a", None, "c", None])
    assert run.keepsake == "c"


def test_a_threshold_a_label_and_one_for_all() -> None:
    scores = torch.tensor([[0.4, 0.4, 0.4]])
    assert decider(thresholds=[0.3, 0.5, 0.4]).decide(scores).tolist() == [[True, False, True]]
    assert decider(thresholds=0.5).decide(scores).tolist() == [[False, False, False]]


def test_one_of_many_is_the_likeliest_whatever_its_score() -> None:
    scores = torch.tensor([[0.2, 0.3, 0.25]])
    rule = decider(multi_label=False)
    assert rule.decide(scores).tolist() == [[False, True, False]]


def test_background_makes_no_segments() -> None:
    rule = decider(multi_label=False, background=["walk"])
    on = rule.decide(torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))
    assert on.tolist() == [[False, False, False], [False, True, False]]


@pytest.mark.parametrize("multi_label", [True, False])
def test_viterbi_takes_out_what_is_shorter_than_its_minimum(multi_label: bool) -> None:
    scores = torch.full((12, 3), 0.1)
    scores[:, 0] = 0.8
    scores[5] = torch.tensor([0.1, 0.8, 0.1])
    rule = decider(multi_label=multi_label, smoothing={"kind": "viterbi", "min_frames": 3})
    on = rule.decide(scores)
    assert on[:, 0].all()
    assert not on[:, 1:].any()


@pytest.mark.parametrize("number", [1, 4, 5, 8, 9, 100])
def test_kept_pictures_are_few_and_evenly_spread(number: int) -> None:
    kept = KeptPictures(most=4)
    for value in range(number):
        kept.show(torch.full((3, 2, 2), value, dtype=torch.uint8))
    found = [(place, p) for place, p in enumerate(kept.all()) if p is not None]
    assert len(kept.all()) == number
    assert all(int(picture[0, 0, 0]) == place for place, picture in found)
    places = [place for place, _ in found]
    assert min(number, 3) <= len(places) <= 4
    steps = {later - before for before, later in pairwise(places)}
    assert len(steps) <= 1
