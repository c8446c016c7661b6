"""One step of a decoder whose weights are final: soft attention and an LSTM or GRU on a CPU.

At the few rows of a photo's beams a matrix product costs its call and the reading of its matrix,
hardly the arithmetic. Products of the same vector are therefore one: ``h`` meets the attention's
query and gate and the cell's ``W_hh``, what was seen meets ``W_ih`` and the read-out. Of a token,
all that does not depend on the state is looked up, if its table is not too large.

At many rows the arithmetic costs. Rows that go on from one state share all products but the last
two, which know the token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from captioner.models.attention import SoftAttention
from captioner.recurrent import GRU, LSTM, State, select
from captioner.recurrent.gru import gru_update
from captioner.recurrent.linear import PackedLinear
from captioner.recurrent.lstm_scan import lstm_update
from captioner.search.model import Memory, Step

# Tokens for each number of an embedding: with more, the table is not worth its memory.
LOOKED_UP = 10


class FrozenStep:
    """``advance`` of :class:`~captioner.models.decoder.Decoder`, from copies of its weights.

    ``token``: ids ``(N,)`` -> ``(N, gates + read)``, ``W_xh E + b`` of all gates, and ``E`` with
    the bias of the read-out.
    """

    def __init__(
        self,
        attention: SoftAttention,
        cell: LSTM | GRU,
        embedding: nn.Embedding,
        read: nn.Linear,
        read_context: nn.Linear,
        words: nn.Linear,
    ) -> None:
        assert cell.weight_context is not None
        self.attention, self.is_lstm = attention, isinstance(cell, LSTM)
        query, gate, gates = attention.query, attention.gate, len(cell.weight_hh)
        self.of_hidden = [query.out_features, gate.out_features, gates]
        self.of_token = [gates, read.out_features]
        embeddings, size = embedding.weight.detach(), embedding.embedding_dim
        bias = cell.project_inputs(embeddings.new_zeros(1, size))[0]
        itself = torch.eye(size, device=bias.device, dtype=bias.dtype)
        of_embedding = PackedLinear(
            torch.cat([cell.weight_ih, itself]), torch.cat([bias, read.bias])
        )
        self.token: Callable[[Tensor], Tensor] = (
            partial(torch.index_select, of_embedding(embeddings), 0)
            if len(embeddings) <= LOOKED_UP * size
            else lambda tokens: of_embedding(embeddings.index_select(0, tokens))
        )
        biases = [
            query.weight.new_zeros(query.out_features),
            gate.bias,
            torch.zeros_like(cell.bias_hh),
        ]
        # What waits for a GRU's reset gate: the last part of W_hh h + b_hh.
        self.early = gates if self.is_lstm else gates - cell.hidden_size
        biases[2][self.early :] = cell.bias_hh[self.early :]
        weights = [query.weight, gate.weight, cell.weight_hh]
        self.hidden = PackedLinear(torch.cat(weights), torch.cat(biases))
        self.seen = PackedLinear(torch.cat([cell.weight_context, read_context.weight]))
        self.read = PackedLinear(read.weight)
        self.words = PackedLinear(words.weight, words.bias)

    def __call__(
        self, tokens: Tensor, state: State, memory: Memory, parents: Tensor | None = None
    ) -> Step:
        """``tokens (N,)``, a memory of B rows, N = B·K; a state of N rows, or, with
        ``parents (N,)``, of those that it points to."""
        query, gate, recurrent = self.hidden(state[0]).split_with_sizes(self.of_hidden, 1)
        if parents is None:
            seen, weights = self.attention.look(query, *memory)
        else:
            seen, weights = self.attention.look(query.index_select(0, parents), *memory)
            seen = seen.index_select(0, _children(parents, len(query)))
        sums = self.seen(seen.mul_(gate.sigmoid()))
        sums[:, : self.early].add_(recurrent[:, : self.early])
        late = recurrent[:, self.early :]
        if parents is not None:
            sums, late = select((sums, late), parents)
            state = select(state, parents)
        sums.add_(self.token(tokens))
        gates, read = sums.split_with_sizes(self.of_token, 1)
        after = lstm_update(gates, state[1]) if self.is_lstm else gru_update(gates, late, state[0])
        read = read.add(self.read(after[0]))
        return Step(self.words(read), after, weights)


def _children(parents: Tensor, states: int) -> Tensor:
    """``(N,)`` -> ``(states,)``: one of the rows that go on from each state."""
    rows = torch.arange(len(parents), device=parents.device)
    return rows.new_empty(states).index_copy_(0, parents, rows)
