"""Labels for a video: one for every frame (many-to-many), or one for the clip (many-to-one).

Both read features of frames, ``(batch, time, feature)``, with the same recurrent part. A causal
labeller carries its state from chunk to chunk and gives, whatever the chunks, what it would give
for the whole video; a bidirectional one knows the future and needs the whole clip.

Letters: B clips, T frames, D feature size, H hidden size, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from captioner.errors import InvalidOption
from captioner.models.frame_reader import (
    DilatedConvolutions,
    Reader,
    real_frames,
    zero_past_end,
)
from captioner.recurrent import State

Refinement = Literal["none", "recurrent", "convolution"]
Pooling = Literal["last", "mean", "attention", "middle"]


class FrameLabeller(nn.Module):
    """Logits for every frame of a video.

    ``cell``: a name of :data:`captioner.recurrent.CELLS`, or None (``"none"``) for a head that sees
    each frame alone, the baseline; see :class:`Reader`. ``bidirectional``: whole clips only.

    ``refinement``: a second stage that reads the first one's probabilities (MS-TCN, Abu Farha &
    Gall 2019) and looks where the first one looks: ``"recurrent"``, one more layer of the same cell
    with ``refinement_size`` units, or ``"convolution"``, :class:`DilatedConvolutions` with as many
    maps and ``refinement_layers`` layers.

    ``normalise``: each frame's features to mean 0 and variance 1 first (and learnt scales after).
    ``entry_size``: a layer of so many rectified units before the cell (0: none). ``skip``: the head
    reads what the cell reads beside what it says, so that it sees the frame itself, too.
    ``normalise_hidden``: what the cell says is normalised before the head reads it. It is small,
    and beside a skip the head would learn to do without it.

    ``dropout`` falls between layers and before the head, ``feature_dropout`` on the features.
    ``multi_label``: labels are independent of each other (sigmoid), not one of many (softmax).
    """

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        *,
        cell: str | None = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        bidirectional: bool = False,
        refinement: Refinement = "none",
        refinement_size: int = 64,
        refinement_layers: int = 8,
        multi_label: bool = False,
        normalise: bool = False,
        entry_size: int = 0,
        skip: bool = False,
        normalise_hidden: bool = False,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if entry_size < 0:
            raise InvalidOption(f"entry_size is {entry_size}.", hint="At least 0.")
        self.feature_size = feature_size
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.skip = skip
        entry: list[nn.Module] = [nn.LayerNorm(feature_size)] if normalise else []
        if entry_size:
            entry += [nn.Linear(feature_size, entry_size), nn.ReLU(), nn.Dropout(dropout)]
        self.entry = nn.Sequential(*entry)
        entered = entry_size or feature_size
        self.reader = Reader(
            entered,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        size = self.reader.output_size
        self.leave = nn.LayerNorm(size) if normalise_hidden else nn.Identity()
        self.head = nn.Linear(size + skip * entered, num_classes)
        self.refinement = _build_refinement(
            refinement,
            num_classes,
            refinement_size,
            cell=cell,
            num_layers=refinement_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        parts = [self.reader] if self.refinement is None else [self.reader, self.refinement]
        self.causal = all(part.causal for part in parts)
        self.dropout = nn.Dropout(dropout)
        self.feature_dropout = nn.Dropout(feature_dropout)

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """``(B, T, D)`` -> logits ``(B, T, C)`` and the state after each row's last frame.

        ``lengths (B,)``: past a row's end its logits are zero and its state stands still. The state
        goes into the next chunk's call; a bidirectional labeller's is empty, and giving it one
        raises :class:`InvalidOption`.
        """
        stages, state = self.stages(features, lengths, state)
        return stages[-1], state

    def stages(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[list[Tensor], State]:
        """As :meth:`forward`, with the logits of every stage in order: what the loss takes."""
        if state is not None and not self.causal:
            raise InvalidOption(
                "A bidirectional labeller cannot go on from where it stopped.",
                hint="Give it the whole clip at once, or take a causal one (bidirectional: false).",
            )
        split = self.reader.num_states
        own, rest = (None, None) if state is None else (state[:split], state[split:])
        entered = self.entry(self.feature_dropout(features))
        hidden, after = self.reader(entered, lengths, own)
        hidden = self.leave(hidden)
        if self.skip:
            hidden = torch.cat([hidden, entered], 2)
        logits = zero_past_end(self.head(self.dropout(hidden)), lengths)
        if self.refinement is None:
            return [logits], after if self.causal else ()
        refined, after_rest = self.refinement(self.probabilities(logits), lengths, rest)
        return [logits, refined], after + after_rest if self.causal else ()

    def probabilities(self, logits: Tensor) -> Tensor:
        """``(…, C)``: of one class out of all, or with ``multi_label`` of each label by itself."""
        return logits.sigmoid() if self.multi_label else logits.softmax(-1)


class ClipClassifier(nn.Module):
    """Logits for a clip as a whole.

    ``pooling`` says what of the outputs the head reads: ``"last"``, after the last frame (both
    ways: after each one's last); ``"mean"``, over all frames; ``"attention"``, a mean weighted by
    ``softmax(w · tanh(W h_t))``; ``"middle"``, the middle frame's.

    Without a cell there is no order of frames: ``"mean"`` is a bag of them, and ``"middle"`` the
    model of a single frame, for which alone it is there. Else as :class:`FrameLabeller`.
    """

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        *,
        cell: str | None = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        attention_size: int = 64,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pooling not in ("last", "mean", "attention", "middle"):
            raise InvalidOption(
                f"Pooling {pooling!r} is unknown.", hint="last, mean, attention or middle."
            )
        self.feature_size = feature_size
        self.num_classes = num_classes
        self.pooling = pooling
        self.reader = Reader(
            feature_size,
            hidden_size,
            cell=cell,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        if pooling == "middle" and self.reader.recurrent:
            raise InvalidOption(
                f"Pooling 'middle' is for a single frame, but the cell {cell!r} reads many.",
                hint="Take the cell 'none' with it, or another pooling.",
            )
        size = self.reader.output_size
        if pooling == "attention":
            self.energy = nn.Sequential(
                nn.Linear(size, attention_size), nn.Tanh(), nn.Linear(attention_size, 1, bias=False)
            )
        self.head = nn.Linear(size, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.feature_dropout = nn.Dropout(feature_dropout)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(B, T, D)``, ``lengths (B,)`` of them real frames, all by default -> ``(B, C)``."""
        if self.pooling == "middle":
            features, lengths = _middle(features, lengths), None
        outputs, _ = self.reader(self.feature_dropout(features), lengths)
        logits: Tensor = self.head(self.dropout(self._pool(outputs, lengths)))
        return logits

    def _pool(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        if self.pooling in ("last", "middle"):
            return self.reader.ends(outputs, lengths)
        real = real_frames(outputs, lengths)
        if self.pooling == "mean":
            return outputs.sum(1) / real.sum(1).clamp(min=1)
        energy: Tensor = self.energy(outputs)
        # Not minus infinity: a clip without any frame would become NaN.
        energy = energy.masked_fill(~real, torch.finfo(energy.dtype).min)
        return (outputs * energy.softmax(1)).sum(1)


class _RecurrentStage(nn.Module):
    def __init__(
        self, num_classes: int, hidden_size: int, *, cell: str | None, bidirectional: bool
    ) -> None:
        super().__init__()
        self.reader = Reader(num_classes, hidden_size, cell=cell, bidirectional=bidirectional)
        if not self.reader.recurrent:
            raise InvalidOption(
                "A recurrent refinement needs a cell, and the labeller has none.",
                hint="Take the refinement 'convolution' or 'none'.",
            )
        self.leave = nn.Linear(self.reader.output_size, num_classes)
        self.causal = self.reader.causal

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        hidden, after = self.reader(frames, lengths, state)
        return zero_past_end(self.leave(hidden), lengths), after


def _build_refinement(
    kind: str,
    num_classes: int,
    size: int,
    *,
    cell: str | None,
    num_layers: int,
    bidirectional: bool,
    dropout: float,
) -> DilatedConvolutions | _RecurrentStage | None:
    if kind == "none":
        return None
    if kind == "recurrent":
        return _RecurrentStage(num_classes, size, cell=cell, bidirectional=bidirectional)
    if kind == "convolution":
        return DilatedConvolutions(
            num_classes, size, num_layers, causal=not bidirectional, dropout=dropout
        )
    raise InvalidOption(f"Refinement {kind!r} is unknown.", hint="none, recurrent or convolution.")


def _middle(features: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        lengths = torch.full((len(features),), features.shape[1])
    rows = torch.arange(len(features), device=features.device)
    return features[rows, lengths.to(features.device) // 2].unsqueeze(1)  # (B, 1, D)
