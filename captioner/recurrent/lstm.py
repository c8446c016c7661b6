"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from captioner.recurrent.cell import PackedCell
from captioner.recurrent.lstm_scan import lstm_scan, lstm_step
from captioner.recurrent.state import State


class LSTM(PackedCell):
    """``c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)``, ``h_t = σ(o) ⊙ tanh(c_t)``.

    Each of i, f, g, o (torch's order) is ``W_xh x_t + W_hh h_{t-1} + W_ih v + b`` with its own
    rows of the weights. The state is ``(h, c)``. ``forget_bias``: what ``b_ih + b_hh`` of f starts
    from (Jozefowicz et al. 2015 recommend 1); None starts it as the others.

    ``fused``: torch's own kernel runs whole sequences where it is the fastest (on a CPU, float32 or
    autocast to bfloat16, no context, no lengths). It has no second derivative: set it to False
    where one is needed.
    """

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_size: int = 0,
        *,
        forget_bias: float | None = None,
        fused: bool = True,
    ) -> None:
        self.forget_bias = forget_bias
        self.fused = fused
        super().__init__(input_size, hidden_size, context_size)

    def reset_parameters(self) -> None:
        """Uniform in ±1/√hidden; the forget gate's bias as the constructor was told."""
        super().reset_parameters()
        if self.forget_bias is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            nn.init.constant_(self.bias_ih[forget], self.forget_bias)
            nn.init.zeros_(self.bias_hh[forget])

    def step(self, projected: Tensor, state: State, context: Tensor | None = None) -> State:
        """One step; the state is ``(h, c)``."""
        if context is not None:
            projected = self.add_context(projected, context)
        return lstm_step(projected, state[0], state[1], self.weight_hh)

    def run(self, inputs: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences from their inputs, with torch's kernel where it serves."""
        if not self._fits_kernel(inputs, state, sizes):
            return super().run(inputs, state, sizes)
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        outputs, *after = torch.lstm(
            inputs.view(len(sizes), sizes[0], -1),
            [part.unsqueeze(0) for part in state],
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=False,
        )
        return outputs.flatten(0, 1), tuple(part.squeeze(0) for part in after)

    def scan(self, projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
        """All steps of packed sequences, with backpropagation through time by hand."""
        if not sizes:
            return projected.new_zeros(0, self.hidden_size), state
        dtype = projected.dtype  # under autocast the weights and the state follow the projection
        hidden, cell, weight = (tensor.to(dtype) for tensor in (*state, self.weight_hh))
        outputs, hidden, cell = lstm_scan(projected, hidden, cell, weight, sizes)
        return outputs, (hidden, cell)

    def _fits_kernel(self, inputs: Tensor, state: State, sizes: list[int]) -> bool:
        return (
            self.fused
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and inputs.numel() > 0
            and sizes[-1] == state[0].shape[0]
            and all(
                tensor.dtype in _kernel_dtypes() and tensor.device.type == "cpu"
                for tensor in (inputs, *state, self.weight_hh)
            )
        )


def _kernel_dtypes() -> tuple[torch.dtype, ...]:
    """What torch's kernel computes fast here: float32, and with autocast bfloat16.

    The processor needs instructions for it; autocast itself casts what is given.
    """
    if not torch.is_autocast_enabled("cpu"):
        return (torch.float32,)
    chosen = torch.get_autocast_dtype("cpu")
    if chosen == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return (torch.float32, torch.bfloat16)
    return ()
