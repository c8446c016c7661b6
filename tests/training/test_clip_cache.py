"""Frames, maps and features of videos, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.errors import DataError
from captioner.vision.encoder import ResNetEncoder
from captioner.vision.preprocess import Preprocessing
from captioner.vision.video import open_video
from training.clip_cache import Clips, cached_clips
from training.data.stretches import Stretch
from training.data.video_tables import LabelledVideo, VideoFile

SMALL = Preprocessing(size=32)


@pytest.fixture(scope="module")
def videos(
    tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., None]
) -> list[LabelledVideo]:
    """Of 40 and of 7 frames: the first does not fit into one chunk."""
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for name, colours in (("a", ["red", "blue"] * 20), ("b", ["green"] * 7)):
        write_video(folder / f"{name}.mp4", colours)
        file = VideoFile(folder / f"{name}.mp4")
        found.append(LabelledVideo(name, file, "train", (Stretch("x"),), name))
    return found


@pytest.fixture(scope="module")
def encoder() -> ResNetEncoder:
    torch.manual_seed(0)
    return ResNetEncoder(18, output="pooled").eval()


def pixels_of(video: LabelledVideo) -> torch.Tensor:
    assert video.file is not None
    with open_video(video.file.open(), target_size=SMALL.target_size()) as frames:
        return torch.stack([SMALL.pixels(frame.image) for frame in frames])


def test_pixels_are_what_the_service_would_see(videos: list[LabelledVideo], tmp_path: Path) -> None:
    clips = cached_clips(videos, SMALL, tmp_path)
    assert len(clips) == 2
    assert clips.offsets.tolist() == [0, 40, 47]
    for number, video in enumerate(videos):
        kept = torch.from_numpy(np.array(clips.rows[clips.span(number)]))
        assert torch.equal(kept, pixels_of(video))
    assert clips.numbers[clips.span(1)].tolist() == list(range(7))
    np.testing.assert_allclose(clips.times[clips.span(1)], np.arange(7) / 10, atol=1e-9)


def test_sampling_takes_frames_by_time(videos: list[LabelledVideo], tmp_path: Path) -> None:
    clips = cached_clips(videos, SMALL, tmp_path, every_s=0.25)
    assert clips.numbers[clips.span(1)].tolist() == [0, 3, 5]


def test_features_are_the_encoders(
    videos: list[LabelledVideo], encoder: ResNetEncoder, tmp_path: Path
) -> None:
    clips = cached_clips(videos, SMALL, tmp_path, encoder=encoder)
    assert clips.rows.shape == (47, 512)
    with torch.no_grad():
        expected = encoder(SMALL.normalise(pixels_of(videos[1])))[:, 0]
    found = torch.from_numpy(np.array(clips.rows[clips.span(1)])).float()
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)


def test_maps_go_on_to_the_same_features(
    videos: list[LabelledVideo], encoder: ResNetEncoder, tmp_path: Path
) -> None:
    maps = cached_clips(videos, SMALL, tmp_path, encoder=encoder, stages=4)
    assert maps.rows.shape == (47, 256, 2, 2)
    features = cached_clips(videos, SMALL, tmp_path, encoder=encoder)
    with torch.no_grad():
        upper = encoder.upper(torch.from_numpy(np.array(maps.rows)).float(), 4)[:, 0]
    torch.testing.assert_close(
        upper, torch.from_numpy(np.array(features.rows)).float(), atol=1e-2, rtol=1e-2
    )


def test_what_is_there_is_not_made_again_and_what_differs_is(
    videos: list[LabelledVideo], encoder: ResNetEncoder, tmp_path: Path
) -> None:
    def files() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    cached_clips(videos, SMALL, tmp_path, encoder=encoder)
    before = files()
    assert len(before) == 2  # rows and index, and nothing partial
    cached_clips(videos, SMALL, tmp_path, encoder=encoder)
    assert files() == before
    others: list[Callable[[], Clips]] = [
        lambda: cached_clips(videos[:1], SMALL, tmp_path, encoder=encoder),
        lambda: cached_clips(videos, Preprocessing(size=40), tmp_path, encoder=encoder),
        lambda: cached_clips(videos, SMALL, tmp_path, encoder=encoder, every_s=0.5),
        lambda: cached_clips(videos, SMALL, tmp_path, encoder=encoder, stages=3),
        lambda: cached_clips(videos, SMALL, tmp_path),
    ]
    for number, other in enumerate(others, 2):
        other()
        assert len(files()) == 2 * number


def test_a_tail_that_cannot_be_read_is_left_out(
    videos: list[LabelledVideo], tmp_path: Path, write_video: Callable[..., None]
) -> None:
    write_video(tmp_path / "whole.ts", ["red"] * 40)
    data = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) // 2])
    cut = LabelledVideo("cut", VideoFile(tmp_path / "cut.ts"), None, (), "cut")
    clips = cached_clips([cut, videos[1]], SMALL, tmp_path / "cache")
    assert 0 < clips.offsets[1] < 40
    assert clips.offsets[2] - clips.offsets[1] == 7


def test_a_video_without_a_frame_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    bad = LabelledVideo("text", VideoFile(tmp_path / "text.mp4"), None, (), "text")
    with pytest.raises(DataError, match="text: "):
        cached_clips([bad], SMALL, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    gone = LabelledVideo("gone", VideoFile(tmp_path / "gone.mp4"), None, (), "gone")
    with pytest.raises(DataError, match="gone cannot be read"):
        cached_clips([gone], SMALL, tmp_path / "cache")
