"""Splits of videos by table, share and fold, and streams of them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.splits import SplitFractions
from training.data.stretches import Stretch
from training.data.video_splits import (
    FoldSettings,
    fold_numbers,
    grouped,
    renamed,
    split_videos,
    streams_of,
)
from training.data.video_tables import LabelledVideo


def video(
    name: str, split: str | None = "train", group: str | None = None, label: str = "x"
) -> LabelledVideo:
    return LabelledVideo(name, None, split, (Stretch(label),), group or name)


def names(videos: list[LabelledVideo]) -> set[str]:
    return {one.name for one in videos}


def test_folds_hold_out_every_video_once_and_never_part_a_group() -> None:
    groups = [f"g{number % 7}" for number in range(40)]
    videos = [video(f"v{n}", group=group) for n, group in enumerate(groups)]
    held: Counter[str] = Counter()
    for fold in range(3):
        splits = split_videos(videos, SplitFractions(), FoldSettings(3, fold))
        train, validation = splits["train"], splits["validation"]
        assert not {one.group for one in train} & {one.group for one in validation}
        assert len(train) + len(validation) == 40
        held.update(names(validation))
    assert set(held.values()) == {1}
    assert len(held) == 40


def test_folds_are_about_equal() -> None:
    sizes = Counter(fold_numbers([str(n % 11) for n in range(100)], 5))
    assert max(sizes.values()) - min(sizes.values()) <= 10


def test_folds_take_the_splits_that_they_are_told() -> None:
    videos = [video("a"), video("b"), video("c", "validation"), video("d", "test")]
    splits = split_videos(videos, SplitFractions(), FoldSettings(2, 0))
    assert names(splits["train"]) | names(splits["validation"]) == {"a", "b"}
    both = FoldSettings(3, 0, ("train", "validation"))
    splits = split_videos(videos, SplitFractions(), both)
    assert names(splits["train"]) | names(splits["validation"]) == {"a", "b", "c"}


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="2 groups"):
        fold_numbers(["a", "b", "a"], 3)
    with pytest.raises(DataError, match="Fold 3 of 3"):
        FoldSettings(3, 3)


def test_without_splits_chance_decides_by_group() -> None:
    videos = [video(f"v{n}", None, f"g{n // 5}") for n in range(200)]
    splits = split_videos(videos, SplitFractions(), None)
    assert set(splits) == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == 200
    groups = [{one.group for one in part} for part in splits.values()]
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_groups_come_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "rooms.csv").write_text("video,group\na,kitchen\nb,hall\n")
    found = grouped([video("a"), video("b")], str(tmp_path / "rooms.csv"))
    assert [one.group for one in found] == ["kitchen", "hall"]
    with pytest.raises(DataError, match="no group for 1 videos, such as z"):
        grouped([video("z")], str(tmp_path / "rooms.csv"))


def test_renaming_joins_neighbours() -> None:
    pauses = (Stretch("sil", 0, 3), Stretch("sp", 3, 4), Stretch("bin", 4, 9))
    found = renamed(LabelledVideo("a", None, None, pauses, "a"), {"sp": "sil"})
    assert found.stretches == (Stretch("sil", 0, 4), Stretch("bin", 4, 9))


def test_streams_come_from_a_table_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "streams.csv").write_text(
        "stream,split,order,video\ns1,train,1,b\ns1,train,0,a\ns2,validation,0,a\ns3,train,0,z\n"
    )
    videos = [video("a"), video("b")]
    assert streams_of(str(tmp_path / "streams.csv"), "train", videos, 0) == [[0, 1]]
    with pytest.raises(DataError, match="no stream of test videos"):
        streams_of(str(tmp_path / "streams.csv"), "test", videos, 0)


def test_drawn_streams_hold_every_video_and_change_label_at_each_border() -> None:
    videos = [video(f"v{n}", label="xyz"[n % 3]) for n in range(9)]
    streams = streams_of(4, "train", videos, 0)
    assert [stream[0] for stream in streams] == list(range(9))
    assert {len(stream) for stream in streams} == {4}
    for stream in streams:
        labels = [n % 3 for n in stream]
        assert all(a != b for a, b in pairwise(labels))
    assert streams == streams_of(4, "train", videos, 0)
    assert streams != streams_of(4, "train", videos, 1)


def test_streams_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="more than one class"):
        streams_of(3, "train", [video("a"), video("b")], 0)
