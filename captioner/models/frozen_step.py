"""One step of a decoder whose weights are final: soft attention and an LSTM on a CPU.

At the few rows of a photo's beams a matrix product costs its call and the reading of its matrix,
hardly the arithmetic. Products of the same vector are therefore one: ``h`` meets the attention's
query and gate and the LSTM's ``W_hh``, what was seen meets ``W_ih`` and the read-out. Of a token,
all that does not depend on the state is looked up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.models.attention import SoftAttention
from captioner.recurrent import LSTM, State
from captioner.recurrent.linear import PackedLinear
from captioner.recurrent.lstm_scan import lstm_update
from captioner.search.model import Memory, Step


class FrozenStep:
    """``advance`` of :class:`~captioner.models.decoder.Decoder`, from copies of its weights.

    ``table (V, 4 · hidden + read)``: for each token ``W_xh E + b`` of all gates, and ``E`` with the
    bias of the read-out.
    """

    def __init__(
        self,
        cell: LSTM,
        attention: SoftAttention,
        embedding: nn.Embedding,
        read: nn.Linear,
        read_context: nn.Linear,
        words: nn.Linear,
    ) -> None:
        assert cell.weight_context is not None
        self.attention = attention
        gates = len(cell.weight_hh)
        self.of_hidden = [attention.query.out_features, attention.gate.out_features, gates]
        self.of_token = [gates, read.out_features]
        projected = cell.project_inputs(embedding.weight)
        self.table = torch.cat([projected, embedding.weight + read.bias], 1)
        self.hidden = _beside(attention.query, attention.gate, cell.weight_hh)
        self.seen = PackedLinear(torch.cat([cell.weight_context, read_context.weight]))
        self.read = PackedLinear(read.weight)
        self.words = PackedLinear(words.weight, words.bias)

    def __call__(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        """``tokens (N,)``, a state of N rows, a memory of B rows, N = B·K."""
        hidden, cell = state
        products = self.hidden(hidden)
        query, gate, recurrent = products.split_with_sizes(self.of_hidden, 1)
        seen, weights = self.attention.look(query, *memory)
        seen = seen.mul_(gate.sigmoid())
        sums = self.table.index_select(0, tokens)
        gates, read = sums.add_(self.seen(seen)).split_with_sizes(self.of_token, 1)
        hidden, cell = lstm_update(gates.add_(recurrent), cell)
        read = read.add(self.read(hidden))
        return Step(self.words(read), (hidden, cell), weights)


def _beside(*parts: nn.Linear | Tensor) -> PackedLinear:
    """One layer with the outputs of all, in order; a bias of zeros where a part has none."""
    weights = [part.weight if isinstance(part, nn.Linear) else part for part in parts]
    biases = [part.bias if isinstance(part, nn.Linear) else None for part in parts]
    zeros = [weight.new_zeros(len(weight)) for weight in weights]
    bias = torch.cat([z if b is None else b for z, b in zip(zeros, biases, strict=True)])
    return PackedLinear(torch.cat(weights), bias)
