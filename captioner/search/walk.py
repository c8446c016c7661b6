"""The rows that a search has in hand: it moves a model along them, step by step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from captioner.errors import CaptionerError, InvalidOption
from captioner.recurrent import State, select
from captioner.search.model import Memory, TokenModel
from captioner.search.options import SearchOptions
from captioner.search.trace import Indices, Numbers, Trace

_MANY = 32  # rows from which it pays off to find those that continue one state


class Walk:
    """``images (A,)`` that are still searched for, ``width`` rows for each, side by side.

    It begins with one row an image, after the prefix. Indices are numpy's, on the CPU, where
    choices are made; state, memory and tokens are where the model is.
    """

    def __init__(
        self, model: TokenModel, memory: Memory, options: SearchOptions, *, keep_weights: bool
    ) -> None:
        self.model, self.memory = model, memory
        self.device = memory[0].device
        self.images: Indices = np.arange(memory[0].shape[0])
        self.width = 1
        self.trace = Trace()
        self.history: Tensor | None = None
        """``(rows, step)``: the tokens of each row, kept for n-gram blocking only."""
        self.log_probs: Numbers = np.zeros(len(self.images))
        """``(images,)``: what the prefix is worth."""
        self._keep_weights = keep_weights
        self._state: State = model.begin(memory)
        self._parents: Tensor | None = None
        self._shares = bool(getattr(model, "shares_states", False))
        self._tokens = torch.full((len(self.images),), model.start_id, device=self.device)
        if options.no_repeat_ngram_size:
            self.history = self._tokens.new_empty(len(self.images), 0, device="cpu")
        for token in options.prefix:
            self._force(token)

    @property
    def step(self) -> int:
        """Tokens that each row has."""
        return self.trace.step

    def advance(self) -> Tensor:
        """One step of the model: log-probabilities ``(rows, V)`` of what may follow.

        A row whose logits are not finite is not a number throughout.
        """
        given = (self._tokens, self._state, self.memory)
        # A model that shares nothing need not know the argument.
        parents = () if self._parents is None else (self._parents,)
        logits, self._state, weights = self.model.advance(*given, *parents)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if self._keep_weights and weights is not None:
            self.trace.look(weights)
        return logits.log_softmax(1)

    def check(self, log_probs: Numbers) -> None:
        """Raises :class:`CaptionerError` if one of ``(rows,)``, or ``(images,)``, is no number."""
        if np.isnan(log_probs).any():
            place = int(np.isnan(log_probs).argmax()) * len(self.images) // len(log_probs)
            raise CaptionerError(
                f"The model's logits are not finite at step {self.step + 1}"
                f" for row {int(self.images[place])} of the batch."
            )

    def move(self, parents: Indices, tokens: Indices, log_probs: Numbers) -> None:
        """Goes on with ``width`` rows an image, each from ``parents`` with one more token.

        All are ``(A, width)``, parents as row numbers; a parent lies within its image.
        """
        self.width = parents.shape[1]
        self._move(parents.ravel(), tokens.ravel(), log_probs.ravel())

    def keep(self, kept: Indices) -> None:
        """Goes on with the images at ``kept``, positions in ``images``; one may come twice.

        A :meth:`move` with parents among the rows before must follow.
        """
        self.images = self.images[kept]
        self.memory = select(self.memory, self._index(kept))

    def _move(self, parents: Indices, tokens: Indices, log_probs: Numbers) -> None:
        self.trace.grow(parents, tokens, log_probs)
        self._tokens = self._index(tokens)
        rows = self._state[0].shape[0] if self._state else -1
        self._parents = None
        if rows != len(parents) or (parents != np.arange(rows)).any():
            states = parents
            if self._shares and len(parents) >= _MANY:
                states, places = np.unique(parents, return_inverse=True)
                self._parents = self._index(places)
            self._state = select(self._state, self._index(states))
        if self.history is not None:
            kept, last = torch.from_numpy(parents), torch.from_numpy(tokens)
            self.history = torch.cat((self.history[kept], last[:, None]), 1)

    def _index(self, numbers: Indices) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)

    def _force(self, token: int) -> None:
        log_probs = self.advance()[:, token].double().cpu().numpy()
        self.check(log_probs)
        if not np.isfinite(log_probs).all():
            raise InvalidOption(
                f"The prefix is impossible: the model gives its token {self.step + 1},"
                f" id {token}, the probability 0."
            )
        self.log_probs = self.log_probs + log_probs
        self._move(np.arange(len(log_probs)), np.full_like(self.images, token), log_probs)
