"""A model of endless text: after each character, what may come next (Karpathy 2015, char-rnn).

No start and no end token: a text is cut anywhere, and the state carries what came before. Read in
chunks, a text gives what it gives as a whole.

Letters: B streams, T characters, V characters in the vocabulary, H hidden size.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.models.frozen_characters import CharacterStep
from captioner.recurrent import LSTM, Stack, State, build_cell, linear, unroll
from captioner.recurrent.packing import Packing

Inputs = Literal["one_hot", "embedding"]
SHORT = 16  # characters: torch's kernel puts its matrices in order first, which costs as many steps


class CharLanguageModel(nn.Module):
    """``p(x_{t+1} | x_1 … x_t)`` from any cell of :data:`captioner.recurrent.CELLS`, stacked.

    ``inputs``: how a character enters. ``"one_hot"`` multiplies ``W_xh`` with a vector that is 1 at
    the character's number; ``"embedding"`` looks that column of ``W_xh`` up. One function, the same
    parameters: values and gradients are equal. ``embedding_size`` factorises it in both,
    ``W_xh = W E`` with E ``(V, embedding_size)``; None leaves ``W_xh`` whole.

    ``dropout`` falls between layers and before the read-out. ``forget_bias`` goes to an LSTM.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str = "lstm",
        hidden_size: int = 512,
        num_layers: int = 2,
        inputs: Inputs = "one_hot",
        embedding_size: int | None = None,
        dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        if inputs not in ("one_hot", "embedding"):
            raise InvalidOption(f"Inputs {inputs!r} are unknown.", hint="one_hot or embedding.")
        self.vocabulary_size = vocabulary_size
        self.inputs = inputs
        options: dict[str, Any] = {"forget_bias": forget_bias} if cell == "lstm" else {}
        self.cell = build_cell(
            cell,
            vocabulary_size if embedding_size is None else embedding_size,
            hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            **options,
        )
        self.embedding = (
            None if embedding_size is None else nn.Embedding(vocabulary_size, embedding_size)
        )
        self.characters = nn.Linear(hidden_size, vocabulary_size)
        nn.init.zeros_(self.characters.bias)
        self.dropout = nn.Dropout(dropout)
        self._table: Tensor | None = None
        self._step: CharacterStep | None = None

    def initial_state(self, batch_size: int) -> State:
        """Zeros: nothing was read yet."""
        return self.cell.initial_state(batch_size, like=self.characters.weight)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """``tokens (B, T)`` -> logits of the next character ``(B, T, V)``, and the state after."""
        hidden, state = self.hidden(tokens, state)
        return self.logits(self.dropout(hidden)), state

    def hidden(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """``tokens (B, T)`` -> the top layer's outputs ``(B, T, H)``, and the state after."""
        if self.inputs == "one_hot":
            vectors = functional.one_hot(tokens, self.vocabulary_size)
            vectors = vectors.to(self.characters.weight.dtype)
            if self.embedding is not None:
                vectors = vectors @ self.embedding.weight
            return unroll(self.cell, vectors, state=state)
        if self.embedding is not None:
            return unroll(self.cell, self.embedding(tokens), state=state)
        packing = Packing(tokens.shape[0], tokens.shape[1], None, tokens.device)
        if state is None:
            state = self.initial_state(len(tokens))
        projected = functional.embedding(packing.pack(tokens), self._projections())
        outputs, state = self.cell.scan(projected, state, packing.sizes)
        return packing.unpack(outputs), state

    def logits(self, hidden: Tensor) -> Tensor:
        """``(…, H)`` -> ``(…, V)``."""
        return linear(hidden, self.characters.weight, self.characters.bias)

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """``tokens (B, T)`` -> logits of the next character only, ``(B, V)``, and the state."""
        if self._table is not None and tokens.shape[1] <= SHORT:
            for column in tokens.unbind(1):
                logits, state = self.advance(column, state)
            return logits, state
        hidden, state = self.hidden(tokens, state)
        return self.logits(self.dropout(hidden[:, -1])), state

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """:meth:`read` of one character each, ``(B,)``: the step of generation."""
        if self._step is not None and len(tokens) == 1 and not torch.is_grad_enabled():
            return self._step(int(tokens), state)
        table = self._projections() if self._table is None else self._table
        state = self.cell.step(table.index_select(0, tokens), state)
        return self.logits(self.dropout(self.cell.output(state))), state

    def frozen(self) -> CharLanguageModel:
        """Itself, for inference: ``W_xh x + b`` of every character is looked up.

        Matrices are not packed: the one row of a stream is multiplied faster without. For LSTMs on
        a CPU see :class:`CharacterStep`.
        """
        self.eval()
        every = list(self.cell.cells) if isinstance(self.cell, Stack) else [self.cell]
        cells = [cell for cell in every if isinstance(cell, LSTM)]
        with torch.no_grad():
            self._table = self._projections().contiguous()
            if len(cells) == len(every) and self._table.device.type == "cpu":
                self._step = CharacterStep(cells, self._table, self.characters)
        return self

    def train(self, mode: bool = True) -> CharLanguageModel:
        """As usual; weights that may change make the table of :meth:`frozen` stale."""
        self._table, self._step = None, None
        return super().train(mode)

    def _projections(self) -> Tensor:
        """``W_xh x + b`` of every character, ``(V, gates)``."""
        if self.embedding is not None:
            return self.cell.project_inputs(self.embedding.weight)
        weight = self.characters.weight
        every = torch.eye(self.vocabulary_size, dtype=weight.dtype, device=weight.device)
        return self.cell.project_inputs(every)
