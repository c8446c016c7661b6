"""Videos of a shape that moves, rendered so that no single frame tells how.

The picture is a torus: what leaves on one side comes back on the other. A shape starts anywhere,
so that at every moment it is equally likely to be anywhere, whichever way it moves: a frame by
itself carries no information about the class, and one in six guesses is right. Without the order
of frames only the three pairs of opposites can be told apart: one in two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOTIONS = ("left", "right", "up", "down", "clockwise", "anticlockwise")
SIDE = 12


def moving_shapes(
    num_clips: int, generator: torch.Generator, *, num_frames: int = 8
) -> tuple[Tensor, Tensor]:
    """Grey clips ``(clips, time, SIDE, SIDE)`` in 0 to 1, and their motions' numbers ``(clips,)``.

    Size, speed, brightness and kind of the shape (a disc or a ring) vary, and there is some noise.
    """

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(num_clips, 1, generator=generator)

    motions = torch.randint(len(MOTIONS), (num_clips,), generator=generator)
    path = draw(1.0, 1.8) * torch.arange(num_frames)  # pixels gone, (clips, time)
    turn, radius = draw(0, 2 * math.pi), draw(2.0, 3.0)
    spin = torch.where(motions == 4, 1, -1).unsqueeze(1)  # rows count downwards
    angle = turn + spin * path / radius
    straight = torch.tensor([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0], [0, 0]])[motions]
    row = straight[:, :1] * path
    column = straight[:, 1:] * path
    circles = motions.unsqueeze(1) >= 4
    row = draw(0, SIDE) + torch.where(circles, radius * angle.sin(), row)
    column = draw(0, SIDE) + torch.where(circles, radius * angle.cos(), column)

    pixels = torch.arange(SIDE)
    away = [
        (place.unsqueeze(2) - pixels + SIDE / 2).remainder(SIDE) - SIDE / 2
        for place in (row, column)
    ]
    distance = (away[0].unsqueeze(3).square() + away[1].unsqueeze(2).square()).sqrt()
    size = draw(1.2, 2.2).view(-1, 1, 1, 1)
    rings = (torch.rand(num_clips, 1, 1, 1, generator=generator) < 0.5) & (size > 1.6)
    shape = (size + 0.5 - distance).clamp(0, 1)  # half a pixel of soft edge
    hole = (size - 0.5 - distance).clamp(0, 1)
    clips = draw(0.6, 1.0).view(-1, 1, 1, 1) * (shape - torch.where(rings, hole, 0))
    noise = torch.rand(clips.shape, generator=generator)
    return (clips + 0.1 * noise).clamp(max=1), motions
