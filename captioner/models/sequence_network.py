"""The smallest recurrent network: a cell over a sequence, and a line out of every state."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from captioner.recurrent import build_cell, unroll


class SequenceNetwork(nn.Module):
    """``y_t = W_hy h_t + b``: ``(batch, time, input)`` -> ``(batch, time, output)``.

    ``cell``: a name from :data:`captioner.recurrent.CELLS`, ``options`` what its class takes beyond
    sizes, such as an LSTM's ``forget_bias``.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.cell = build_cell(cell, input_size, hidden_size, num_layers=num_layers, **options)
        self.read = nn.Linear(hidden_size, output_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Read-outs of every step."""
        outputs, _ = unroll(self.cell, inputs)
        read: Tensor = self.read(outputs)
        return read
