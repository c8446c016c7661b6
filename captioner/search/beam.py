"""Beam search, batched over images × beams; with one beam it is greedy search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.search.constraints import Constraints, best_tokens
from captioner.search.model import Memory, TokenModel
from captioner.search.nbest import NBest
from captioner.search.options import SearchOptions
from captioner.search.trace import Hypothesis, Indices, Numbers
from captioner.search.walk import Walk

_NEVER = float("-inf")
_WORTH_LEAVING = 0.85  # of the images left, at most, for copying memory to pay off


class Candidates(NamedTuple):
    """Continuations of images' beams, each ``(A, n)``, the best first."""

    totals: Numbers
    """Log-probabilities with all before."""
    parents: Indices
    """Rows that they continue."""
    tokens: Indices
    log_probs: Numbers

    def at(self, *index: Any) -> Candidates:
        """Those at an index of all four arrays."""
        totals, parents, tokens, log_probs = self
        return Candidates(totals[index], parents[index], tokens[index], log_probs[index])


def beam_search(
    model: TokenModel, memory: Memory, options: SearchOptions, *, keep_weights: bool = False
) -> list[list[Hypothesis]]:
    """The ``num_return`` best that ``num_beams`` beams find for each row of ``memory``.

    At each step the ``num_beams`` best continuations of an image's beams count. Those that end go
    to the image's list of the best; the best others are its next beams, so that no place is held by
    what has ended. An image is done when no beam can beat the worst of its full list; single beams
    that cannot are dropped before that. With one beam the most probable token is taken at each step
    and the first end ends it, whatever the length penalty.
    """
    constraints = Constraints(model, options, device=memory[0].device)
    walk = Walk(model, memory, options, keep_weights=keep_weights)
    found = NBest(len(walk.images), options)
    totals = walk.log_probs[:, None]
    while True:
        allowed = constraints.apply(walk.advance(), walk.step, walk.history)
        # Each beam has one end at most, and ends leave: one more than the beams is enough.
        best, ids = best_tokens(allowed, 1 if options.num_beams == 1 else options.num_beams + 1)
        log_probs = best.double().cpu().numpy()
        walk.check(log_probs[:, 0])
        candidates = _continuations(totals, log_probs, ids.cpu().numpy(), options.num_beams)
        candidates = _collect_ends(candidates, model.end_id, walk, found, options.num_beams)
        if walk.step == options.max_tokens:
            found.cut(walk.images, walk.step, totals)
            break
        stuck = candidates.totals[:, :1] == _NEVER
        if stuck.any():
            found.cut(walk.images, walk.step, np.where(stuck, totals, _NEVER))
        alive = found.beatable(walk.images, walk.step + 1, candidates.totals)
        if not alive.any():
            break
        totals = _move(walk, candidates, alive)
    return found.hypotheses(walk.trace)


def _continuations(totals: Numbers, log_probs: Numbers, ids: Indices, beams: int) -> Candidates:
    """Of beams worth ``totals (A, width)``, given each row's best tokens ``(rows, n)``."""
    images, width = totals.shape
    each = log_probs.shape[1]
    sums = totals.repeat(each, 1) + log_probs.reshape(images, -1)
    # Stable: of equal ones the better beam's comes first, then the lower id.
    order = np.argsort(-sums, axis=1, kind="stable")[:, : 2 * beams]
    places = order + np.arange(0, sums.size, width * each)[:, None]
    return Candidates(sums.take(places), places // each, ids.take(places), log_probs.take(places))


def _collect_ends(
    candidates: Candidates, end_id: int, walk: Walk, found: NBest, beams: int
) -> Candidates:
    """Hands ends among the best to ``found``; returns the best others."""
    totals, parents, tokens, log_probs = candidates
    ends = tokens == end_id
    if not ends.any():
        return candidates.at(slice(None), slice(beams))
    ended = np.where(ends, totals, _NEVER)[:, :beams]
    found.finish(walk.images, walk.step, ended, parents[:, :beams], log_probs[:, :beams])
    others = np.argsort(ends, axis=1, kind="stable")[:, :beams]
    totals = np.where(ends, _NEVER, totals)
    every = np.arange(len(ends))[:, None]
    return Candidates(totals, parents, tokens, log_probs).at(every, others)


def _move(walk: Walk, candidates: Candidates, alive: NDArray[np.bool_]) -> Numbers:
    """Goes on with the candidates that are ``alive``, of which there are some; their totals."""
    width = int(alive.sum(1).max())  # the live ones come first
    kept = alive[:, 0].nonzero()[0]
    if len(kept) <= _WORTH_LEAVING * len(alive):
        walk.keep(kept)
        alive, candidates = alive[kept], candidates.at(kept)
    alive = alive[:, :width]
    totals, parents, tokens, log_probs = candidates.at(slice(None), slice(width))
    walk.move(parents, tokens, log_probs)
    return np.where(alive, totals, _NEVER)
