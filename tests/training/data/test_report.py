"""A table with every kind of bad row, and what is said and done about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict
from PIL import Image

from captioner.errors import DataError
from training.data.report import KINDS, Check, Report, inspect_table, without_problems
from training.data.tables import read_table
from training.data.tokens import Tokens, tokenised

Inspected = tuple[DatasetDict, dict[str, Tokens], Report]


def inspect(source: Any, check: Check = "header", min_count: int = 1) -> Inspected:
    tables = read_table(source)
    tokens = {split: tokenised(list(table["captions"])) for split, table in tables.items()}
    return tables, tokens, inspect_table(tables, tokens, min_count=min_count, check=check)


def found(report: Report) -> set[tuple[str, str, str]]:
    return {(problem.kind, problem.split, problem.name) for problem in report.problems}


@pytest.fixture
def clean(photos: list[str], write_jsonl: Callable[..., Path]) -> str:
    splits = dict(
        zip(photos, ["train", "train", "train", "train", "validation", "test"], strict=True)
    )
    rows = [
        {"image": n, "captions": ["A dog.", "A dog runs"], "split": s} for n, s in splits.items()
    ]
    return str(write_jsonl(rows))


@pytest.fixture
def broken(photos: list[str], write_jsonl: Callable[..., Path], tmp_path: Path) -> str:
    """One good picture a split, and one row for each kind of problem."""
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (4, 30)).save(tmp_path / "narrow.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "f.png").read_bytes())
    rows = [
        ("a.png", ["A dog.", "", " ... "], "train"),
        ("gone.png", ["Gone."], "train"),
        ("text.jpg", ["Text."], "train"),
        ("narrow.png", ["Narrow."], "train"),
        ("b.png", [], "train"),
        ("c.png", [""], "train"),
        ("e.png", ["A cat."], "train"),
        ("copy.png", ["Copied."], "train"),
        ("e.png", ["A cat."], "validation"),
        ("d.png", ["A mat."], "validation"),
        ("f.png", ["The end."], "test"),
    ]
    return str(write_jsonl({"image": n, "captions": c, "split": s} for n, c, s in rows))


BROKEN = {
    ("missing", "train", "gone.png"),
    ("unreadable", "train", "text.jpg"),
    ("unreadable", "train", "narrow.png"),
    ("uncaptioned", "train", "b.png"),
    ("uncaptioned", "train", "c.png"),
    ("empty", "train", "a.png"),
    ("empty", "train", "c.png"),
    ("leak", "train", "e.png"),
    ("leak", "train", "copy.png"),
}


def test_a_clean_table_has_no_problem(clean: str) -> None:
    report = inspect(clean)[2]
    assert report.problems == []
    report.raise_for_problems()
    assert report.splits["train"].images == 4
    assert report.splits["train"].captions == 8
    assert report.splits["train"].words == (2, 2, 3)
    assert not any(title in str(report) for title in KINDS.values())


def test_every_kind_of_bad_row_is_found(broken: str) -> None:
    report = inspect(broken)[2]
    assert found(report) == BROKEN
    assert report.count("empty", "train") == 3  # two of a.png, one of c.png
    assert "the same bytes as f.png in test" in str(report.problems[-1])
    assert all(title in str(report) for title in KINDS.values())


def test_the_error_counts_the_problems_and_names_the_first(broken: str) -> None:
    with pytest.raises(DataError) as caught:
        inspect(broken)[2].raise_for_problems()
    for part in ("1 missing files: gone.png", "2 unreadable pictures", "4 x 30 pixels", "on_bad"):
        assert part in str(caught.value)


def test_the_error_of_a_wrong_folder_stays_short(
    write_jsonl: Callable[..., Path],
) -> None:
    rows = [{"image": f"{number}.png", "caption": "x"} for number in range(500)]
    report = inspect(str(write_jsonl(rows)))[2]
    with pytest.raises(DataError, match="500 missing files") as caught:
        report.raise_for_problems()
    assert str(caught.value).count(".png") == 5


def test_a_dropped_table_has_no_problem_and_keeps_everything_else(broken: str) -> None:
    tables, tokens, report = inspect(broken)
    kept, words = without_problems(tables, tokens, report)
    assert {split: list(table["filename"]) for split, table in kept.items()} == {
        "train": ["a.png"],
        "validation": ["e.png", "d.png"],
        "test": ["f.png"],
    }
    assert list(kept["train"]["captions"]) == [["A dog."]]
    assert words["train"] == [[["a", "dog"]]]
    assert inspect_table(kept, words).problems == []


def test_a_file_that_ends_too_early_needs_decoding_to_be_found(
    tmp_path: Path, draw: Callable[..., Path], clean: str
) -> None:
    data = draw(tmp_path / "whole.jpg", (64, 64)).read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert inspect(clean, "header")[2].problems == []
    assert found(inspect(clean, "decode")[2]) == {("unreadable", "train", "a.png")}


def test_no_picture_is_read_without_a_check(clean: str, tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.png").unlink()
    assert inspect(clean, "none")[2].problems == []
    assert inspect(clean, "header")[2].count("missing") == 6


def test_equal_names_in_different_folders_are_different_pictures(
    tmp_path: Path, draw: Callable[..., Path], write_jsonl: Callable[..., Path]
) -> None:
    for split, size in (("train", (20, 20)), ("validation", (24, 20)), ("test", (28, 20))):
        draw(tmp_path / split / "1.png", size)
        write_jsonl([{"image": "1.png", "caption": "One."}], f"{split}/captions.jsonl")
    source = {split: f"{split}/captions.jsonl" for split in ("train", "validation", "test")}
    assert inspect(source)[2].problems == []


def test_a_copy_within_a_split_is_counted_and_allowed(
    tmp_path: Path, write_jsonl: Callable[..., Path], photos: list[str]
) -> None:
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    splits = ["train"] * 4 + ["validation", "test"]
    rows = [{"image": n, "caption": "x", "split": s} for n, s in zip(photos, splits, strict=True)]
    report = inspect(str(write_jsonl(rows)))[2]
    assert report.problems == []
    assert report.splits["train"].duplicates == 1


def test_the_vocabulary_counts_training_words_alone(
    photos: list[str], write_jsonl: Callable[..., Path]
) -> None:
    captions = {"train": ["a dog", "a cat"], "validation": ["a bird here"], "test": ["a dog"]}
    rows = [
        {"image": name, "captions": captions[split], "split": split}
        for name, split in zip(photos, captions, strict=False)
    ]
    report = inspect(str(write_jsonl(rows)), min_count=2)[2]
    assert (report.words, report.vocabulary) == (3, 1)
    assert report.splits["validation"].unknown == pytest.approx(2 / 3)
    assert report.splits["test"].unknown == pytest.approx(1 / 2)
