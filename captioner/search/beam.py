"""Beam search, batched over images × beams; with one beam it is greedy search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        candidates = _continuations(allowed, totals, options.num_beams)
        walk.check(candidates.totals[:, 0])
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


def _continuations(log_probs: Tensor, totals: Numbers, beams: int) -> Candidates:
    """The best of beams worth ``totals (A, width)``, followed by ``log_probs (A * width, V)``."""
    size = log_probs.shape[1]
    images, width = totals.shape
    if beams == 1:
        best, ids = best_tokens(log_probs, 1)
        each = best.double().cpu().numpy()
        return Candidates(totals + each, np.arange(images)[:, None], ids.cpu().numpy(), each)
    # Each beam has one end at most, and ends leave: twice the beams is enough.
    worth = torch.from_numpy(totals).to(log_probs.device)
    best, ids = best_tokens(log_probs, 2 * beams, worth)
    each = log_probs.view(images, -1).gather(1, ids).double().cpu().numpy()
    places = ids.cpu().numpy() + np.arange(0, log_probs.numel(), width * size)[:, None]
    return Candidates(best.cpu().numpy(), *np.divmod(places, size), each)


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
    # What is not alive shares the state of its image's best: it costs little, and is never read.
    walk.move(np.where(alive, parents, parents[:, :1]), tokens, log_probs)
    return np.where(alive, totals, _NEVER)
