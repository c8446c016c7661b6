"""What may not be chosen: prefix, bans, n-grams, lengths; and that a search always ends."""

from __future__ import annotations

import pytest
import torch

from captioner.errors import InvalidOption
from captioner.search import SearchOptions, search
from captioner.search.constraints import best_tokens

END = 1
METHODS = [
    {"num_beams": 1},
    {"num_beams": 4, "num_return": 4},
    {"temperature": 1.5, "num_return": 4, "seed": 3},
    {"temperature": 1.5, "num_return": 4, "seed": 3, "top_k": 3, "top_p": 0.9},
]


@pytest.fixture(params=METHODS, ids=str)
def method(request):
    return request.param


@pytest.mark.parametrize("prefix", [(4,), (3, 2, 3), (2, 2, 2, 2, 2)])
def test_every_result_begins_with_the_prefix(tiny, memory, method, prefix):
    options = SearchOptions(prefix=prefix, max_tokens=5, **method)
    for hypotheses in search(tiny(6), memory(5), options):
        for hypothesis in hypotheses:
            assert tuple(hypothesis.ids[: len(prefix)]) == prefix
            assert len(hypothesis.ids) <= 5


def test_a_prefix_may_hold_what_is_never_chosen(tiny, memory):
    options = SearchOptions(prefix=(0, 3), banned_ids=(3,), max_tokens=6)
    for (hypothesis,) in search(tiny(6), memory(4), options):
        assert hypothesis.ids[:2] == [0, 3]
        assert not {0, 3} & set(hypothesis.ids[2:])


def test_a_prefix_that_is_impossible_is_refused(table):
    logits = torch.zeros(2, 5)
    logits[1, 3] = float("-inf")
    with pytest.raises(InvalidOption, match="token 2, id 3"):
        search(table(5), (logits,), SearchOptions(prefix=(2, 3)))


def test_forbidden_and_banned_ids_are_never_chosen(tiny, memory, method):
    model = tiny(8, forbidden_ids=(0, 5))
    for hypotheses in search(model, memory(8), SearchOptions(banned_ids=(2, 7), **method)):
        for hypothesis in hypotheses:
            assert set(hypothesis.ids) <= {3, 4, 6}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_comes_twice(tiny, memory, method, size):
    options = SearchOptions(no_repeat_ngram_size=size, max_tokens=12, banned_ids=(END,), **method)
    free = SearchOptions(max_tokens=12, banned_ids=(END,), **method)
    model, grid = tiny(5), memory(8)
    assert any(_repeats(h.ids, size) for found in search(model, grid, free) for h in found)
    for hypotheses in search(model, grid, options):
        for hypothesis in hypotheses:
            assert not _repeats(hypothesis.ids, size)


def test_ngrams_of_the_prefix_count(table):
    logits = torch.tensor([[0.0, -9.0, 0.0, 5.0, 1.0]])  # 3 would follow everything
    options = SearchOptions(prefix=(3, 3), no_repeat_ngram_size=2, max_tokens=4, min_tokens=4)
    ((found,),) = search(table(5), (logits,), options)
    assert found.ids == [3, 3, 4, 3]


def _repeats(ids: list[int], size: int) -> bool:
    grams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    return len(set(grams)) < len(grams)


@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 3), (2, 5), (0, 9)])
def test_lengths_are_kept(tiny, memory, method, least, most):
    options = SearchOptions(min_tokens=least, max_tokens=most, **method)
    for hypotheses in search(tiny(6, 2), memory(10), options):
        assert hypotheses
        for hypothesis in hypotheses:
            assert least <= len(hypothesis.ids) <= most
            assert hypothesis.finished or len(hypothesis.ids) == most


def test_an_end_after_the_last_token_counts_as_finished(table):
    # Word 2 is far more probable than the end until it may not come again.
    logits = torch.tensor([[0.0, 0.0, 9.0, -9.0]])
    options = SearchOptions(max_tokens=1, no_repeat_ngram_size=1)
    ((found,),) = search(table(4), (logits,), options)
    assert (found.ids, found.finished) == ([2], True)


def test_a_search_that_never_ends_is_cut_and_says_so(table, method):
    logits = torch.zeros(3, 6)
    logits[:, END] = float("-inf")
    for hypotheses in search(table(6), (logits,), SearchOptions(max_tokens=7, **method)):
        assert hypotheses
        for hypothesis in hypotheses:
            assert not hypothesis.finished
            assert len(hypothesis.ids) == len(hypothesis.token_log_probs) == 7


def test_finished_ones_come_before_better_ones_that_were_cut(table):
    # To end costs 4 nats, to go on nearly nothing.
    logits = torch.tensor([[-50.0, -4.0, 0.0, -50.0, -50.0]])
    options = SearchOptions(num_beams=3, num_return=3, max_tokens=2)
    (found,) = search(table(5), (logits,), options)
    assert [h.finished for h in found] == [True, True, True]
    (found,) = search(table(5), (logits,), SearchOptions(num_beams=1, max_tokens=2))
    assert (found[0].ids, found[0].finished) == ([2, 2], False)


def test_where_nothing_is_allowed_the_result_is_what_there_was(table, method):
    options = SearchOptions(banned_ids=(1, 2, 3, 4), prefix=(2, 3), **method)
    for hypotheses in search(table(5), (torch.zeros(2, 5),), options):
        assert hypotheses
        assert all(h.ids == [2, 3] and not h.finished for h in hypotheses)
    options = SearchOptions(no_repeat_ngram_size=1, min_tokens=9, **method)
    for hypotheses in search(table(5), (torch.zeros(2, 5),), options):
        assert all(sorted(h.ids) == [2, 3, 4] and not h.finished for h in hypotheses)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SearchOptions(banned_ids=(9,)), "banned_ids has the id 9.*ends at 5"),
        (SearchOptions(prefix=(2, 6)), "prefix has the id 6.*ends at 5"),
        (SearchOptions(prefix=(2, 1)), "end token"),
    ],
)
def test_ids_that_the_model_does_not_have_are_refused(tiny, memory, options, words):
    with pytest.raises(InvalidOption, match=words):
        search(tiny(6), memory(2), options)


def test_best_tokens_are_those_of_a_stable_sort():
    generator = torch.Generator().manual_seed(1)
    for size in (1, 2, 5, 700, 5000, 5003):  # the last two by maxima of columns
        values = torch.randint(0, max(size // 2, 2), (20, size), generator=generator).float()
        values[:, ::3] = float("-inf")
        order = values.sort(dim=1, descending=True, stable=True)
        for count in (1, 2, 5, 9):
            best, ids = best_tokens(values, count)
            expected, indices = order.values[:, :count], order.indices[:, :count]
            torch.testing.assert_close(best, expected)
            allowed = expected > float("-inf")
            assert torch.equal(ids[allowed], indices[allowed])


def test_best_continuations_are_those_of_a_stable_sort():
    generator = torch.Generator().manual_seed(2)
    for size in (1, 5, 700, 5003):
        values = torch.randint(0, 9, (24, size), generator=generator).float()
        values[::5, ::3] = float("-inf")
        totals = torch.randint(-3, 0, (8, 3), generator=generator).double()
        totals[0, 1:] = float("-inf")
        sums = (values.view(8, 3, size) + totals.unsqueeze(2)).flatten(1)
        order = sums.sort(dim=1, descending=True, stable=True)
        for count in (1, 4, 10):
            best, ids = best_tokens(values, count, totals)
            expected, indices = order.values[:, :count], order.indices[:, :count]
            torch.testing.assert_close(best, expected, rtol=0, atol=0)
            allowed = expected > float("-inf")
            assert torch.equal(ids[allowed], indices[allowed])
