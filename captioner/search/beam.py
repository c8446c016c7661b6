"""Beam search, batched over images × beams; with one beam it is greedy search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from captioner.search.constraints import Constraints, best_tokens
from captioner.search.model import Memory, TokenModel
from captioner.search.nbest import NBest
from captioner.search.options import SearchOptions
from captioner.search.trace import Hypothesis
from captioner.search.walk import Walk

_NEVER = float("-inf")
_WORTH_LEAVING = 0.85  # of the images left, at most, for copying memory to pay off


class Candidates(NamedTuple):
    """Continuations of images' beams, each ``(A, n)``, the best first."""

    totals: Tensor
    """Log-probabilities with all before."""
    parents: Tensor
    """Rows that they continue."""
    tokens: Tensor
    log_probs: Tensor


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
    totals = walk.log_probs.unsqueeze(1)
    while True:
        allowed = constraints.apply(walk.advance(), walk.step, walk.history)
        # Each beam has one end at most, and ends leave: one more than the beams is enough.
        log_probs, ids = best_tokens(
            allowed, 1 if options.num_beams == 1 else options.num_beams + 1
        )
        log_probs = log_probs.cpu()
        walk.check(log_probs[:, 0])
        candidates = _continuations(totals, log_probs, ids.cpu(), options.num_beams)
        candidates = _collect_ends(candidates, model.end_id, walk, found, options.num_beams)
        if walk.step == options.max_tokens:
            found.cut(walk.images, walk.step, totals)
            break
        stuck = candidates.totals[:, :1] == _NEVER
        if bool(stuck.any()):
            found.cut(walk.images, walk.step, totals.masked_fill(~stuck, _NEVER))
        alive = found.beatable(walk.images, walk.step + 1, candidates.totals)
        if not bool(alive.any()):
            break
        totals = _move(walk, candidates, alive)
    return found.hypotheses(walk.trace)


def _continuations(totals: Tensor, log_probs: Tensor, ids: Tensor, beams: int) -> Candidates:
    """Of beams worth ``totals (A, width)``, given each row's best tokens ``(rows, n)``."""
    images, width = totals.shape
    tokens, log_probs = ids.reshape(images, -1), log_probs.reshape(images, -1)
    parents = torch.arange(images).unsqueeze(1) * width
    each = tokens.shape[1] // width
    totals = totals.repeat_interleave(each, 1) + log_probs
    if totals.shape[1] == 1:
        return Candidates(totals, parents, tokens, log_probs)
    # Stable: of equal ones the better beam's comes first, then the lower id.
    totals, order = totals.sort(dim=1, descending=True, stable=True)
    totals, order = totals[:, : 2 * beams], order[:, : 2 * beams]
    parents = parents + order // each
    return Candidates(totals, parents, tokens.gather(1, order), log_probs.gather(1, order))


def _collect_ends(
    candidates: Candidates, end_id: int, walk: Walk, found: NBest, beams: int
) -> Candidates:
    """Hands ends among the best to ``found``; returns the best others."""
    totals, parents, tokens, log_probs = candidates
    ends = tokens == end_id
    if bool(ends.any()):
        ended = totals[:, :beams].masked_fill(~ends[:, :beams], _NEVER)
        found.finish(walk.images, walk.step, ended, parents[:, :beams], log_probs[:, :beams])
        totals, order = totals.masked_fill(ends, _NEVER).sort(dim=1, descending=True, stable=True)
        parents, tokens = parents.gather(1, order), tokens.gather(1, order)
        log_probs = log_probs.gather(1, order)
    parts = (totals, parents, tokens, log_probs)
    return Candidates(*(part[:, :beams] for part in parts))


def _move(walk: Walk, candidates: Candidates, alive: Tensor) -> Tensor:
    """Goes on with the candidates that are ``alive``, of which there are some; their totals."""
    width = int(alive.sum(1).max())  # the live ones come first
    kept = alive[:, 0].nonzero().flatten()
    if len(kept) <= _WORTH_LEAVING * len(alive):
        walk.keep(kept)
        alive = alive[kept]
        candidates = Candidates(*(part[kept] for part in candidates))
    alive = alive[:, :width]
    totals, parents, tokens, log_probs = (part[:, :width] for part in candidates)
    walk.move(parents, tokens, log_probs)
    return totals.masked_fill(~alive, _NEVER)
