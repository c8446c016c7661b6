"""One search for every model that emits tokens: greedy, with beams, or by sampling."""

from __future__ import annotations

import torch

from captioner.search.beam import beam_search
from captioner.search.model import Memory, Step, TokenModel, repeat
from captioner.search.options import SearchOptions
from captioner.search.sampling import sample
from captioner.search.stream import Emitted, EndlessModel, TokenStream
from captioner.search.trace import Hypothesis

__all__ = [
    "Emitted",
    "EndlessModel",
    "Hypothesis",
    "Memory",
    "SearchOptions",
    "Step",
    "TokenModel",
    "TokenStream",
    "repeat",
    "search",
]


def search(
    model: TokenModel, memory: Memory, options: SearchOptions, *, keep_weights: bool = False
) -> list[list[Hypothesis]]:
    """For each row of ``memory`` its hypotheses, the best first, at least one.

    Finished ones come before those that were cut off; there may be fewer than ``num_return`` where
    a search finds no more. ``keep_weights`` keeps where the model looked, if it says so. The model
    should be in evaluation mode: dropout makes results depend on chance.

    Raises :class:`InvalidOption` for ids outside the model's vocabulary, and
    :class:`CaptionerError` when logits are not finite.
    """
    if not memory:
        raise ValueError("The memory is empty: it needs a tensor with a row for each search.")
    if not memory[0].shape[0]:
        return []
    method = sample if options.temperature > 0 else beam_search
    with torch.inference_mode():
        return method(model, memory, options, keep_weights=keep_weights)
