"""The encoder of clips: what a feature depends on, and what it does not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from captioner.errors import InvalidOption
from captioner.vision.spatiotemporal import SpatioTemporalEncoder


def encoder(reach: int = 2, in_channels: int = 1) -> SpatioTemporalEncoder:
    torch.manual_seed(1)
    return SpatioTemporalEncoder(
        13, 18, in_channels=in_channels, reach=reach, channels=(4, 6), feature_size=7
    ).eval()


def frames(clips: int, time: int, channels: int = 1) -> torch.Tensor:
    return torch.randn(clips, time, channels, 13, 18, generator=torch.Generator().manual_seed(2))


def test_a_frame_gets_a_vector() -> None:
    assert encoder()(frames(2, 5)).shape == (2, 5, 7)


def test_the_first_layer_is_a_convolution_in_space_and_time() -> None:
    model, clip = encoder(in_channels=3), frames(1, 6, 3)
    flat = model.convolutions[0].weight  # (4, taps · 3, 5, 5)
    weight = flat.unflatten(1, (5, 3)).transpose(1, 2)  # (4, 3, taps, 5, 5)
    whole = functional.conv3d(clip.transpose(1, 2), weight, stride=(1, 2, 2), padding=(2, 2, 2))
    real = torch.ones(1, 6, dtype=torch.bool)
    ours = model.convolutions[0](model._with_neighbours(clip, real)[real])
    torch.testing.assert_close(ours, whole[0].transpose(0, 1))


@pytest.mark.parametrize("mode", [True, False])
def test_padding_changes_nothing_in_training_either(mode: bool) -> None:
    clips = frames(2, 6)
    padded = torch.cat([clips, torch.full_like(clips[:, :2], 50.0)], 1)
    alone, longer = encoder().train(mode), encoder().train(mode)
    expected = alone(clips)
    found = longer(padded, torch.tensor([6, 6]))
    torch.testing.assert_close(found[:, :6], expected)
    assert not found[:, 6:].any()
    for one, other in zip(alone.buffers(), longer.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_shorter_row_is_as_it_is_alone() -> None:
    model, clips = encoder(), frames(3, 6)
    found = model(clips, torch.tensor([6, 4, 0]))
    torch.testing.assert_close(found[1, :4], model(clips[1:2, :4])[0])
    assert not found[1, 4:].any()
    assert not found[2].any()


def test_a_feature_depends_on_reach_frames_to_both_sides() -> None:
    model, clip = encoder(), frames(1, 11)
    whole = model(clip)
    # A part of the clip gives the same, but for `reach` frames at each cut.
    part = model(clip[:, 3:9])
    torch.testing.assert_close(part[:, 2:-2], whole[:, 5:7])
    changed = clip.clone()
    changed[:, 5] += 1
    differs = (model(changed) - whole).abs().sum(2)[0] > 0
    assert differs.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


def test_without_reach_chunks_are_the_whole() -> None:
    model, clip = encoder(reach=0), frames(1, 7)
    chunks = torch.cat([model(part) for part in clip.split([3, 1, 3], 1)], 1)
    torch.testing.assert_close(chunks, model(clip))


def test_every_parameter_learns() -> None:
    model = encoder().train()
    (model(frames(2, 4)) * torch.randn(7)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidOption, match="reach is -1"):
        encoder(reach=-1)
    with pytest.raises(InvalidOption, match="cannot be built"):
        SpatioTemporalEncoder(13, 18, channels=())
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 13, 18\) where \(batch, time, 1, 13, 18\)"):
        encoder()(frames(1, 2, 3))
