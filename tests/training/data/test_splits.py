from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.splits import (
    SplitFractions,
    assign_splits,
    picture_key,
    split_name,
    split_of_file,
)

KEYS = [f"picture {number}" for number in range(2000)]
WANTED = {"validation": 0.1, "test": 0.2}


def test_the_usual_names_of_splits_are_known_and_others_refused() -> None:
    assert [split_name(name) for name in ("Train", "restval", "val", "dev", "test")] == [
        "train",
        "train",
        "validation",
        "validation",
        "test",
    ]
    with pytest.raises(DataError, match="'holdout'"):
        split_name("holdout")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00003.parquet", "train"),
        ("captions_val2017.json", "validation"),
        ("my.test.csv", "test"),
        ("contest.csv", None),
        ("train_test.csv", None),
        ("captions.csv", None),
    ],
)
def test_a_file_name_tells_its_split_only_where_it_is_a_word_of_its_own(
    name: str, split: str | None
) -> None:
    assert split_of_file(Path(name)) == split


def test_shares_come_out_near_what_is_wanted() -> None:
    splits = assign_splits(KEYS, WANTED, seed=0)
    # Three standard deviations of a binomial of 2000 at 0.1 and 0.2 are 40 and 54.
    assert abs(splits.count("validation") - 200) < 40
    assert abs(splits.count("test") - 400) < 54


def test_a_picture_keeps_its_split_when_others_come_and_the_order_changes() -> None:
    before = dict(zip(KEYS[:1000], assign_splits(KEYS[:1000], WANTED, seed=0), strict=True))
    after = dict(zip(KEYS[::-1], assign_splits(KEYS[::-1], WANTED, seed=0), strict=True))
    assert all(after[key] == split for key, split in before.items())


def test_another_seed_gives_another_division() -> None:
    assert assign_splits(KEYS, WANTED, seed=0) != assign_splits(KEYS, WANTED, seed=1)


@pytest.mark.parametrize("seed", range(20))
def test_even_a_tiny_table_gets_every_split(seed: int) -> None:
    assert set(assign_splits(KEYS[:6], WANTED, seed)) == {"train", "validation", "test"}


def test_equal_pictures_get_equal_splits_even_in_a_tiny_table() -> None:
    for seed in range(20):
        splits = assign_splits(["a", "a", "a", "b", "b"], WANTED, seed)
        assert len(set(splits[:3])) == len(set(splits[3:])) == 1


def test_a_key_depends_on_the_bytes_and_not_on_the_name_or_where_they_are(tmp_path: Path) -> None:
    data = bytes(range(256)) * 500
    (tmp_path / "one").write_bytes(data)
    (tmp_path / "two").write_bytes(data)
    keys = {picture_key(None, str(tmp_path / name)) for name in ("one", "two")}
    assert keys == {picture_key(data, None)}
    assert picture_key(data[:-1], None) not in keys
    assert picture_key(b"x" + data[1:], None) not in keys


def test_pictures_that_are_not_there_are_told_apart_by_name() -> None:
    assert picture_key(None, "gone/a.jpg") == picture_key(None, "elsewhere/a.jpg")
    assert picture_key(None, "gone/a.jpg") != picture_key(None, "gone/b.jpg")


@pytest.mark.parametrize("fractions", [SplitFractions(0.5, 0.5), SplitFractions(-0.1, 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(fractions: SplitFractions) -> None:
    with pytest.raises(DataError, match=str(fractions.validation)):
        fractions.check()
