"""What reads the frames of a video one after the other: cells, dilated convolutions, or neither.

Each takes ``frames (B, T, D)``, ``lengths (B,)`` and the state it left the chunk before with, and
gives ``(B, T, ...)``, zero past each row's end, and the state at each row's end.

Letters: B clips, T frames, D feature size, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.recurrent import Bidirectional, Cell, State, build_cell, unroll


class Reader(nn.Module):
    """What reads frames one after the other: ``(B, T, D)`` -> ``(B, T, output_size)``.

    ``cell``: its name; ``num_layers`` of it run ahead, or, if ``bidirectional``, both ways, each
    layer reading both outputs of the one below. None or ``"none"``: each frame goes by itself
    through ``num_layers`` layers of ``hidden_size`` rectified units (none of them: a linear probe),
    and ``bidirectional`` means nothing. ``dropout`` falls between layers.

    ``causal``: no output depends on a later frame. ``recurrent``: there is a cell. ``num_states``:
    how many parts the state has.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: str | None,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.recurrent = cell is not None and cell != "none"
        self.causal = not (self.recurrent and bidirectional)
        self.dropout = nn.Dropout(dropout)
        layers: list[nn.Module]
        if cell is None or not self.recurrent:
            if num_layers < 0:
                raise InvalidOption(f"num_layers is {num_layers}.", hint="At least 0.")
            sizes = [input_size] + [hidden_size] * num_layers
            layers = [
                nn.Sequential(nn.Linear(below, hidden_size), nn.ReLU()) for below in sizes[:-1]
            ]
            self.output_size = sizes[-1]
        elif bidirectional:
            if num_layers < 1:
                raise InvalidOption(f"num_layers is {num_layers}.", hint="At least 1.")
            sizes = [input_size] + [2 * hidden_size] * (num_layers - 1)
            layers = [
                Bidirectional(*(build_cell(cell, below, hidden_size) for _ in range(2)))
                for below in sizes
            ]
            self.output_size = 2 * hidden_size
        else:
            layers = [
                build_cell(cell, input_size, hidden_size, num_layers=num_layers, dropout=dropout)
            ]
            self.output_size = hidden_size
        self.layers = nn.ModuleList(layers)
        self.num_states = sum(len(part.state_sizes) for part in layers if isinstance(part, Cell))

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Outputs, zero past each row's end, and the state there: empty both ways, and of none."""
        if frames.dim() != 3 or frames.shape[2] != self.input_size:
            expected = f"(batch, time, {self.input_size})"
            raise ValueError(f"frames of shape {tuple(frames.shape)} where {expected} is expected")
        after: State = ()
        for number, layer in enumerate(self.layers):
            if number:
                frames = self.dropout(frames)
            if isinstance(layer, Cell):
                frames, after = unroll(layer, frames, lengths=lengths, state=state)
            elif isinstance(layer, Bidirectional):
                frames, _ = unroll(layer, frames, lengths=lengths)
            else:
                frames = layer(frames)
        return zero_past_end(frames, lengths), after

    def ends(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What each direction gives once it has read all: outputs -> ``(B, output_size)``."""
        if lengths is None:
            last = outputs[:, -1]
        else:
            rows = torch.arange(len(outputs), device=outputs.device)
            last = outputs[rows, lengths.to(outputs.device).clamp(min=1) - 1]
        if self.causal:
            return last
        half = self.output_size // 2  # the way back ends at the first frame
        return torch.cat([last[:, :half], outputs[:, 0, half:]], 1)


class DilatedConvolutions(nn.Module):
    """A refining stage of MS-TCN (arXiv 1903.01945, 3.1): probabilities in, logits out.

    ``num_layers`` residual layers ``x + W relu(conv3(x))`` over ``channels`` maps, number i (from
    0) with dilation ``2^i``: together they see ``2 · (2^num_layers - 1)`` frames besides their own,
    half of them later ones, or, if ``causal``, all of them earlier. Then the state holds what each
    layer needs of the past, ``(B, 2^(i + 1), channels)``; zeros stand before the video.
    """

    def __init__(
        self, num_classes: int, channels: int, num_layers: int, *, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InvalidOption(f"refinement_layers is {num_layers}.", hint="At least 1.")
        self.causal = causal
        self.channels = channels
        self.reaches = [2 ** (number + 1) for number in range(num_layers)]
        self.enter = nn.Linear(num_classes, channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, dilation=reach // 2) for reach in self.reaches
        )
        self.mixers = nn.ModuleList(nn.Linear(channels, channels) for _ in self.reaches)
        self.leave = nn.Linear(channels, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """``(B, T, C)`` -> ``(B, T, C)``, zero past each row's end, and the state after it."""
        hidden = zero_past_end(self.enter(frames), lengths)
        if state is None:
            state = tuple(hidden.new_zeros(len(hidden), r, self.channels) for r in self.reaches)
        if not frames.shape[1]:
            return torch.zeros_like(frames), state
        after = []
        parts = zip(self.convolutions, self.mixers, self.reaches, state, strict=True)
        for convolution, mix, reach, before in parts:
            if self.causal:
                padded = torch.cat([before, hidden], 1)
                after.append(_last_frames(padded, reach, lengths))
            else:
                padded = functional.pad(hidden, (0, 0, reach // 2, reach // 2))
            seen = convolution(padded.transpose(1, 2)).transpose(1, 2)
            hidden = hidden + self.dropout(mix(torch.relu(seen)))
            hidden = zero_past_end(hidden, lengths)  # what lies there must not look back in
        return zero_past_end(self.leave(hidden), lengths), tuple(after)


def real_frames(frames: Tensor, lengths: Tensor | None) -> Tensor:
    """Where ``(B, T, …)`` are frames and not padding: ``(B, T, 1)``."""
    time = torch.arange(frames.shape[1], device=frames.device).view(1, -1, 1)
    ends = frames.shape[1] if lengths is None else lengths.to(frames.device).view(-1, 1, 1)
    return (time < ends).expand(len(frames), -1, -1)


def zero_past_end(frames: Tensor, lengths: Tensor | None) -> Tensor:
    """``(B, T, D)`` with zeros in place of the padding, whatever stood there."""
    return frames if lengths is None else frames.masked_fill(~real_frames(frames, lengths), 0.0)


def _last_frames(padded: Tensor, count: int, lengths: Tensor | None) -> Tensor:
    # The count frames before each row's end; count of them stand before the first.
    if lengths is None:
        return padded[:, -count:]
    places = lengths.to(padded.device).unsqueeze(1) + torch.arange(count, device=padded.device)
    return padded.gather(1, places.unsqueeze(2).expand(-1, -1, padded.shape[2]))
