"""Soft attention of Show, Attend and Tell (Xu et al. 2015, arXiv 1502.03044, section 3.1).

Letters: B images, K rows an image (beams), P positions, D feature size, A attention size, H state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.recurrent.linear import linear


class SoftAttention(nn.Module):
    """Looks at every position and returns a weighted mean, gated by the state.

    ``e_i = w · tanh(W_a a_i + W_h h)``, ``α = softmax(e)``, ``z = β ⊙ Σ α_i a_i`` with the gate
    ``β = σ(W_β h)`` over features. ``W_a a_i`` does not depend on the state: :meth:`keys` computes
    it once for all steps and beams.
    """

    def __init__(self, feature_size: int, hidden_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(feature_size, attention_size)
        self.query = nn.Linear(hidden_size, attention_size, bias=False)
        self.energy = nn.Linear(attention_size, 1, bias=False)
        self.gate = nn.Linear(hidden_size, feature_size)

    def keys(self, features: Tensor) -> Tensor:
        """``W_a a_i``: ``(B, P, D)`` -> ``(B, P, A)``."""
        out: Tensor = self.key(features)
        return out

    def forward(
        self, hidden: Tensor, keys: Tensor, features: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``(B * K, H)``, ``(B, P, A)``, ``(B, P, D)`` -> ``z (B * K, D)``, ``α (B * K, P)``.

        The K rows of an image lie side by side and share its keys and features, which are not
        copied. ``mask (B, P)`` is true where a position counts.
        """
        seen, weights = self.look(linear(hidden, self.query.weight), keys, features, mask)
        gate = torch.sigmoid(linear(hidden, self.gate.weight, self.gate.bias))
        return gate * seen, weights

    def look(
        self, query: Tensor, keys: Tensor, features: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """:meth:`forward` without its gate, from ``W_h h (B * K, A)``."""
        images, positions, _ = features.shape
        energy = self._energy(keys, query.reshape(images, -1, keys.shape[2]))
        if mask is not None:
            energy = energy.masked_fill(~mask.unsqueeze(1), float("-inf"))
        weights = energy.softmax(2)
        seen = torch.bmm(weights, features).flatten(0, 1)  # (B * K, D)
        return seen, weights.view(-1, positions)

    def _energy(self, keys: Tensor, query: Tensor) -> Tensor:
        """``w · tanh(k + q)``: ``(B, P, A)``, ``(B, K, A)`` -> ``(B, K, P)``.

        Without gradients up to a constant: ``tanh x = 2σ(2x) - 1``, the 1 falls out of the softmax,
        and torch's sigmoid costs a sixth.
        """
        if torch.is_grad_enabled():
            energy: Tensor = self.energy(torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2)))
        else:
            doubled = torch.add(keys.mul(2).unsqueeze(1), query.unsqueeze(2), alpha=2)
            energy = self.energy(doubled.sigmoid_()).mul_(2)
        return energy.squeeze(3)
