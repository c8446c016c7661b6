"""Beam search against exhaustive search and against a plain one that drops nothing early."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from captioner.errors import CaptionerError
from captioner.search import SearchOptions, Step, search

END = 1


def plain_beam_search(
    model: Any, memory: Any, options: SearchOptions
) -> list[tuple[list[int], bool]]:
    """One row, one hypothesis at a time, always to the end, everything kept: ids and finished."""

    def score(entry: tuple[float, list[int]], length: int) -> float:
        return -entry[0] / max(length, 1) ** options.length_penalty

    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for step in range(options.max_tokens + 1):
        candidates = []
        for beam, (total, ids) in enumerate(live):
            log_probs = model.forced(memory, ids)[0][-1].tolist()
            for token, log_prob in enumerate(log_probs):
                forbidden = token in model.forbidden_ids or token in options.banned_ids
                early = token == END and step < options.min_tokens
                if not (forbidden or early or repeats([*ids, token], options)):
                    candidates.append((-(total + log_prob), beam, token))
        candidates.sort()
        counted = candidates[: options.num_beams]
        finished += [(-s, live[b][1]) for s, b, token in counted if token == END]
        going = [(-s, [*live[b][1], token]) for s, b, token in candidates if token != END]
        if step == options.max_tokens or not going:
            break
        live = going[: options.num_beams]
    finished.sort(key=lambda entry: score(entry, len(entry[1]) + 1))
    live.sort(key=lambda entry: score(entry, len(entry[1])))
    ranked = [(ids, True) for _, ids in finished]
    ranked += [(ids, False) for _, ids in live if ids not in [found for found, _ in ranked]]
    return ranked[: options.num_return]


def repeats(ids: list[int], options: SearchOptions) -> bool:
    size = options.no_repeat_ngram_size
    grams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)] if size else []
    return len(set(grams)) < len(grams)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, -0.5])
@pytest.mark.parametrize("seed", range(5))
def test_beams_as_wide_as_the_tree_find_the_exhaustive_maximum(tiny, memory, seed, length_penalty):
    # Vocabulary 4, length 4 with the end: 4^4 sequences, of which 1 + 3 + 9 + 27 end in time.
    model, grid = tiny(4, seed, forbidden_ids=()), memory(1, seed)
    options = SearchOptions(
        num_beams=4**4, num_return=40, max_tokens=3, length_penalty=length_penalty
    )
    (found,) = search(model, grid, options)
    every = {}
    for length in range(4):
        for ids in itertools.product([0, 2, 3], repeat=length):
            log_probs, _ = model.forced(grid, ids)
            total = sum(log_probs[i, token].item() for i, token in enumerate([*ids, END]))
            every[ids] = total / (length + 1) ** length_penalty
    assert [tuple(h.ids) for h in found] == sorted(every, key=every.__getitem__, reverse=True)
    assert all(hypothesis.finished for hypothesis in found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"length_penalty": 1.0},
        {"length_penalty": 0.6, "num_return": 1},
        {"length_penalty": -1.0},
        {"min_tokens": 3},
        {"max_tokens": 2},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2, "max_tokens": 8},
        {"banned_ids": (3, 4)},
        {"banned_ids": (END,)},
        {"num_beams": 2, "num_return": 2},
        {"num_beams": 5, "num_return": 3, "min_tokens": 2, "length_penalty": 1.5},
    ],
    ids=str,
)
def test_nothing_is_lost_by_stopping_early_and_dropping_beams(tiny, memory, changes):
    given: dict[str, Any] = {"num_beams": 3, "num_return": 3, "max_tokens": 6, **changes}
    options = SearchOptions(**given)
    for seed in range(6):
        model, (grid,) = tiny(6, seed), memory(5, seed)
        found = search(model, (grid,), options)
        for image, hypotheses in enumerate(found):
            expected = plain_beam_search(model, (grid[image : image + 1],), options)
            assert [(h.ids, h.finished) for h in hypotheses] == expected


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beam_of_one_is_greedy(tiny, memory, length_penalty):
    model, (grid,) = tiny(9, 3), memory(12)
    options = SearchOptions(max_tokens=7, length_penalty=length_penalty)
    for image, (hypothesis,) in enumerate(search(model, (grid,), options)):
        ids: list[int] = []
        for _ in range(8):
            log_probs = model.forced((grid[image : image + 1],), ids)[0][-1]
            log_probs[0] = float("-inf")
            token = int(log_probs.argmax())
            if token == END or len(ids) == 7:
                break
            ids.append(token)
        assert (hypothesis.ids, hypothesis.finished) == (ids, token == END)


def test_more_beams_never_find_less_when_they_hold_the_fewer(tiny, memory):
    # Not a law of beam search, but at the full width of the tree it is one.
    model, grid = tiny(4, 1), memory(8)
    wide = search(model, grid, SearchOptions(num_beams=64, max_tokens=3))
    for beams in (1, 2, 3):
        narrow = search(model, grid, SearchOptions(num_beams=beams, max_tokens=3))
        for best, other in zip(wide, narrow, strict=True):
            assert best[0].log_prob >= other[0].log_prob or not other[0].finished


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("num_beams", [1, 3, 5])
def test_a_batch_gives_the_words_of_one_by_one(tiny, memory, num_beams, dtype):
    model, (grid,) = tiny(11, 5).to(dtype), memory(24)
    grid = grid.to(dtype)
    options = SearchOptions(
        num_beams=num_beams, num_return=num_beams, max_tokens=9, length_penalty=0.5
    )
    together = search(model, (grid,), options, keep_weights=True)
    for image, hypotheses in enumerate(together):
        (alone,) = search(model, (grid[image : image + 1],), options, keep_weights=True)
        assert [h.ids for h in hypotheses] == [h.ids for h in alone]
        for one, other in zip(hypotheses, alone, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            torch.testing.assert_close(one.weights, other.weights)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(num_beams=4, num_return=4, max_tokens=6, banned_ids=(4,), min_tokens=2),
        SearchOptions(num_beams=3, num_return=3, max_tokens=6, no_repeat_ngram_size=2),
        SearchOptions(num_beams=3, num_return=3, max_tokens=6, prefix=(3, 3)),
        SearchOptions(max_tokens=5),
        SearchOptions(temperature=2.0, top_k=4, num_return=5, max_tokens=6, min_tokens=1),
        SearchOptions(temperature=0.5, top_p=0.6, num_return=5, max_tokens=4, prefix=(2,), seed=1),
    ],
    ids=str,
)
def test_values_and_weights_are_those_of_the_model_as_it_is(tiny, memory, options):
    model, (grid,) = tiny(8, 2), memory(6)
    for image, hypotheses in enumerate(search(model, (grid,), options, keep_weights=True)):
        for hypothesis in hypotheses:
            ids = hypothesis.ids
            log_probs, weights = model.forced((grid[image : image + 1],), ids)
            tokens = [*ids, END] if hypothesis.finished else ids
            expected = [log_probs[i, token].item() for i, token in enumerate(tokens)]
            assert hypothesis.token_log_probs == pytest.approx(expected, abs=1e-9)
            assert hypothesis.log_prob == pytest.approx(sum(expected), abs=1e-9)
            torch.testing.assert_close(hypothesis.weights, weights[: len(ids)])


def test_the_list_is_sorted_and_distinct(tiny, memory):
    options = SearchOptions(num_beams=6, num_return=6, max_tokens=6, length_penalty=0.8)
    for hypotheses in search(tiny(7, 4), memory(10), options):
        finished = [h for h in hypotheses if h.finished]
        scores = [h.log_prob / (len(h.ids) + 1) ** 0.8 for h in finished]
        assert scores == sorted(scores, reverse=True)
        assert hypotheses == finished + [h for h in hypotheses if not h.finished]
        assert len({tuple(h.ids) for h in hypotheses}) == len(hypotheses) == 6


def test_length_penalty_makes_results_longer(tiny, memory):
    model, grid = tiny(7, 1), memory(30)
    lengths = [
        sum(
            len(h[0].ids) for h in search(model, grid, SearchOptions(num_beams=4, length_penalty=p))
        )
        for p in (-2.0, 0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_ties_go_to_the_lowest_id(table):
    flat = (torch.zeros(2, 500),)
    (one,), _ = search(table(500), flat, SearchOptions(max_tokens=3, banned_ids=(END,)))
    assert one.ids == [2, 2, 2]
    options = SearchOptions(num_beams=4, num_return=4, max_tokens=2, banned_ids=(END, 3))
    for hypotheses in search(table(500), flat, options):
        assert [h.ids for h in hypotheses] == [[2, 2], [2, 4], [2, 5], [2, 6]]


def test_an_end_that_is_one_of_the_best_takes_no_beam(table):
    # The end is the best at every step: the beams behind it stay two, and find "2" and "3".
    logits = torch.tensor([[-9.0, 2.0, 1.0, 0.5, -9.0]])
    (found,) = search(table(5), (logits,), SearchOptions(num_beams=2, num_return=2, max_tokens=4))
    assert [h.ids for h in found] == [[], [2]]
    (found,) = search(table(5), (logits,), SearchOptions(num_beams=3, num_return=3, max_tokens=4))
    assert [h.ids for h in found] == [[], [2], [3]]


def test_a_penalty_below_0_judges_beams_by_the_shortest_they_can_become(table):
    # Ending at once costs 3 nats; "2" and its end 0.25, so -0.5 when scaled by their number.
    # Scaled by the 31 that they may become, "2" alone would be -4.65.
    class Steps(table):  # type: ignore[misc, valid-type]
        def advance(self, tokens, state, memory):
            logits = logits_of[state[0].long().flatten().clamp(max=1)]
            return Step(logits, (state[0] + 1,))

    logits_of = torch.tensor([[-9.0, -3.0, -0.15, -2.4], [-9.0, -0.1, -9.0, -2.4]])
    options = SearchOptions(num_beams=3, length_penalty=-1.0, max_tokens=30)
    ((found,),) = search(Steps(4), (logits_of[:1],), options)
    assert found.ids == [2]


def test_what_is_finished_at_the_last_step_is_not_listed_as_cut_too(table):
    options = SearchOptions(num_beams=3, num_return=3, max_tokens=1)
    (found,) = search(table(3), (torch.zeros(1, 3),), options)
    assert [(h.ids, h.finished) for h in found] == [([], True), ([2], True)]


def test_images_that_are_done_leave_the_batch(table):
    # Seven images end at once, one never does.
    logits = torch.full((8, 6), 0.0)
    logits[:, END] = 50.0
    logits[5, END] = -50.0

    class Counting(table):  # type: ignore[misc, valid-type]
        def advance(self, tokens, state, memory):
            assert len(memory[0]) * (len(tokens) // len(memory[0])) == len(tokens) == len(state[0])
            sizes.append(len(memory[0]))
            return super().advance(tokens, state, memory)

    for beams in (1, 3):
        sizes: list[int] = []
        found = search(Counting(6), (logits,), SearchOptions(num_beams=beams, max_tokens=5))
        assert sizes == [8, 1, 1, 1, 1, 1]
        assert [h[0].finished for h in found] == [image != 5 for image in range(8)]


def test_judging_beams_at_their_present_length_takes_fewer_steps(tiny, memory):
    # In this model the end is probable now and then; in others no beam is ever out of the race.
    grid, rows, best = memory(8), {}, {}
    for exact in (True, False):
        model = tiny(7, 3)
        options = SearchOptions(num_beams=3, length_penalty=1.0, max_tokens=30, exact=exact)
        found = search(model, grid, options)
        rows[exact] = sum(model.rows)
        best[exact] = [h.log_prob / (len(h.ids) + h.finished) for (h,) in found if h.finished]
    assert rows[False] < rows[True]
    assert len(best[False]) == len(best[True]) == 8
    assert all(quick <= best for quick, best in zip(best[False], best[True], strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(),
        SearchOptions(num_beams=3),
        SearchOptions(temperature=1.0),
        SearchOptions(temperature=0.7, top_k=3, top_p=0.5, num_return=2),
        SearchOptions(prefix=(2,)),
    ],
    ids=str,
)
def test_logits_that_are_not_finite_are_an_error(table, options, bad):
    logits = torch.zeros(3, 6)
    logits[1, 4] = bad
    with pytest.raises(CaptionerError, match="not finite at step 1 for row 1"):
        search(table(6), (logits,), options)


def test_a_model_may_rule_out_words_by_minus_infinity(table):
    logits = torch.full((1, 6), float("-inf"))
    logits[0, [1, 4]] = torch.tensor([0.0, 1.0])
    for options in (SearchOptions(num_beams=5, num_return=5), SearchOptions(temperature=1.0)):
        for hypothesis in search(table(6), (logits,), options)[0]:
            assert set(hypothesis.ids) <= {4}


def test_half_precision_logits_are_searched_in_single(table):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3000, generator=generator).bfloat16()  # full of ties
    for options in (SearchOptions(num_beams=3), SearchOptions(temperature=1.0, top_p=0.9)):
        found = search(table(3000), (logits,), options)
        exact = logits.float().log_softmax(1)
        for image, hypotheses in enumerate(found):
            first = hypotheses[0]
            assert first.token_log_probs[0] == pytest.approx(exact[image, first.ids[0]].item())


def test_no_rows_give_no_results_and_no_memory_is_refused(tiny, memory):
    assert search(tiny(5), memory(0), SearchOptions(num_beams=2)) == []
    with pytest.raises(ValueError, match="memory"):
        search(tiny(5), (), SearchOptions())
