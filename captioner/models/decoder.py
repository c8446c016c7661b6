"""The decoder: a recurrent network that says what it sees, one token at a time.

One class for every system that emits tokens about something: a photo's pooled vector, a photo's
grid of positions, the states of a sentence encoder. What is described enters the cell as its
context, the lecture's ``W_ih · v``: constant over time, or with attention new at every step.

Letters: B images, N rows (captions or beams; the rows of an image lie side by side), T steps,
P positions, D feature size, H state, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.models.attention import SoftAttention
from captioner.models.frozen_step import FrozenStep
from captioner.recurrent import GRU, LSTM, State, build_cell, select, unroll
from captioner.recurrent.linear import linear, prepack
from captioner.search.model import Memory, Step, repeat

Attention = Literal["none", "soft"]


class Decoder(nn.Module):
    """Emits tokens about ``features (B, P, D)``, beginning with start and closing with end.

    ``attention="none"``: the mean position is the lecture's ``v``; ``W_ih v`` enters every step.
    ``attention="soft"``: ``z_t`` of :class:`SoftAttention` enters in its place, the first state is
    computed from the mean position, and the read-out is the paper's deep output,
    ``L_o (E y_{t-1} + L_h h_t + L_z z_t)``.

    ``tied`` reads words out with the embedding itself (Press & Wolf 2017). ``normalise`` scales
    every position of the features to length 1 before anything else (Tanti et al. 2018).
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_size: int,
        *,
        cell: str = "lstm",
        hidden_size: int = 512,
        num_layers: int = 1,
        embedding_size: int = 256,
        attention: Attention = "none",
        attention_size: int = 256,
        tied: bool = False,
        normalise: bool = False,
        dropout: float = 0.5,
        feature_dropout: float = 0.0,
        start_id: int = 1,
        end_id: int = 2,
        forbidden_ids: tuple[int, ...] = (0, 1, 3),
    ) -> None:
        super().__init__()
        if attention not in ("none", "soft"):
            raise InvalidOption(f"Attention {attention!r} is unknown.", hint="none or soft.")
        self.vocabulary_size = vocabulary_size
        self.feature_size = feature_size
        self.start_id, self.end_id = start_id, end_id
        self.forbidden_ids = tuple(forbidden_ids)
        self.normalise = normalise
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5 if tied else 0.1)
        self.cell = build_cell(
            cell,
            embedding_size,
            hidden_size,
            num_layers=num_layers,
            context_size=feature_size,
            dropout=dropout,
        )
        self.attention = (
            SoftAttention(feature_size, hidden_size, attention_size)
            if attention == "soft"
            else None
        )
        read_size = embedding_size if tied or self.attention is not None else hidden_size
        if self.attention is not None:
            self.initial = nn.Linear(feature_size, sum(self._state_sizes()))
            self.read_context = nn.Linear(feature_size, read_size, bias=False)
        self.read = nn.Linear(hidden_size, read_size) if tied or self.attention else None
        self.words = nn.Linear(read_size, vocabulary_size)
        nn.init.zeros_(self.words.bias)
        if tied:
            self.words.weight = self.embedding.weight
        self._step: FrozenStep | None = None  # no part of what is trained or saved
        self._for_good = False
        self.dropout = nn.Dropout(dropout)
        self.feature_dropout = nn.Dropout(feature_dropout)

    def memory(self, features: Tensor, mask: Tensor | None = None) -> Memory:
        """What stays the same over all steps of a search: ``(B, P, D)`` -> tensors with B rows.

        Without attention the lecture's ``W_ih v (B, 1, gates)``; with it keys, features and mask.
        """
        features = self._scaled(features)
        if self.attention is None:
            return (self.cell.project_context(_mean(features, mask)),)
        if mask is None:
            return (self.attention.keys(features), features)
        return (self.attention.keys(features), features, mask)

    def begin(self, memory: Memory) -> State:
        """The state before the first token, one row for each row of ``memory``."""
        if self.attention is None:
            return self.cell.initial_state(memory[0].shape[0], like=memory[0])
        mean = _mean(memory[1], memory[2] if len(memory) > 2 else None)
        return tuple(torch.tanh(self.initial(mean)).split_with_sizes(self._state_sizes(), 1))

    @property
    def shares_states(self) -> bool:
        """Whether :meth:`advance` gains by ``parents``: once :meth:`frozen`."""
        return self._step is not None

    def advance(
        self, tokens: Tensor, state: State, memory: Memory, parents: Tensor | None = None
    ) -> Step:
        """One step of a search: ``tokens (N,)``, a state of N rows, a memory of B rows, N = B·K.

        ``parents (N,)``: which row of the state each token goes on from, if not its own.
        """
        if self._step is not None and (self._for_good or not torch.is_grad_enabled()):
            return self._step(tokens, state, memory, parents)
        if parents is not None:
            state = select(state, parents)
        embedded = self.embedding(tokens)
        projected = self.cell.project_inputs(embedded)
        if self.attention is None:
            images, gates = memory[0].shape
            beams = projected.view(images, -1, gates)
            projected = (beams + memory[0].unsqueeze(1)).flatten(0, 1)
            state = self.cell.step(projected, state)
            return Step(self._logits(self.cell.output(state), None, None), state, None)
        seen, weights = self.attention(self.cell.output(state), *memory)
        state = self.cell.step(projected, state, seen)
        return Step(self._logits(self.cell.output(state), embedded, seen), state, weights)

    def forward(
        self,
        features: Tensor,
        tokens: Tensor,
        *,
        rows: Tensor | None = None,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Teacher forcing: read-outs of all steps, for :meth:`logits`.

        ``features (B, P, D)``, ``tokens (N, T)`` from start to the last word; ``rows (N,)`` says
        whose caption each row is; without it the rows of an image lie side by side, equally many
        for all, and share its features uncopied. Returns ``(N, T, read)`` and
        the attention ``(N, T, P)`` or None. ``lengths (N,)`` saves steps past a row's end; what is
        returned for them means nothing.
        """
        features = self.feature_dropout(self._scaled(features))
        embedded = self.dropout(self.embedding(tokens))
        if self.attention is None:
            context = _mean(features, mask)
            if rows is None:
                rows = torch.arange(len(context), device=context.device)
                rows = rows.repeat_interleave(len(tokens) // len(context))
            hidden, _ = unroll(
                self.cell, embedded, lengths=lengths, context=context, context_rows=rows
            )
            return self._read(hidden, None, None), None
        keys = self.attention.keys(features)
        memory: Memory = (keys, features) if mask is None else (keys, features, mask)
        if rows is not None:
            memory = tuple(part.index_select(0, rows) for part in memory)
        state = repeat(self.begin(memory), len(tokens))
        projected = self.cell.project(embedded)
        outputs: list[Tensor] = []
        contexts: list[Tensor] = []
        maps: list[Tensor] = []
        for projected_t in projected.unbind(1):
            seen, weights = self.attention(self.cell.output(state), *memory)
            state = self.cell.step(projected_t, state, seen)
            outputs.append(self.cell.output(state))
            contexts.append(seen)
            maps.append(weights)
        read = self._read(torch.stack(outputs, 1), embedded, torch.stack(contexts, 1))
        return read, torch.stack(maps, 1)

    def logits(self, read: Tensor) -> Tensor:
        """Read-outs ``(…, read)`` of :meth:`forward` -> logits ``(…, V)``."""
        return linear(read, self.words.weight, self.words.bias)

    def _logits(self, output: Tensor, embedded: Tensor | None, seen: Tensor | None) -> Tensor:
        return self.logits(self._read(output, embedded, seen))

    def _read(self, output: Tensor, embedded: Tensor | None, seen: Tensor | None) -> Tensor:
        read = output
        if self.read is not None:
            read = linear(output, self.read.weight, self.read.bias)
        if embedded is not None and seen is not None:
            read = embedded + read + linear(seen, self.read_context.weight)
        out: Tensor = self.dropout(read)
        return out

    def _scaled(self, features: Tensor) -> Tensor:
        return functional.normalize(features, dim=2) if self.normalise else features

    def keep_tokens(self, ids: Sequence[int]) -> None:
        """From now on there are these tokens only, numbered by their places: a shorter read-out.

        For inference: what was one with the embedding (``tied``, or another network's) no longer
        is. Raises :class:`InvalidOption` where start or end is missing or an id is none.
        """
        if not {self.start_id, self.end_id} <= set(ids) <= set(range(self.vocabulary_size)):
            raise InvalidOption(
                "The tokens to keep lack start or end, or are not in the vocabulary.",
                hint=f"Ids below {self.vocabulary_size}, with {self.start_id} and {self.end_id}.",
            )
        place = {token: place for place, token in enumerate(ids)}
        rows = torch.tensor(ids, device=self.words.weight.device)
        old = self.embedding.weight, self.words.weight, self.words.bias
        embedding, weight, bias = (
            nn.Parameter(part.detach().index_select(0, rows), requires_grad=False) for part in old
        )
        if old[0] is old[1]:
            weight = embedding
        self.embedding.num_embeddings = self.words.out_features = len(ids)
        self.embedding.weight, self.words.weight, self.words.bias = embedding, weight, bias
        self.vocabulary_size = len(ids)
        self.start_id, self.end_id = place[self.start_id], place[self.end_id]
        self.forbidden_ids = tuple(place[i] for i in self.forbidden_ids if i in place)

    def frozen(self, *, for_good: bool = False) -> Decoder:
        """Itself, for inference: matrices are packed; see :class:`FrozenStep`.

        ``for_good``: the weights that a step has packed are let go where there is one. Searches are
        all that it can do from then on.
        """
        self.eval()
        with torch.no_grad():
            if isinstance(self.cell, (LSTM, GRU)) and self.attention is not None:
                assert self.read is not None
                packed = (self.cell, self.embedding, self.read, self.read_context, self.words)
                self._step = FrozenStep(self.attention, *packed)
                if for_good:
                    self._for_good = True
                    for module in (*packed, self.attention.query, self.attention.gate):
                        for name, parameter in [*module.named_parameters(recurse=False)]:
                            empty = nn.Parameter(parameter.new_empty(0), requires_grad=False)
                            setattr(module, name, empty)
            else:
                prepack(self)
        return self

    def train(self, mode: bool = True) -> Decoder:
        """As usual; weights that may change make what :meth:`frozen` prepared stale."""
        if self._for_good and mode:
            raise InvalidOption("This decoder is frozen for good.", hint="Open its bundle again.")
        if not self._for_good:
            self._step = None
        return super().train(mode)

    def _state_sizes(self) -> list[int]:
        return list(self.cell.state_sizes)


def _mean(features: Tensor, mask: Tensor | None) -> Tensor:
    """``(B, P, D)`` -> ``(B, D)``, over the positions that count."""
    if mask is None:
        return features.mean(1)
    counts = mask.sum(1, keepdim=True).clamp(min=1)
    return (features * mask.unsqueeze(2)).sum(1) / counts
