from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from captioner.errors import DataError
from captioner.vision.image import read_image
from captioner.vision.preprocess import Preprocessing
from training.data.pictures import Pictures
from training.data.stored import FEATURES

SMALL = Preprocessing(size=24)


def table(paths: list[Path], *, held: bool = False) -> Dataset:
    images = [
        {"bytes": path.read_bytes() if held else None, "path": None if held else str(path)}
        for path in paths
    ]
    columns = {
        "image": images,
        "filename": [path.name for path in paths],
        "captions": [["x"]] * len(paths),
        "split": ["train"] * len(paths),
    }
    return Dataset.from_dict(columns, features=FEATURES)


def test_pixels_are_those_of_the_service(photos: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in photos]
    for held in (False, True):
        pictures = Pictures(table(paths, held=held), SMALL)
        assert len(pictures) == len(list(pictures)) == len(paths)
        for path, pixels in zip(paths, pictures, strict=True):
            expected = SMALL.pixels(read_image(path, target_size=24).image)
            assert pixels.dtype == torch.uint8
            assert torch.equal(pixels, expected)


def test_the_fingerprint_goes_by_the_files_and_their_order(
    photos: list[str], tmp_path: Path, draw: Callable[..., Path]
) -> None:
    paths = [tmp_path / name for name in photos]
    moved = []
    for number, path in enumerate(paths):
        moved.append(tmp_path / "moved" / f"{number}.png")
        moved[-1].parent.mkdir(exist_ok=True)
        moved[-1].write_bytes(path.read_bytes())
    one = Pictures(table(paths), SMALL).fingerprint
    assert Pictures(table(moved), SMALL).fingerprint == one
    assert Pictures(table(paths, held=True), SMALL).fingerprint == one
    assert Pictures(table(paths[::-1]), SMALL).fingerprint != one
    draw(paths[0], (21, 16))
    assert Pictures(table(paths), SMALL).fingerprint != one


def test_a_picture_that_went_missing_or_bad_is_named(photos: list[str], tmp_path: Path) -> None:
    pictures = Pictures(table([tmp_path / name for name in photos]), SMALL)
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").write_text("hello")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        pictures[0]
    with pytest.raises(DataError, match=r"b\.png: "):
        pictures[1]
