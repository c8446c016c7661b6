"""The path that a pointing finger draws, and an encoder that gives a network nothing but it.

Letters: B clips, T frames, H x W pixels, D feature size.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.vision.hand_map import hand_map, shots

ROWS = 60  # pixels, in which the sizes below are meant
COLUMNS = 7  # x, y and score of the tip and of the fist, begins
STEP = 2  # pixels between the places that a path may take
FARTHEST = 6  # steps that a finger goes from frame to frame at most
COST = 0.02  # of a move, times its square in pixels, against scores of about 0 to 1
LEAST_EXTENT = 0.05  # of the picture's height: what moves less is no larger for it
VERSION = 2  # rises with every change to what `hand_path` gives, so that no stored path is taken


def hand_path(frames: Tensor) -> Tensor:
    """Where tip and fist of a pointing hand are in a video: ``(T, 3, H, W)`` -> ``(T, 7)`` float32.

    ``frames``: RGB from 0 to 255, uint8 or float, of any size; they are looked at 60 rows high.
    The columns: ``x`` and ``y`` of the tip as shares of the picture's height, ``x`` to the right,
    ``y`` down, and how well the place looks like one; the same of the fist; and 1 in the first
    frame of each shot, else 0.

    The rule: the video is cut into shots, and each has its :func:`hand_map`. A tip is where there
    is hand below and none above and to the left (:func:`tip_score`), which is the upper end of a
    pointing hand, some pixels below the very tip where the finger is thin; a fist is where there is
    most hand around. Of all paths over a grid of places the one with the highest sum of scores
    wins, less a cost for the square of each move (Viterbi). So a frame in which a finger cannot be
    made out is bridged by those around it.
    """
    frames = frames.float()
    if frames.shape[2] != ROWS:
        size = ROWS, max(1, round(ROWS * frames.shape[3] / frames.shape[2]))
        frames = functional.interpolate(frames, size, mode="area")
    found = torch.zeros(len(frames), COLUMNS)
    for shot in shots(frames) if len(frames) else []:
        hand = hand_map(frames[shot])
        for column, scores in ((0, tip_score(hand)), (3, fist_score(hand))):
            places, best = best_path(scores)
            found[shot, column : column + 2] = places / ROWS
            found[shot, column + 2] = best
        found[shot.start, 6] = 1
    return found


def tip_score(hand: Tensor) -> Tensor:
    """How much each pixel looks like a finger's tip: ``(T, H, W)`` of hand -> the same shape.

    The mean of the hand in 9 x 10 pixels below it, less 0.7 of that in 14 x 6 above and half of
    that in 6 x 6 to its left: an arm comes from below or from the right.
    """
    below = _box(hand, rows=(0, 10), columns=(-3, 6))
    above = _box(hand, rows=(-6, 0), columns=(-8, 6))
    left = _box(hand, rows=(0, 6), columns=(-10, -4))
    return below - 0.7 * above - 0.5 * left


def fist_score(hand: Tensor) -> Tensor:
    """The mean of the hand in 13 x 15 pixels around each pixel: ``(T, H, W)`` -> the same shape."""
    return _box(hand, rows=(-7, 8), columns=(-6, 7))


def best_path(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The path over ``(T, H, W)`` with the best sum of scores less :data:`COST` of its moves.

    Places ``(T, 2)``, x and y in pixels, and their scores ``(T,)``.
    """
    width = scores.shape[2]
    values, pixels = functional.max_pool2d(
        scores[:, None], STEP, STEP, ceil_mode=True, return_indices=True
    )
    columns = values.shape[3]
    reach = torch.arange(-FARTHEST, FARTHEST + 1)
    cost = COST * STEP**2 * reach**2
    best, came = values[0, 0], []
    for now in values[1:, 0]:
        # The square of a move is that of its way down and that of its way right: one by one.
        best, down = _best_before(best.t(), cost)
        best, right = _best_before(best.t(), cost)
        came.append((down.t() - FARTHEST, right - FARTHEST))
        best = best + now
    row, column = divmod(int(best.argmax()), columns)
    path = [(row, column)]
    for down, right in reversed(came):
        column += int(right[row, column])
        row += int(down[row, column])
        path.append((row, column))
    path.reverse()
    frames = torch.arange(len(path))
    at = torch.tensor(path).unbind(1)
    pixel = pixels[frames, 0, at[0], at[1]]
    places = torch.stack([pixel % width + 0.5, pixel.div(width, rounding_mode="floor") + 0.5], 1)
    return places, values[frames, 0, at[0], at[1]]


class HandPathEncoder(nn.Module):
    """Frames of clips to how a hand moves in them, ``(B, T, 3, H, W)`` -> ``(B, T, 11)``.

    Of each frame, for tip and fist (:func:`hand_path`): the place relative to the extent of its
    path in this shot, so that a gesture is the same wherever it is drawn and however large, -1 to 1
    along the longer side; how far it went since the frame before, eightfold; and its score.
    ``blur`` frames of the path are averaged first, an odd number. The last feature is 1 in a shot's
    first frame.

    Nothing in it learns. It is in two parts, so that what takes time, the path, can be kept:
    :meth:`read`, of a whole video, and :meth:`finish`. Frames must be pixels between 0 and 1 (a
    preprocessing with mean 0 and standard deviation 1); 80 x 60 are enough.
    """

    def __init__(self, *, blur: int = 5) -> None:
        super().__init__()
        if blur < 1 or blur % 2 == 0:
            raise InvalidOption(f"blur is {blur} frames.", hint="An odd number from 1 up.")
        self.blur = blur
        self.feature_size = 11

    @property
    def reading(self) -> str:
        """What decides what :meth:`read` gives."""
        return f"hand_path {VERSION}"

    def read(self, frames: Tensor) -> Tensor:
        """A whole video, ``(T, 3, H, W)`` from 0 to 255, to its path ``(T, 7)``."""
        return hand_path(frames)

    def finish(self, paths: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Paths ``(B, T, 7)`` -> features ``(B, T, 11)``, zero past each row's end."""
        features = paths.new_zeros(*paths.shape[:2], self.feature_size)
        for row, path in enumerate(paths):
            end = len(path) if lengths is None else int(lengths[row])
            for begin, stop in _stretches(path[:end, 6]):
                features[row, begin:stop] = self._of_shot(path[begin:stop])
        return features

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pixels ``(B, T, 3, H, W)`` between 0 and 1 -> ``(B, T, 11)``."""
        if frames.dim() != 5 or frames.shape[2] != 3:
            shape = tuple(frames.shape)
            raise ValueError(f"frames of shape {shape} where (batch, time, 3, H, W) is expected")
        if frames.numel() and not (frames.min() > -0.01 and frames.max() < 1.01):
            raise InvalidOption(
                "Hands are looked for in pixels between 0 and 1, and these are not.",
                hint="Set the preprocessing's mean to [0, 0, 0] and its std to [1, 1, 1].",
            )
        paths = frames.new_zeros(*frames.shape[:2], COLUMNS)
        for row, clip in enumerate(frames):
            end = len(clip) if lengths is None else int(lengths[row])
            paths[row, :end] = self.read(255 * clip[:end].cpu()).to(frames)
        return self.finish(paths, lengths)

    def _of_shot(self, path: Tensor) -> Tensor:
        # (T, 7) -> (T, 11)
        ends = (self.blur // 2, self.blur // 2)
        padded = functional.pad(path.t()[None], ends, mode="replicate")
        smooth = functional.avg_pool1d(padded, self.blur, 1)[0].t()
        parts = [part for at in (0, 3) for part in _moving(smooth[:, at : at + 3])]
        begins = torch.zeros_like(path[:, :1])
        begins[0] = 1
        return torch.cat([*parts, begins], 1)


def _moving(path: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # (T, 3), x, y and score -> place, step and score
    place, score = path[:, :2], path[:, 2:]
    low, high = place.amin(0), place.amax(0)
    place = (place - (low + high) / 2) * 2 / (high - low).amax().clamp(min=LEAST_EXTENT)
    return place, 8 * place.diff(dim=0, prepend=place[:1]), score


def _best_before(best: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    # Along the last axis: the best of the neighbours less the cost of the way, and which it is.
    padded = functional.pad(best, (FARTHEST, FARTHEST), value=-1e4)
    found = (padded.unfold(1, len(cost), 1) - cost).max(2)
    return found.values, found.indices


def _stretches(begins: Tensor) -> list[tuple[int, int]]:
    # Of the first row on, whether it bears the mark or not.
    firsts = (begins[1:] > 0.5).nonzero().flatten() + 1
    return [(a, b) for a, b in itertools.pairwise([0, *firsts.tolist(), len(begins)]) if b > a]


def _box(values: Tensor, *, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    # The mean over these rows and columns, counted from each pixel; nothing lies outside.
    (top, bottom), (left, right) = rows, columns
    padding = (max(0, -left), max(0, right), max(0, -top), max(0, bottom))
    padded = functional.pad(values, padding)[:, None]
    mean = functional.avg_pool2d(padded, (bottom - top, right - left), 1)[:, 0]
    top, left = max(0, -top) + top, max(0, -left) + left
    return mean[:, top : top + values.shape[1], left : left + values.shape[2]]
