"""Two cells that read the same sequence from both ends (Schuster & Paliwal 1997)."""

from __future__ import annotations

from torch import Tensor, nn

from captioner.recurrent.cell import Cell
from captioner.recurrent.state import State


class Bidirectional(nn.Module):
    """A pair to :func:`unroll`: it cannot step, so it is no cell.

    ``ahead`` reads from the first step to the last, ``back`` from each row's own last step to the
    first. Outputs are ``[ahead; back]``, ``(batch, time, 2 · hidden)``; the state is ahead's state
    followed by back's, and back's final state is the one after the row's first step.
    """

    def __init__(self, ahead: Cell, back: Cell) -> None:
        sizes = [(cell.input_size, cell.context_size) for cell in (ahead, back)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the two cells read different (input, context) sizes: {sizes}")
        super().__init__()
        self.ahead = ahead
        self.back = back
        self.input_size = ahead.input_size
        self.context_size = ahead.context_size
        self.hidden_size = ahead.hidden_size + back.hidden_size

    def initial_state(self, batch_size: int, *, like: Tensor) -> State:
        """Both cells' initial states."""
        ahead = self.ahead.initial_state(batch_size, like=like)
        return ahead + self.back.initial_state(batch_size, like=like)
