"""An encoder of clips that is trained from nothing: small pictures, and how they change.

Letters: B clips, T frames, C channels, D feature size, N real frames of all clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.errors import InvalidOption


class SpatioTemporalEncoder(nn.Module):
    """Frames of clips to features, ``(B, T, C, height, width)`` -> ``(B, T, feature_size)``.

    The first convolution is one in space and time, of 5 x 5 pixels and ``2 · reach + 1`` frames;
    the others see each frame's maps by themselves, 3 x 3 (the front end of Stafylakis &
    Tzimiropoulos 2017, arXiv 1703.04105, with plain layers for its ResNet). Each halves the map and
    is followed by batch norm and ReLU. The last map keeps its places, which a mean would lose: it
    is projected as a whole to ``feature_size`` rectified features.

    ``dropout`` falls on the last map. Frames that do not exist, before the first and after the last
    one of a clip, are zeros: the mean picture, once normalised. So a feature needs ``reach`` frames
    on both sides of its own: only with ``reach=0`` does an encoder see each frame by itself, and
    only then may a video be given in chunks that know nothing of each other.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        in_channels: int = 3,
        reach: int = 2,
        channels: Sequence[int] = (24, 48, 96, 128),
        feature_size: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not channels or min(*channels, height, width, in_channels, feature_size) < 1:
            raise InvalidOption(
                f"An encoder of {in_channels} x {height} x {width} pixels with {list(channels)} "
                f"maps and {feature_size} features cannot be built.",
                hint="Each of them is at least 1, and there is at least one convolution.",
            )
        if reach < 0:
            raise InvalidOption(f"reach is {reach} frames.", hint="At least 0.")
        self.shape = (in_channels, height, width)
        self.reach = reach
        self.feature_size = feature_size
        # In space and time at once: the neighbours of a frame are more of its channels. That is the
        # same sum as a Conv3d's, and took half its time on two AVX-512 cores.
        counts = [in_channels * (2 * reach + 1), *channels]
        layers: list[nn.Module] = []
        for number, (below, above) in enumerate(zip(counts, channels, strict=False)):
            size = 3 if number else 5
            layers += [
                nn.Conv2d(below, above, size, stride=2, padding=size // 2, bias=False),
                nn.BatchNorm2d(above),
                nn.ReLU(inplace=True),
            ]
            height, width = (height + 1) // 2, (width + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Linear(channels[-1] * height * width, feature_size, bias=False)
        self.norm = nn.BatchNorm1d(feature_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalised frames ``(B, T, C, H, W)`` -> ``(B, T, D)``, zero past each row's end.

        ``lengths (B,)``, all frames by default. Padding is not computed, and has no part in the
        statistics of batch norm.
        """
        if frames.dim() != 5 or frames.shape[2:] != self.shape:
            expected = "(batch, time, {}, {}, {})".format(*self.shape)
            raise ValueError(f"frames of shape {tuple(frames.shape)} where {expected} is expected")
        rows, time = frames.shape[:2]
        if lengths is None:
            lengths = torch.full((rows,), time)
        steps = torch.arange(time, device=frames.device)
        real = steps < lengths.to(frames.device).unsqueeze(1)  # (B, T)
        seen = self._pictures(self._with_neighbours(frames, real)[real])
        features = seen.new_zeros(rows, time, self.feature_size)
        features[real] = seen
        return features

    def _with_neighbours(self, frames: Tensor, real: Tensor) -> Tensor:
        # (B, T, C, H, W) -> (B, T, taps · C, H, W), the earliest first
        if not self.reach:
            return frames
        kept = frames.masked_fill(~real[:, :, None, None, None], 0.0)
        padded = functional.pad(kept, (0, 0) * 3 + (self.reach, self.reach))
        time, taps = frames.shape[1], 2 * self.reach + 1
        return torch.cat([padded[:, tap : tap + time] for tap in range(taps)], 2)

    def _pictures(self, pictures: Tensor) -> Tensor:
        # (N, taps · C, H, W) -> (N, D)
        maps = self.convolutions(pictures.contiguous(memory_format=torch.channels_last))
        flat = self.dropout(maps.flatten(1))
        return torch.relu(self.norm(self.project(flat)))
