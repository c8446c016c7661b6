"""Sampling: several independent samples for each row, all in one batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.search.constraints import Constraints, best_tokens
from captioner.search.model import Memory, TokenModel
from captioner.search.options import SearchOptions
from captioner.search.trace import Hypothesis, Indices
from captioner.search.walk import Walk

_NEVER = float("-inf")
_WORTH_LEAVING = 0.75  # of the samples left, at most, for copying memory to pay off
_NUCLEUS = 128  # tokens among which top_p's mass is looked for before everything is sorted


def sample(
    model: TokenModel, memory: Memory, options: SearchOptions, *, keep_weights: bool = False
) -> list[list[Hypothesis]]:
    """``num_return`` samples for each row of ``memory``, the best score first.

    They are independent: one may come twice. What restricts the choice falls in the order bans,
    temperature, ``top_k``, ``top_p``.
    """
    constraints = Constraints(model, options, device=memory[0].device)
    walk = Walk(model, memory, options, keep_weights=keep_weights)
    results: list[list[Hypothesis]] = [[] for _ in range(len(walk.images))]
    leaves: list[tuple[int, int, int, float | None]] = []  # image, step, row, the end's value
    uniform = _uniform(options, len(results))
    # Which sample each is.
    numbers: Indices = np.tile(np.arange(options.num_return), (len(results), 1))
    alive: NDArray[np.bool_] = np.ones(numbers.shape, dtype=np.bool_)
    while True:
        allowed = constraints.apply(walk.advance(), walk.step, walk.history)
        images, each = len(walk.images), numbers.shape[1] // walk.width
        points = None if uniform is None else uniform[walk.images[:, None], numbers, walk.step]
        ids = draw(allowed, options, each, points)
        log_probs = allowed.gather(1, ids).double().cpu().numpy()
        walk.check(log_probs[:, 0])
        log_probs = log_probs.reshape(images, -1)
        parents = np.arange(len(allowed)).repeat(each).reshape(images, -1)
        possible = log_probs > _NEVER
        tokens = ids.cpu().numpy().reshape(images, -1)

        ended = alive & possible & (tokens == model.end_id)
        closed = alive if walk.step == options.max_tokens else ended | (alive & ~possible)
        for a, column in np.argwhere(closed).tolist():
            end = float(log_probs[a, column]) if ended[a, column] else None
            leaves.append((int(walk.images[a]), walk.step, int(parents[a, column]), end))
        alive = alive & ~closed
        left = int(alive.sum())
        if not left:
            break
        if left <= _WORTH_LEAVING * alive.size:
            # Each sample by itself from here on, with a row of memory of its own.
            here, place = alive.nonzero()
            walk.keep(here)
            parents, tokens = parents[here, place][:, None], tokens[here, place][:, None]
            log_probs, numbers = log_probs[here, place][:, None], numbers[here, place][:, None]
            alive = alive[here, place][:, None]
        walk.move(parents, tokens, log_probs)
    for image, step, row, end in leaves:
        results[image].append(walk.trace.hypothesis(step, row, end))
    for hypotheses in results:
        hypotheses.sort(key=lambda found: (not found.finished, -_score(found, options)))
    return results


def draw(
    allowed: Tensor, options: SearchOptions, count: int, uniform: Tensor | None = None
) -> Tensor:
    """``count`` tokens for each row of ``allowed (rows, V)``; any at all where none is allowed.

    Takes the token at the point ``uniform`` (``rows * count`` numbers in [0, 1), drawn here from
    torch's global generator if None) of the cumulative distribution.
    """
    rows = len(allowed)
    if uniform is None:
        uniform = torch.rand(rows, count, device=allowed.device)
    scaled = allowed
    if options.temperature != 1:
        # From 0 downwards and not below what a float can hold: the coldest is still a number.
        scaled = (allowed - allowed.amax(1, keepdim=True)) / max(options.temperature, 1e-20)
    ids: Tensor | None = None
    if options.top_k:
        _, ids = best_tokens(allowed, options.top_k)
        scaled = scaled.gather(1, ids)
    mass = scaled.softmax(1)  # not a number where nothing is allowed
    if options.top_p < 1:
        mass, ids = _nucleus(mass, allowed, ids, options.top_p)
    cumulative = mass.cumsum(1)
    points = uniform.to(allowed).view(rows, count) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, points, right=True).clamp_(max=mass.shape[1] - 1)
    return chosen if ids is None else ids.gather(1, chosen)


def _nucleus(
    mass: Tensor, allowed: Tensor, ids: Tensor | None, top_p: float
) -> tuple[Tensor, Tensor]:
    """The fewest tokens that hold ``top_p`` of each row's mass, sorted; 0 for the others."""
    if ids is None:
        mass, ids = _sorted(mass, allowed, top_p)
    before = mass.cumsum(1) - mass
    return mass.masked_fill(before >= top_p, 0.0), ids


def _sorted(mass: Tensor, allowed: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """As many of the most probable tokens as ``top_p`` of the mass needs: their mass and ids."""
    _, ids = best_tokens(allowed, min(_NUCLEUS, mass.shape[1]))
    some = mass.gather(1, ids)
    short = (some.sum(1) < top_p).nonzero().flatten()
    if len(short) and ids.shape[1] < mass.shape[1]:
        # These need more; the others are filled up with nothing.
        missing = (0, mass.shape[1] - ids.shape[1])
        some, ids = functional.pad(some, missing), functional.pad(ids, missing)
        some[short], ids[short] = mass[short].sort(dim=1, descending=True, stable=True)
    return some, ids


def _uniform(options: SearchOptions, images: int) -> Tensor | None:
    """``(images, num_return, max_tokens + 1)`` numbers by each row's seed, None without one."""
    if options.seed is None:
        return None
    seeds = options.seed if isinstance(options.seed, tuple) else (options.seed,) * images
    if len(seeds) != images:
        raise InvalidOption(f"seed has {len(seeds)} values for {images} rows.", hint="One each.")
    size = (options.num_return, options.max_tokens + 1)
    drawn = {
        seed: torch.rand(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    }
    return torch.stack([drawn[seed] for seed in seeds])


def _score(hypothesis: Hypothesis, options: SearchOptions) -> float:
    length = max(len(hypothesis.token_log_probs), 1)
    return hypothesis.log_prob / float(length**options.length_penalty)
