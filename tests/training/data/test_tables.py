"""Every format is written by the test itself and read back into the one shape."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value

from captioner.errors import DataError
from training.data.splits import SplitFractions
from training.data.stored import FEATURES
from training.data.tables import read_table

Content = dict[str, dict[str, list[str]]]

# What every format below says: split -> name -> captions.
SAID: Content = {
    "train": {
        "a.png": ["A dog, running.", "Two dogs."],
        "b.png": ["A cat."],
        "c.png": ['A "red" bus.', "Straße."],
    },
    "validation": {"d.png": ["A man ; a boat."]},
    "test": {"e.png": ["Snow.", "White snow."]},
}


def content(tables: DatasetDict) -> Content:
    for split, table in tables.items():
        assert table.features == FEATURES
        assert set(table["split"]) == {split}
    return {
        split: dict(zip(table["filename"], table["captions"], strict=True))
        for split, table in tables.items()
    }


def pictures_of(tables: DatasetDict) -> dict[str, Path]:
    rows = [row for table in tables.values() for row in table]
    return {row["filename"]: Path(row["image"]["path"]) for row in rows}


def as_rows(split_name: Callable[[str], str] = str) -> list[tuple[str, str, str]]:
    """(split, picture, caption), the captions of one picture not next to each other."""
    rows = [
        (number, (split_name(split), name, caption))
        for split, images in SAID.items()
        for name, captions in images.items()
        for number, caption in enumerate(captions)
    ]
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def write_csv(path: Path, header: list[str], rows: list[tuple[str, ...]], mark: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=mark).writerows([header, *rows])
    return path


# ---- one test a format


def test_jsonl_with_a_list_of_captions(
    photos: list[str], write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [
        {"image": name, "captions": captions, "split": split}
        for split, images in SAID.items()
        for name, captions in images.items()
    ]
    tables = read_table(str(write_jsonl(rows)))
    assert content(tables) == SAID
    assert pictures_of(tables) == {
        name: tmp_path / name for name in ["a.png", "b.png", "c.png", "d.png", "e.png"]
    }
    assert all(row["image"]["bytes"] is None for table in tables.values() for row in table)


def test_jsonl_with_a_row_for_every_caption(
    photos: list[str], write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"file_name": n, "caption": c, "split": s} for s, n, c in as_rows()]
    assert content(read_table(str(write_jsonl(rows)))) == SAID


def test_a_json_list_of_objects(photos: list[str], tmp_path: Path) -> None:
    rows = [{"file_name": n, "text": c, "split": s} for s, n, c in as_rows()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert content(read_table("rows.json")) == SAID


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_with_quoted_marks(photos: list[str], tmp_path: Path, mark: str) -> None:
    rows = [(name, split, caption) for split, name, caption in as_rows()]
    write_csv(tmp_path / "t.csv", ["image", "split", "caption"], rows, mark)
    assert content(read_table("t.csv")) == SAID


def test_csv_from_a_spreadsheet_with_a_byte_order_mark(photos: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,caption,split\r\na.png,Ein Hund,train\r\n", "utf-8-sig")
    tables = read_table("t.csv", fractions=SplitFractions(0, 0))
    assert content(tables) == {"train": {"a.png": ["Ein Hund"]}}


def test_csv_with_numbered_captions_of_which_some_are_blank(
    photos: list[str], tmp_path: Path
) -> None:
    header = ["filename", "caption_10", "caption_9", "split"]
    rows = [
        (name, captions[1] if len(captions) > 1 else "", captions[0], split)
        for split, images in SAID.items()
        for name, captions in images.items()
    ]
    write_csv(tmp_path / "t.csv", header, rows)
    assert content(read_table("t.csv")) == SAID


def test_flickr30k_results(photos: list[str], tmp_path: Path) -> None:
    lines = ["image_name| comment_number| comment", 'a.png| 0| A "dog , runs .', "a.png| 1| Dogs ."]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    tables = read_table("results.csv", fractions=SplitFractions(0, 0))
    assert content(tables) == {"train": {"a.png": ['A "dog , runs .', "Dogs ."]}}


def test_parquet_holding_the_pictures(photos: list[str], tmp_path: Path) -> None:
    for split, images in SAID.items():
        whole = {
            "image": [{"bytes": (tmp_path / name).read_bytes(), "path": None} for name in images],
            "filename": list(images),
            "captions": list(images.values()),
            "split": [split] * len(images),
        }
        Dataset.from_dict(whole).to_parquet(tmp_path / "table" / f"{split}.parquet")
    for source in ("table", "table/*.parquet", {s: f"table/{s}.parquet" for s in SAID}):
        tables = read_table(source)
        assert content(tables) == SAID
        for table in tables.values():
            for row in table:
                assert row["image"]["bytes"] == (tmp_path / row["filename"]).read_bytes()


def test_parquet_shards_tell_their_split_by_their_names(photos: list[str], tmp_path: Path) -> None:
    for split, images in SAID.items():
        for number, (name, captions) in enumerate(images.items()):
            data = (tmp_path / name).read_bytes()
            columns = {"image": [data], "file_name": [name], "captions": [captions]}
            Dataset.from_dict(columns).to_parquet(tmp_path / f"{split}-{number}.parquet")
    assert content(read_table("*.parquet")) == SAID


def test_parquet_with_a_row_for_every_caption_and_no_names(
    photos: list[str], tmp_path: Path
) -> None:
    columns = {
        "image": [{"bytes": (tmp_path / n).read_bytes(), "path": None} for _, n, _ in as_rows()],
        "text": [caption for _, _, caption in as_rows()],
        "split": [split for split, _, _ in as_rows()],
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "t.parquet")
    found = {
        split: list(images.values()) for split, images in content(read_table("t.parquet")).items()
    }
    assert found == {split: list(images.values()) for split, images in SAID.items()}


def test_different_pictures_of_one_name_are_not_merged(photos: list[str], tmp_path: Path) -> None:
    columns = {
        "image": [{"bytes": (tmp_path / n).read_bytes(), "path": "image.png"} for n in photos],
        "caption": [f"Picture {name}" for name in photos],
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "t.parquet")
    assert len(read_table("t.parquet", fractions=SplitFractions(0, 0))["train"]) == len(photos)


def test_coco_captions_with_the_pictures_in_another_folder(
    tmp_path: Path, draw: Callable[[Path], Path]
) -> None:
    for split, images in SAID.items():
        for name in images:
            draw(tmp_path / "train2014" / name)
        file = {
            "images": [{"id": 7 + n, "file_name": name} for n, name in enumerate(images)],
            "annotations": [
                {"id": 100 * n + m, "image_id": 7 + n, "caption": caption}
                for n, captions in enumerate(images.values())
                for m, caption in enumerate(captions)
            ],
        }
        path = tmp_path / "annotations" / f"captions_{split}2014.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(file))
    tables = read_table("annotations/captions_*2014.json", images="train2014")
    assert content(tables) == SAID
    assert all(path.is_file() for path in pictures_of(tables).values())
    given = {"train": "annotations/captions_train2014.json", "val": "annotations/*validation*"}
    tables = read_table(given, images="train2014")
    assert content(tables) == {split: SAID[split] for split in ("train", "validation")}


def test_karpathy_takes_restval_for_training(photos: list[str], tmp_path: Path) -> None:
    names = {"train": "train", "validation": "val", "test": "test"}
    images = [
        {
            "filename": name,
            "filepath": "pictures",
            "imgid": 0,
            "split": "restval" if name == "b.png" else names[split],
            "sentences": [{"raw": caption, "tokens": ["wrong"]} for caption in captions],
        }
        for split, of_split in SAID.items()
        for name, captions in of_split.items()
    ]
    (tmp_path / "dataset_own.json").write_text(json.dumps({"dataset": "own", "images": images}))
    wanted = {
        split: {f"pictures/{name}": captions for name, captions in of_split.items()}
        for split, of_split in SAID.items()
    }
    assert content(read_table("dataset_own.json")) == wanted


def test_flickr8k_with_its_lists_leaves_out_what_is_in_none(
    tmp_path: Path, draw: Callable[[Path], Path]
) -> None:
    lists = {"train": "train", "validation": "dev", "test": "test"}
    lines = []
    for split, images in SAID.items():
        (tmp_path / f"Flickr_8k.{lists[split]}Images.txt").write_text("\n".join(images) + "\n")
        for name, captions in images.items():
            draw(tmp_path / "Flicker8k_Dataset" / name)
            lines += [f"{name}#{number}\t{caption}" for number, caption in enumerate(captions)]
    lines.append("stray.jpg.1#0\tNo picture has this name .")
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines), "utf-8")
    for source in ("Flickr8k.token.txt", "."):
        tables = read_table(source)
        assert content(tables) == SAID
        assert all(path.is_file() for path in pictures_of(tables).values())


def test_kaggle_captions_beside_a_folder_of_images(
    tmp_path: Path, draw: Callable[[Path], Path]
) -> None:
    rows = [(name, caption) for _, name, caption in as_rows()]
    write_csv(tmp_path / "captions.txt", ["image", "caption"], rows)
    for _, name, _ in as_rows():
        draw(tmp_path / "Images" / name)
    tables = read_table("captions.txt")
    assert {k: v for images in content(tables).values() for k, v in images.items()} == {
        k: v for images in SAID.values() for k, v in images.items()
    }
    assert all(path.is_file() for path in pictures_of(tables).values())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_imagefolder_with_a_folder_for_every_split(
    tmp_path: Path, draw: Callable[[Path], Path], kind: str
) -> None:
    wanted: Content = {}
    for split, images in SAID.items():
        folder = tmp_path / "photos" / split
        rows = [(name, caption) for name, captions in images.items() for caption in captions]
        for name in images:
            draw(folder / name)
        if kind == "csv":
            write_csv(folder / "metadata.csv", ["file_name", "text"], rows)
        elif kind == "parquet":
            columns = {"file_name": [n for n, _ in rows], "text": [c for _, c in rows]}
            Dataset.from_dict(columns).to_parquet(folder / "metadata.parquet")
        else:
            lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
            (folder / "metadata.jsonl").write_text("\n".join(lines))
        wanted[split] = {f"{split}/{name}": captions for name, captions in images.items()}
    tables = read_table("photos")
    assert content(tables) == wanted
    assert all(path.is_file() for path in pictures_of(tables).values())


def test_imagefolder_without_splits_is_divided(
    tmp_path: Path, draw: Callable[[Path], Path]
) -> None:
    names = [f"{number}.png" for number in range(20)]
    for name in names:
        draw(tmp_path / "my-test-photos" / name)
    rows = "\n".join(json.dumps({"file_name": n, "text": [n, "x"]}) for n in names)
    (tmp_path / "my-test-photos" / "metadata.jsonl").write_text(rows)
    tables = read_table("my-test-photos", format="imagefolder")
    assert set(tables) == {"train", "validation", "test"}
    assert sum(map(len, tables.values())) == 20


def test_a_hub_name_is_given_to_datasets_as_it_is(photos: list[str], tmp_path: Path) -> None:
    """A local repository stands for one of the hub: load_dataset takes both."""
    features = Features({"image": Image(), "caption": List(Value("string"))})
    for split, images in SAID.items():
        columns = {
            "image": [{"bytes": (tmp_path / n).read_bytes(), "path": n} for n in images],
            "caption": list(images.values()),
        }
        whole = Dataset.from_dict(columns, features=features)
        whole.to_parquet(tmp_path / "repository" / "data" / f"{split}-00000.parquet")
    tables = read_table("hf://" + str(tmp_path / "repository"))
    assert content(tables) == SAID  # the pictures' own file names


def test_a_split_column_is_believed_before_the_hubs_split(
    photos: list[str], tmp_path: Path
) -> None:
    """nlphuji/flickr30k is one "test" split with a column that says train, val and test."""
    columns = {
        "image": [{"bytes": (tmp_path / n).read_bytes(), "path": n} for _, n, _ in as_rows()],
        "caption": [[caption] for _, _, caption in as_rows()],
        "split": [{"validation": "val"}.get(split, split) for split, _, _ in as_rows()],
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "repository" / "test-00000.parquet")
    assert content(read_table("hf://" + str(tmp_path / "repository"))) == SAID


# ---- splits


def test_a_table_without_splits_is_divided_the_same_way_each_time_and_wherever_it_lies(
    tmp_path: Path, draw: Callable[[Path], Path], write_jsonl: Callable[..., Path]
) -> None:
    rows = []
    for number in range(60):
        (tmp_path / "there").mkdir(exist_ok=True)
        data = draw(tmp_path / "here" / f"{number}.png").read_bytes()
        (tmp_path / "there" / f"{number}.png").write_bytes(data)
        rows.append({"image": f"{number}.png", "caption": "x"})
    here = content(read_table(str(write_jsonl(rows, "here/t.jsonl"))))
    there = content(read_table(str(write_jsonl(rows[::-1], "there/t.jsonl"))))
    assert {s: set(images) for s, images in here.items()} == {
        s: set(images) for s, images in there.items()
    }
    other = read_table("here/t.jsonl", fractions=SplitFractions(seed=1))
    assert set(other["test"]["filename"]) != set(here["test"])


def test_copies_of_a_picture_under_other_names_stay_in_one_split(
    tmp_path: Path, draw: Callable[[Path], Path], write_jsonl: Callable[..., Path]
) -> None:
    rows = []
    for number in range(30):
        data = draw(tmp_path / f"{number}.png").read_bytes()
        (tmp_path / f"copy-{number}.png").write_bytes(data)
        rows += [{"image": f"{n}{number}.png", "caption": "x"} for n in ("", "copy-")]
    tables = read_table(str(write_jsonl(rows)), fractions=SplitFractions(0.3, 0.3))
    for names in (set(table["filename"]) for table in tables.values()):
        assert {name.removeprefix("copy-") for name in names} <= names


def test_validation_is_taken_out_of_training_where_only_it_is_missing(
    photos: list[str], write_jsonl: Callable[..., Path]
) -> None:
    split = {"f.png": "test"}
    rows = [{"image": n, "caption": "x", "split": split.get(n, "train")} for n in photos]
    tables = read_table(str(write_jsonl(rows)))
    assert tables["test"]["filename"][:] == ["f.png"]
    assert len(tables["validation"]) >= 1
    assert len(tables["train"]) + len(tables["validation"]) == 5


def test_a_mapping_never_takes_rows_that_say_another_split(
    photos: list[str], write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"image": n, "caption": c, "split": s} for s, n, c in as_rows()]
    path = str(write_jsonl(rows))
    assert content(read_table({"train": path, "dev": path})) == {
        "train": SAID["train"],
        "validation": SAID["validation"],
    }
    with pytest.raises(DataError, match=r"table\.jsonl has no rows for the split validation"):
        read_table({"validation": str(write_jsonl([rows[0]]))})


def test_some_pictures_with_and_some_without_a_split_are_refused(
    photos: list[str], write_jsonl: Callable[..., Path]
) -> None:
    rows = [
        {"image": "a.png", "caption": "x", "split": "train"},
        {"image": "b.png", "caption": "x"},
    ]
    with pytest.raises(DataError, match=r"1 of 2 pictures have no split: b\.png"):
        read_table(str(write_jsonl(rows)))


# ---- what is refused, with the file and line in the message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", '{"image": "a.png", "caption": "x"}\n{"image"', r"t\.jsonl, line 2 is no JSON"),
        ("t.jsonl", '{"caption": "x"}', r"line 1 names no picture: it has caption"),
        ("t.jsonl", '{"image": "a.png", "caption": 3}', r"line 1: A caption is 3"),
        ("t.jsonl", '{"image": "a.png", "label": 3}', r"no caption in the table"),
        ("t.jsonl", "[1]", r"line 1 is no JSON object"),
        (
            "t.jsonl",
            '{"image": "a", "caption": "x", "split": "odd"}',
            r"line 1: There is no split 'odd'",
        ),
        (
            "t.csv",
            "image,title\na.png,x\n",
            r"t\.csv has no captions: its columns are image, title",
        ),
        ("t.csv", "image,caption\na.png,x, y\n", r"t\.csv, line 2 has 3 fields, the header has 2"),
        ("t.csv", "image,caption\na.png\n", r"t\.csv, line 2 has 1 fields, the header has 2"),
        ("t.json", '{"images": []}', r"neither COCO captions nor a Karpathy dataset"),
        ("t.json", "version https://git-lfs.github.com/spec/v1", r"Git LFS pointer"),
        (
            "t.json",
            '{"images": [{"id": 1}], "annotations": []}',
            r"no COCO caption file: 'file_name'",
        ),
        ("t.csv", "image,caption\n", r"t\.csv has no rows\."),
        ("t.txt", "hello\n", r"The format of .*t\.txt is not known"),
        ("t.parquet", "hello\n", r"cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(name)


def test_an_annotation_of_no_image_is_refused(tmp_path: Path) -> None:
    file = {"images": [], "annotations": [{"id": 5, "image_id": 9, "caption": "x"}]}
    (tmp_path / "t.json").write_text(json.dumps(file))
    with pytest.raises(DataError, match="annotation 5 belongs to image 9"):
        read_table("t.json", format="coco")


def test_a_format_and_a_folder_that_are_not_known_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no table"):
        read_table("empty")
    with pytest.raises(DataError, match="No table is given"):
        read_table([])
    with pytest.raises(DataError, match="no table format 'xlsx'"):
        read_table("empty", format="xlsx")
