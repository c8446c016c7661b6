"""Sampling: the right distribution, the same again with a seed, whatever stands beside."""

from __future__ import annotations

import math

import pytest
import torch

from captioner.errors import InvalidOption
from captioner.search import SearchOptions, search
from captioner.search.sampling import draw

END = 1
LOGITS = torch.tensor([3.0, -1.0, 0.0, 1.0, 2.0, 1.5, -3.0, 0.5])  # 0 is forbidden


def expected_distribution(temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """By the definition, with plain numbers."""
    weights = {t: math.exp(LOGITS[t].item() / temperature) for t in range(1, 8)}
    ranked = sorted(weights, key=lambda token: -weights[token])[: top_k or None]
    total = sum(weights[token] for token in ranked)
    kept, mass = [], 0.0
    for token in ranked:
        if mass < top_p:
            kept.append(token)
        mass += weights[token] / total
    total = sum(weights[token] for token in kept)
    return {token: weights[token] / total for token in kept}


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 3, 1.0), (1.0, 0, 0.7), (1.5, 4, 0.8), (1.0, 99, 0.99)],
)
@pytest.mark.parametrize("seed", [None, 11])
def test_samples_follow_the_restricted_distribution(table, temperature, top_k, top_p, seed):
    count = 20_000
    options = SearchOptions(
        num_return=count,
        max_tokens=1,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        (found,) = search(table(8), (LOGITS.unsqueeze(0),), options)
    drawn = [h.ids[0] if h.ids else END for h in found]
    expected = expected_distribution(temperature, top_k, top_p)
    assert len(drawn) == count
    assert set(drawn) <= set(expected)
    for token, share in expected.items():
        deviation = math.sqrt(share * (1 - share) / count)
        assert abs(drawn.count(token) / count - share) < 4.5 * deviation


@pytest.mark.parametrize("top", [{}, {"top_k": 3}, {"top_p": 0.9}, {"top_k": 5, "top_p": 0.99}])
def test_the_ends_of_the_unit_interval_draw_what_is_allowed(top):
    generator = torch.Generator().manual_seed(0)
    allowed = torch.randn(300, 9, generator=generator).log_softmax(1)
    allowed[:, [0, 4, 8]] = float("-inf")
    uniform = torch.tensor([0.0, 1 - 2**-24]).repeat(300)
    drawn = draw(allowed, SearchOptions(temperature=0.8, **top), 2, uniform)
    assert bool((allowed.gather(1, drawn) > float("-inf")).all())


def test_a_nucleus_wider_than_is_looked_at_first_is_whole(table):
    # 1000 equal words: 90 % of the mass needs 900 of them, the lowest ids.
    flat = torch.zeros(2, 1002)
    flat[1, 7] = 20.0  # a row whose nucleus is one word stands beside it
    options = SearchOptions(
        num_return=5000, max_tokens=1, temperature=1.0, top_p=0.9, banned_ids=(END,), seed=2
    )
    found, single = search(table(1002), (flat,), options)
    drawn = {h.ids[0] for h in found}
    assert min(drawn) >= 2
    assert 880 < len(drawn) <= 901
    assert max(drawn) <= 902
    assert {h.ids[0] for h in single} == {7}


def test_a_seed_gives_the_same_again_and_another_seed_does_not(tiny, memory):
    model, grid = tiny(9), memory(6)

    def ids(seed):
        options = SearchOptions(temperature=1.0, num_return=4, max_tokens=8, seed=seed)
        return [[h.ids for h in found] for found in search(model, grid, options)]

    assert ids(7) == ids(7)
    assert ids(7) != ids(8)
    assert ids(None) != ids(None)


def test_without_a_seed_torchs_own_decides(tiny, memory):
    model, grid, drawn = tiny(9), memory(6), []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.manual_seed(3)
            found = search(model, grid, SearchOptions(temperature=1.0, num_return=3))
            drawn.append([[h.ids for h in hypotheses] for hypotheses in found])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("seed", [5, tuple(range(12))])
@pytest.mark.parametrize("top", [{}, {"top_k": 4}, {"top_p": 0.8}])
def test_a_rows_samples_do_not_depend_on_the_batch(tiny, memory, seed, top):
    model, (grid,) = tiny(9), memory(12)
    given = {"temperature": 1.3, "num_return": 3, "max_tokens": 9, **top}
    together = search(model, (grid,), SearchOptions(seed=seed, **given), keep_weights=True)
    assert len({tuple(h.ids) for found in together for h in found}) > 12
    for row, found in enumerate(together):
        own = seed if isinstance(seed, int) else seed[row]
        (alone,) = search(
            model, (grid[row : row + 1],), SearchOptions(seed=own, **given), keep_weights=True
        )
        assert [h.ids for h in found] == [h.ids for h in alone]
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one.weights, other.weights)


def test_rows_need_as_many_seeds_as_they_are(tiny, memory):
    with pytest.raises(InvalidOption, match="seed has 2 values for 3 rows"):
        search(tiny(5), memory(3), SearchOptions(temperature=1.0, seed=(1, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_low_temperature_is_greedy(tiny, memory, dtype):
    model, grid = tiny(9).to(dtype), (memory(10)[0].to(dtype),)
    greedy = search(model, grid, SearchOptions(max_tokens=8))
    for temperature in (1e-5, 1e-300):
        cold = search(model, grid, SearchOptions(max_tokens=8, temperature=temperature))
        assert [h[0].ids for h in cold] == [h[0].ids for h in greedy]


def test_each_row_has_as_many_samples_as_asked_for_the_best_first(tiny, memory):
    options = SearchOptions(temperature=1.0, num_return=7, max_tokens=4, seed=1)
    for found in search(tiny(6), memory(9), options):
        assert len(found) == 7
        keys = [(not h.finished, -h.log_prob) for h in found]
        assert keys == sorted(keys)


def test_samples_that_are_done_leave_the_batch(tiny, memory):
    model = tiny(6)
    options = SearchOptions(temperature=1.0, num_return=8, max_tokens=25, seed=1)
    found = search(model, memory(16), options)
    steps = [len(h.ids) + h.finished for hypotheses in found for h in hypotheses]
    assert model.rows[0] == 16
    assert sum(model.rows[1:]) <= sum(steps) / 0.7
