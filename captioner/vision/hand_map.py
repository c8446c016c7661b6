"""Where in the frames of a shot a hand is: what moves before a still scene, in colours of its own.

No weights and no skin tone: a hand in shadow, in gloves or before a window is found by the same
rule, since its colours are learned from the shot itself.

Letters: T frames, H x W pixels.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

CUT = 6.0  # grey levels, times one less correlation
REACH = 4  # pixels by which a camera may shake
LEVELS = 10  # of brightness and of two shares of colour
STANDS_OUT = 15.0  # grey levels from the scene at which a pixel half belongs to what moves


def shots(frames: Tensor) -> list[slice]:
    """The stretches of ``(T, 3, H, W)``, 0 to 255, in which the picture does not jump.

    A cut is where a frame differs from the one before it by much, its brightness apart, and in its
    pattern: mean difference in grey levels times one less the pictures' correlation over 6. Two
    shots of one place may stay together, and a flash may part one.
    """
    change = frames[1:] - frames[:-1]
    change = change - change.flatten(2).median(2).values[:, :, None, None]
    grey = frames.mean(1).flatten(1)
    grey = functional.normalize(grey - grey.mean(1, keepdim=True), dim=1)
    alike = (grey[1:] * grey[:-1]).sum(1)
    cuts = (change.abs().mean((1, 2, 3)) * (1 - alike) > CUT).nonzero().flatten() + 1
    return [slice(*pair) for pair in itertools.pairwise([0, *cuts.tolist(), len(frames)])]


def hand_map(frames: Tensor) -> Tensor:
    """How much each pixel of a shot is hand: ``(T, 3, H, W)`` -> ``(T, H, W)``, 0 to 1.5.

    Frames, 0 to 255, are shifted so that the scene stands still and brought to one brightness; the
    scene is their median. A pixel is hand as far as it differs from the scene and its colour is one
    that moving pixels have more often than the scene has, which mostly rules out the scene showing
    again where the median has the hand. Colours of the moving are counted twice, first with a
    preference for reddish ones.
    """
    still = _one_brightness(_steadied(frames))
    scene = still.median(0).values
    apart = (still - scene).abs().mean(1)  # (T, H, W)
    noise = apart.flatten().median()
    apart = (apart - 3 * noise - 6).clamp(min=0)
    moves = apart / (apart + STANDS_OUT)
    cells, of_scene = _colours(still), _histogram(_colours(scene[None]))
    hand = moves * (0.5 + _reddish(still))
    for _ in range(2):
        of_hand = _histogram(cells, hand)
        hand = moves * (of_hand / (of_hand + of_scene + 1e-4))[cells] ** 2
    usual = hand.flatten(1).quantile(0.9, 1).median().clamp(min=0.02)
    hand = (hand / usual).clamp(max=1.5)
    return functional.avg_pool2d(hand[:, None], 3, 1, 1, count_include_pad=False)[:, 0]


def _steadied(frames: Tensor) -> Tensor:
    # Whole pixels, against the middle frame, by phase correlation.
    height, width = frames.shape[2:]
    if len(frames) < 2 or min(height, width) <= 2 * REACH:
        return frames
    grey = frames.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    window = torch.outer(
        torch.hann_window(height, periodic=False), torch.hann_window(width, periodic=False)
    ).sqrt()
    spectrum = torch.fft.rfft2(grey * window)
    cross = spectrum * spectrum[len(frames) // 2].conj()
    peaks = torch.fft.irfft2(cross / (cross.abs() + 1e-3), s=(height, width))
    near = torch.cat([peaks[:, -REACH:], peaks[:, : REACH + 1]], 1)
    near = torch.cat([near[:, :, -REACH:], near[:, :, : REACH + 1]], 2)
    best, side = near.flatten(1).argmax(1), 2 * REACH + 1
    padded = functional.pad(frames, (REACH,) * 4, mode="replicate")
    return torch.stack(
        [
            frame[:, place // side :, place % side :][:, :height, :width]
            for frame, place in zip(padded, best.tolist(), strict=True)
        ]
    )


def _one_brightness(frames: Tensor) -> Tensor:
    for _ in range(2):
        apart = (frames - frames.median(0).values).flatten(2).median(2).values
        frames = frames - apart[:, :, None, None]
    return frames.clamp(0, 255)


def _reddish(frames: Tensor) -> Tensor:
    red, green, blue = frames.unbind(1)
    return torch.sigmoid(60 * ((red - green) / (red + green + blue + 15) - 0.04))


def _colours(frames: Tensor) -> Tensor:
    # (T, 3, H, W) -> (T, H, W): numbers of cells of brightness, share of red and share of blue
    red, _, blue = frames.unbind(1)
    total = frames.sum(1) + 15
    parts = (total / 780, (red / total - 0.15) / 0.45, (blue / total - 0.10) / 0.45)
    light, reds, blues = ((LEVELS * part).long().clamp(0, LEVELS - 1) for part in parts)
    return (light * LEVELS + reds) * LEVELS + blues


def _histogram(cells: Tensor, weights: Tensor | None = None) -> Tensor:
    # Shares of the cells, blurred by one in each direction.
    given = None if weights is None else weights.flatten()
    counts = torch.bincount(cells.flatten(), weights=given, minlength=LEVELS**3).float()
    cube = counts.view(1, 1, LEVELS, LEVELS, LEVELS)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 3, 1
        cube = functional.conv3d(cube, kernel.view(shape), padding=padding)
    return cube.flatten() / cube.sum().clamp(min=1e-6)
