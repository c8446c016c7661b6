"""The rows that a search has in hand: it moves a model along them, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.errors import CaptionerError, InvalidOption
from captioner.recurrent import State, select
from captioner.search.model import Memory, TokenModel
from captioner.search.options import SearchOptions
from captioner.search.trace import Trace


class Walk:
    """``images (A,)`` that are still searched for, ``width`` rows for each, side by side.

    It begins with one row an image, after the prefix. Indices are held on the CPU, where choices
    are made; state, memory and tokens where the model is.
    """

    def __init__(
        self, model: TokenModel, memory: Memory, options: SearchOptions, *, keep_weights: bool
    ) -> None:
        self.model, self.memory = model, memory
        self.device = memory[0].device
        self.images = torch.arange(memory[0].shape[0])
        self.width = 1
        self.trace = Trace()
        self.history: Tensor | None = None
        """``(rows, step)``: the tokens of each row, kept for n-gram blocking only."""
        self.log_probs = torch.zeros(len(self.images), dtype=torch.float64)
        """``(images,)``: what the prefix is worth."""
        self._keep_weights = keep_weights
        self._state: State = model.begin(memory)
        self._tokens = torch.full_like(self.images, model.start_id, device=self.device)
        if options.no_repeat_ngram_size:
            self.history = self.images.new_empty(len(self.images), 0)
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
        logits, self._state, weights = self.model.advance(self._tokens, self._state, self.memory)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if self._keep_weights and weights is not None:
            self.trace.look(weights)
        return logits.log_softmax(1)

    def check(self, log_probs: Tensor) -> None:
        """Raises :class:`CaptionerError` if one of ``(rows,)`` on the CPU is not a number."""
        if bool(log_probs.isnan().any()):
            row = int(log_probs.isnan().nonzero()[0])
            raise CaptionerError(
                f"The model's logits are not finite at step {self.step + 1}"
                f" for row {int(self.images[row // self.width])} of the batch."
            )

    def move(self, parents: Tensor, tokens: Tensor, log_probs: Tensor) -> None:
        """Goes on with ``width`` rows an image, each from ``parents`` with one more token.

        All are ``(A, width)``, parents as row numbers; a parent lies within its image.
        """
        self.width = parents.shape[1]
        self._move(parents.flatten(), tokens.flatten(), log_probs.flatten())

    def keep(self, kept: Tensor) -> None:
        """Goes on with the images at ``kept``, positions in ``images``; one may come twice.

        A :meth:`move` with parents among the rows before must follow.
        """
        self.images = self.images[kept]
        self.memory = select(self.memory, kept.to(self.device))

    def _move(self, parents: Tensor, tokens: Tensor, log_probs: Tensor) -> None:
        self.trace.grow(parents, tokens, log_probs)
        self._tokens = tokens.to(self.device)
        rows = self._state[0].shape[0] if self._state else -1
        if rows != len(parents) or not torch.equal(parents, torch.arange(len(parents))):
            self._state = select(self._state, parents.to(self.device))
        if self.history is not None:
            self.history = torch.cat((self.history[parents], tokens[:, None]), 1)

    def _force(self, token: int) -> None:
        log_probs = self.advance()[:, token].cpu()
        self.check(log_probs)
        if not bool(log_probs.isfinite().all()):
            raise InvalidOption(
                f"The prefix is impossible: the model gives its token {self.step + 1},"
                f" id {token}, the probability 0."
            )
        self.log_probs = self.log_probs + log_probs
        self._move(torch.arange(len(log_probs)), torch.full_like(self.images, token), log_probs)
