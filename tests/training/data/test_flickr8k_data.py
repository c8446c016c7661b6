"""The real table: numbers from the README beside it and from published work."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.batches import LengthBatches
from training.data.captions import CaptionDataModule

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def flickr8k(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> CaptionDataModule:
    if not (data_dir / "flickr8k").is_dir():
        pytest.skip("no flickr8k in the data folder")
    cache = str(tmp_path_factory.mktemp("cache"))
    return CaptionDataModule(str(data_dir / "flickr8k"), cache_dir=cache)


def test_the_official_split_with_five_captions_each(flickr8k: CaptionDataModule) -> None:
    sizes = {split: len(table) for split, table in flickr8k.tables.items()}
    assert sizes == {"train": 6000, "validation": 1000, "test": 1000}
    for split in sizes:
        assert {len(captions) for captions in flickr8k.references(split)} == {5}
    assert flickr8k.report.problems == []
    assert flickr8k.report.splits["train"].duplicates == 1  # the pair that the README names


def test_the_vocabulary_has_the_published_size(flickr8k: CaptionDataModule) -> None:
    # 2539 words at min_count 5: Tanti et al. 2018, where-image2.
    assert len(flickr8k.vocabulary.words) == pytest.approx(2539, abs=25)


def test_pictures_decode_to_their_own_pixels(flickr8k: CaptionDataModule) -> None:
    pictures = flickr8k.pictures("test")
    assert pictures[0].shape == pictures[999].shape == (3, 224, 224)
    assert len({int(pictures[i].sum()) for i in range(5)}) == 5


def test_buckets_keep_padding_near_a_quarter(flickr8k: CaptionDataModule) -> None:
    lengths = flickr8k.examples("train").lengths()
    assert LengthBatches(lengths, 64).padding() < 0.3
    assert LengthBatches(lengths, 64, groups=2).padding() < 0.2
