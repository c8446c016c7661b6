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
from captioner.recurrent.linear import linear, prepack
from captioner.recurrent.lstm_scan import lstm_update
from captioner.search.model import Memory, Step


class FrozenStep(nn.Module):
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
        super().__init__()
        assert cell.weight_context is not None
        self.attention, self.words = attention, words
        gates = len(cell.weight_hh)
        self.of_hidden = [attention.query.out_features, attention.gate.out_features, gates]
        self.of_token = [gates, read.out_features]
        projected = cell.project_inputs(embedding.weight)
        self.table = torch.cat([projected, embedding.weight + read.bias], 1)
        self.hidden = _beside(attention.query, attention.gate, cell.weight_hh)
        self.seen = _beside(cell.weight_context, read_context)
        self.read = nn.Linear(read.in_features, read.out_features, bias=False)
        self.read.weight.copy_(read.weight)
        for layer in (self.hidden, self.seen, self.read, self.words):
            prepack(layer)

    def forward(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        """``tokens (N,)``, a state of N rows, a memory of B rows, N = B·K."""
        hidden, cell = state
        products = linear(hidden, self.hidden.weight, self.hidden.bias)
        query, gate, recurrent = products.split_with_sizes(self.of_hidden, 1)
        seen, weights = self.attention.look(query, *memory)
        seen = seen.mul_(gate.sigmoid())
        sums = self.table.index_select(0, tokens)
        gates, read = sums.add_(linear(seen, self.seen.weight)).split_with_sizes(self.of_token, 1)
        hidden, cell = lstm_update(gates.add_(recurrent), cell)
        read = read.add(linear(hidden, self.read.weight))
        return Step(linear(read, self.words.weight, self.words.bias), (hidden, cell), weights)


def _beside(*parts: nn.Linear | Tensor) -> nn.Linear:
    """One layer with the outputs of all, in order; a bias of zeros where a part has none."""
    weights = [part.weight if isinstance(part, nn.Linear) else part for part in parts]
    biases = [part.bias if isinstance(part, nn.Linear) else None for part in parts]
    both = nn.Linear(weights[0].shape[1], sum(len(weight) for weight in weights))
    both.weight.copy_(torch.cat(weights))
    zeros = [weight.new_zeros(len(weight)) for weight in weights]
    both.bias.copy_(torch.cat([z if b is None else b for z, b in zip(zeros, biases, strict=True)]))
    return both
