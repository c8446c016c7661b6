"""A labeller of videos that learns from captioned photos, as a user trains it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.testing import assert_close

from captioner.bundle import open_bundle
from captioner.errors import InvalidOption
from captioner.metrics.segments import IGNORED
from captioner.tasks import load
from training.data.photo_sequences import PhotoSequenceDataModule
from training.data.photo_views import WHOLE, Box, PhotoViews, camera_path
from training.data.shots import (
    EncodedViews,
    FixedSequences,
    RandomSequences,
    ShotSettings,
    map_weights,
)
from training.label_levels import RULES
from training.probes import fitted
from training.score_labels import WORTHS
from training.score_labels import main as score_labels

Run = Callable[..., Any]
PHOTOS, LABELS, SIZE = 10, 3, 4


def write_config(folder: Path, source: Path, bundle: Path) -> Path:
    settings = {
        "seed_everything": 1,
        "model": {
            "class_path": "training.frames.FramesModule",
            "init_args": {
                "encoder": {"bundle": str(bundle)},
                "labeller": {"hidden_size": 16, "normalise": True, "entry_size": 8, "skip": True},
                "optimiser": {"lr": 0.02, "warmup_steps": 2},
                "smoothing": 0.0,
                "cache": "features",
            },
        },
        "data": {
            "class_path": "training.data.photo_sequences.PhotoSequenceDataModule",
            "init_args": {
                "source": str(source),
                "classes": ["animal", "dog", "boat"],
                "shots": {"shots": 2, "views": 3, "shortest": 2, "longest": 4},
                "batch_size": 4,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 12,
            "log_every_n_steps": 1,
            "default_root_dir": "runs",
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {"class_path": "training.callbacks.MovingAverage", "init_args": {"decay": 0.7}}
            ],
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def labelled(trained: Path, table: Run, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a labeller was trained on red dogs and green boats, and exported."""
    folder = tmp_path_factory.mktemp("labelled")
    held_out = ("validation", "test")
    source = table(folder / "photos", {"red": "dog", "green": "boat"}, held_out=held_out)
    path = write_config(folder, source, trained / "bundles" / "caption")
    done = run("fit", "--config", str(path), folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    card = str(trained / "card.yaml")
    given = ("--checkpoint", "runs/best.ckpt", "--card", card, "--out", "bundles")
    done = run("export", *given, folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_encoder_is_the_captioners_file(labelled: Path, trained: Path) -> None:
    frames, caption = open_bundle(labelled / "bundles" / "frames"), trained / "bundles" / "caption"
    assert frames.description["encoder"] == open_bundle(caption).description["encoder"]
    assert frames.labels() == ["animal", "dog", "boat"]


def test_scores_stand_beside_a_probes_and_thresholds_are_stored(labelled: Path, run: Run) -> None:
    done = run(
        *("score-labels", "--data", "config.yaml", "--model", "bundles/frames", "--calibrate"),
        *("--baseline", "bundles/frames", "--cache", "features"),
        folder=labelled,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stills, mAP, labeller" in done.stdout
    assert "stills, mAP, linear probe" in done.stdout
    assert "each frame alone, viterbi, 2 nats, 4 a change" in done.stdout
    bundle = open_bundle(labelled / "bundles" / "frames")
    assert len(bundle.decoding["thresholds"]) == 3
    assert bundle.decoding["smoothing"]["kind"] == "hysteresis"
    assert bundle.metrics["validation"]["mAP stills"] > 99


def test_the_test_split_has_the_levels_of_validation(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(labelled)
    given = ("--data", "config.yaml", "--model", "bundles/frames", "--cache", "features")
    assert score_labels([*given, "--split", "test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "frames@1, test"
    assert sum(line.startswith("  labeller, ") for line in lines) == len(RULES) * len(WORTHS)


def test_it_labels_a_video_and_says_when(labelled: Path, write_video: Run, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", ["red"] * 20, side=64)
    result = load("frames", model=str(labelled / "bundles" / "frames"))(tmp_path / "clip.mp4")
    assert [frame.time_s for frame in result.frames] == pytest.approx([0, 0.5, 1, 1.5], abs=0.11)


def test_an_encoder_that_learns_is_refused(
    trained: Path, table: Run, run: Run, tmp_path: Path
) -> None:
    source = table(tmp_path / "photos", {"red": "dog"}, held_out=("validation",))
    path = write_config(tmp_path, source, trained / "bundles" / "caption")
    learns = "--model.init_args.encoder.trainable_stages=1"
    done = run("fit", "--config", str(path), learns, folder=tmp_path)
    assert done.returncode == 2
    assert "encoder has to be frozen" in done.stderr


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(Exception, match="no label 'unicorn'"):
        PhotoSequenceDataModule("photos", classes=["dog", "unicorn"])


@pytest.mark.parametrize("share", ["1.5", "-0.1"])
def test_a_share_of_disturbed_shots_is_refused_where_it_is_none(tmp_path: Path, share: str) -> None:
    (tmp_path / "config.yaml").write_text("data: {init_args: {source: photos}}")
    with pytest.raises(InvalidOption, match=r"shots\.disturbed is"):
        score_labels(["--data", str(tmp_path / "config.yaml"), "--disturbed", share])


# -- views --------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2, 3, 5, 8])
def test_a_path_begins_with_the_whole_and_stays_inside(views: int) -> None:
    for photo in range(20):
        boxes = camera_path(photo, views)
        assert len(boxes) == views
        assert boxes[0] == WHOLE
        assert all(-1e-6 <= edge <= 1 + 1e-6 for box in boxes for edge in box)
        assert all(box.right > box.left and box.bottom > box.top for box in boxes)


def test_the_first_view_is_the_photo_itself(table: Run, tmp_path: Path) -> None:
    source = table(tmp_path / "photos", {"red": "dog"})
    pictures = PhotoSequenceDataModule(str(source)).photos.pictures("train")
    views = PhotoViews(pictures, 3)
    assert len(views) == 3 * len(pictures)
    assert torch.equal(views[3], pictures[1])
    assert not torch.equal(views[5], pictures[1])


def test_a_view_of_the_whole_is_the_mean_of_the_map() -> None:
    grid = torch.randn(49, 5, generator=torch.Generator().manual_seed(0))
    weights = map_weights([WHOLE, Box(0.0, 0.0, 1 / 7, 1 / 7), Box(0.5, 0.0, 1.0, 1.0)], 49)
    means = weights @ grid
    assert_close(means[0], grid.mean(0))
    assert_close(means[1], grid[0])
    right = grid.view(7, 7, 5)
    assert_close(means[2], (right[:, 4:].sum((0, 1)) + right[:, 3].sum(0) / 2) / 24.5)


# -- sequences ----------------------------------------------------------------------------------


def fixed(seed: int = 0) -> FixedSequences:
    rows = np.arange(PHOTOS, dtype=np.float16)[:, None, None] + np.zeros((1, 5, SIZE), np.float16)
    labels = np.eye(PHOTOS, LABELS, dtype=np.int64)
    return FixedSequences(EncodedViews(rows), labels, ShotSettings(shots=4), 0.5, seed)


def test_every_photo_is_in_one_sequence_and_its_labels_with_it() -> None:
    sequences = fixed()
    found: list[float] = []
    for number in range(len(sequences)):
        _, example = sequences[number]
        photos = example.rows[:, 0]
        found += photos.unique_consecutive().tolist()
        expected = torch.eye(PHOTOS, LABELS)[photos.long()]
        known = example.labels != IGNORED
        assert torch.equal(example.labels[known].float(), expected[known])
        assert (expected[~known] == 1).all()  # only what is there can be lost
        assert_close(example.times.diff(), torch.full((len(photos) - 1,), 0.5).double())
    assert sorted(found) == list(range(PHOTOS))


def test_a_sequence_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert torch.equal(fixed()[1][1].rows, fixed()[1][1].rows)
    assert fixed().order != fixed(seed=1).order


def test_a_mixture_has_both_labels_in_its_shares() -> None:
    grids = np.eye(PHOTOS, SIZE, dtype=np.float16)[:, None].repeat(49, 1)
    shares = np.eye(PHOTOS, SIZE, dtype=np.float32)
    sequences = RandomSequences(grids, shares, ShotSettings(mix=1.0), 0.5)
    torch.manual_seed(0)
    for number in range(5):
        _, example = sequences[number]
        known = example.labels != IGNORED
        # Features and shares are one-hot by photo, and so stay equal in every mixture.
        assert_close(example.labels[known], example.rows[known], atol=1e-3, rtol=0)


def test_views_that_were_cut_out_keep_their_photos_labels() -> None:
    grids = np.zeros((PHOTOS, 49, SIZE), np.float16)
    shares = np.eye(PHOTOS, SIZE, dtype=np.float32)
    views = np.eye(PHOTOS, SIZE, dtype=np.float16)[:, None].repeat(5, 1)
    shots = ShotSettings(mix=0.0, cut_out=1.0)
    sequences = RandomSequences(grids, shares, shots, 0.5, cut_out=EncodedViews(views), seed=3)
    torch.manual_seed(0)
    for number in range(SIZE):
        _, example = sequences[number]
        known = example.labels != IGNORED
        assert_close(example.labels[known], example.rows[known])
        assert example.rows[: shots.train_shortest].sum() > 0  # the map's would be zeros


def test_a_share_of_the_shots_is_disturbed() -> None:
    zeros = np.zeros((200, 5, SIZE), np.float16)
    shots = ShotSettings(shots=4, disturbed=0.25)
    views = EncodedViews(zeros, zeros + 1, shots.disturbed)
    sequences = FixedSequences(views, np.zeros((200, LABELS), np.int64), shots, 0.5, 0)
    rows = torch.cat([sequences[number][1].rows[:, 0] for number in range(len(sequences))])
    assert 0.15 < float(rows.mean()) < 0.35
    again = torch.cat([sequences[number][1].rows[:, 0] for number in range(len(sequences))])
    assert torch.equal(rows, again)


# -- scores -------------------------------------------------------------------------------------


def test_a_probe_finds_what_is_linear() -> None:
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs[:, :2] > 0).float()
    probe = fitted(inputs, targets, 1e-3)
    assert ((probe(inputs) > 0).float() == targets).float().mean() > 0.97
