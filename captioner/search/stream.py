"""Endless text, token by token: what a language model without an end emits from a prompt on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from captioner.errors import CaptionerError, InvalidOption
from captioner.recurrent import State
from captioner.search.options import SearchOptions
from captioner.search.sampling import draw


class EndlessModel(Protocol):
    """A model of text that has neither a start nor an end token."""

    @property
    def vocabulary_size(self) -> int:
        """V; ids are 0 … V - 1."""

    def initial_state(self, batch_size: int) -> State:
        """The state before any text."""

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads ``tokens (batch, time)``: logits ``(batch, V)`` of what follows, and the state."""

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """:meth:`read` of one token each, ``(batch,)``."""


class Emitted(NamedTuple):
    """A token and what it was worth."""

    id: int
    log_prob: float
    """In nats by the model as it is, whatever temperature, top_k and top_p made of it."""


class TokenStream(Iterator[Emitted]):
    """What ``model`` says after ``prompt``: ``options.max_tokens`` tokens, each as it is asked for.

    ``temperature``, ``top_k``, ``top_p`` and ``seed`` as in a search; temperature 0 takes the most
    probable token each time, ``banned_ids`` never come. ``state``: what the text before the prompt
    left (:attr:`state` of another stream). The same seed gives the same text, however often the
    stream is halted in between.

    ``prompt`` has at least one id. Raises :class:`InvalidOption` for options that only a search for
    an end has (beams, length penalty, several returns, n-gram blocking).
    """

    def __init__(
        self,
        model: EndlessModel,
        prompt: Sequence[int],
        options: SearchOptions,
        *,
        state: State | None = None,
    ) -> None:
        _check(model, prompt, options)
        self._model, self._options = model, options
        self._left = options.max_tokens
        self._generator = None
        if options.seed is not None:
            self._generator = torch.Generator().manual_seed(int(options.seed))  # type: ignore[arg-type]
        with torch.inference_mode():
            before = model.initial_state(1) if state is None else state
            self._banned: Tensor | None = None
            self._last: Tensor | None = torch.tensor([list(prompt)], device=before[0].device)
            if options.banned_ids:
                self._banned = torch.zeros(model.vocabulary_size, device=before[0].device)
                self._banned[list(options.banned_ids)] = float("-inf")
        self._state = before

    @property
    def state(self) -> State:
        """What the text so far leaves, the last token emitted included: where to go on from."""
        self._read()
        return self._state

    def __next__(self) -> Emitted:
        if not self._left:
            raise StopIteration
        with torch.inference_mode():
            logits = self._read()
            log_probs = logits.float().log_softmax(1)
            allowed = log_probs if self._banned is None else log_probs + self._banned
            if self._options.temperature > 0:
                point = torch.rand(1, generator=self._generator)
                chosen = draw(allowed, self._options, 1, point)[0]
            else:
                chosen = allowed.argmax(1)
            number = int(chosen)
            log_prob = float(log_probs[0, number])
        if log_prob != log_prob:
            raise CaptionerError("The model's logits are not finite.")
        self._last, self._left = chosen, self._left - 1
        return Emitted(number, log_prob)

    def _read(self) -> Tensor:
        """Logits of what follows; the last token is read once, when somebody asks."""
        if self._last is not None:
            with torch.inference_mode():
                step = self._model.read if self._last.dim() == 2 else self._model.advance
                self._logits, self._state = step(self._last, self._state)
            self._last = None
        return self._logits


def _check(model: EndlessModel, prompt: Sequence[int], options: SearchOptions) -> None:
    if not prompt:
        raise InvalidOption("The prompt is empty.", hint="A model of endless text needs one token.")
    for name, plain in (
        ("num_beams", 1),
        ("num_return", 1),
        ("no_repeat_ngram_size", 0),
        ("length_penalty", 0),
        ("prefix", ()),
        ("min_tokens", 0),
    ):
        value = getattr(options, name)
        if value != plain:
            raise InvalidOption(f"{name} is {value}.", hint="Endless text is not searched.")
    if isinstance(options.seed, tuple):
        raise InvalidOption("seed has several values.", hint="One stream has one seed.")
    size = model.vocabulary_size
    wrong = [token for token in (*prompt, *options.banned_ids) if not 0 <= token < size]
    if wrong:
        raise InvalidOption(f"There is no token {wrong[0]}.", hint=f"They end at {size - 1}.")
    if len(set(options.banned_ids)) == size:
        raise InvalidOption("banned_ids has every token.", hint="One must be left.")
