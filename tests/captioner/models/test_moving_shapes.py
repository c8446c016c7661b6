"""A recurrent network sees what no single frame shows: which way a shape moves.

What a perfect model could reach follows from how the videos are made (see moving_shapes.py): all
with the frames in order, one in six from a single frame, one in two from frames in disorder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from captioner.models.frames import ClipClassifier


def _load_beside(name: str) -> Any:
    # In importlib mode a test module's neighbours cannot be imported by their names.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shapes = _load_beside("moving_shapes")
CHANCE = 1 / len(shapes.MOTIONS)
# Over 2000 clips the standard deviation is 0.8 % at chance and 1.1 % at one in two.
CLIPS = 2000


class PooledPixels(nn.Module):
    """Pixels in blocks of 2 × 2, flattened, about 0 and of the size that a cell likes."""

    size = (shapes.SIDE // 2) ** 2

    def forward(self, clips: Tensor) -> Tensor:
        return 4 * (functional.avg_pool2d(clips, 2).flatten(2) - 0.15)


def train(
    classifier: ClipClassifier, num_steps: int, prepare: Callable[[Tensor, Tensor], Any]
) -> nn.Module:
    """On ever new clips, as many a step as a batch has; what the model has seen it never meets."""
    model = nn.Sequential(PooledPixels(), classifier)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=num_steps)
    for _ in range(num_steps):
        clips, motions = prepare(*shapes.moving_shapes(64, generator))
        loss = functional.cross_entropy(model(clips), motions)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, clips: Tensor, motions: Tensor) -> float:
    return float((model(clips).argmax(1) == motions).double().mean())


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    clips, motions = shapes.moving_shapes(CLIPS, torch.Generator().manual_seed(1))
    return clips, motions


@pytest.fixture(scope="module")
def recurrent(one_thread: None) -> nn.Module:
    torch.manual_seed(0)
    classifier = ClipClassifier(PooledPixels.size, len(shapes.MOTIONS), hidden_size=64)
    return train(classifier, 500, lambda clips, motions: (clips, motions))


def test_a_frame_looks_the_same_whatever_the_motion(held_out: tuple[Tensor, Tensor]) -> None:
    """Each pixel's mean over the clips of a motion, at each moment, is that of all clips."""
    clips, motions = held_out
    spread = clips.std(0)
    for motion in range(len(shapes.MOTIONS)):
        own = clips[motions == motion]
        deviations = (own.mean(0) - clips.mean(0)) / (spread / len(own) ** 0.5)
        assert deviations.abs().max() < 5  # standard deviations; 1152 pixels are looked at


def test_a_recurrent_model_tells_the_motion(
    recurrent: nn.Module, held_out: tuple[Tensor, Tensor]
) -> None:
    assert accuracy(recurrent, *held_out) >= 0.98


def test_a_single_frame_does_not(held_out: tuple[Tensor, Tensor]) -> None:
    """Trained on every frame of as many clips, it stays within four deviations of chance."""
    torch.manual_seed(0)
    classifier = ClipClassifier(
        PooledPixels.size, len(shapes.MOTIONS), cell=None, hidden_size=64, pooling="middle"
    )
    model = train(
        classifier,
        200,
        lambda clips, motions: (
            clips.flatten(0, 1).unsqueeze(1),
            motions.repeat_interleave(clips.shape[1]),
        ),
    )
    assert abs(accuracy(model, *held_out) - CHANCE) < 4 * 0.0083


def test_shuffled_frames_leave_half_of_it(
    recurrent: nn.Module, held_out: tuple[Tensor, Tensor]
) -> None:
    clips, motions = held_out
    generator = torch.Generator().manual_seed(2)
    order = torch.rand(clips.shape[:2], generator=generator).argsort(1)
    shuffled = clips[torch.arange(len(clips)).unsqueeze(1), order]
    assert CHANCE < accuracy(recurrent, shuffled, motions) < 0.5 + 4 * 0.011


def test_a_clip_played_backwards_is_the_opposite_motion(
    recurrent: nn.Module, held_out: tuple[Tensor, Tensor]
) -> None:
    clips, motions = held_out
    opposite = torch.tensor([1, 0, 3, 2, 5, 4])[motions]
    assert accuracy(recurrent, clips.flip(1), opposite) >= 0.98
