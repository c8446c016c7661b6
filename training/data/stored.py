"""Tables that hold their pictures: parquet files and datasets of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict, Features, Image, Value

from captioner.errors import DataError
from training.data.formats import (
    IMAGE_COLUMNS,
    SPLIT_COLUMN,
    Row,
    caption_columns,
    caption_list,
)
from training.data.splits import TRAIN, picture_key

FEATURES = Features(
    {
        "image": Image(decode=False),
        "filename": Value("string"),
        "captions": datasets.List(Value("string")),
        "split": Value("string"),
    }
)


def load(name: str, *, cache_dir: str | Path | None, **options: Any) -> DatasetDict:
    """``datasets.load_dataset`` whose failures are a ``DataError`` with their cause in it."""
    if cache_dir is not None:
        options["cache_dir"] = str(cache_dir)
    try:
        return datasets.load_dataset(name, **options)
    except Exception as error:  # its builders raise whatever their readers run into
        cause = error.__cause__ or error
        raise DataError(f"The dataset {name!r} cannot be read: {cause}") from error


def image_column(table: Dataset) -> str | None:
    """The first column that holds pictures, as an Image, as its struct or as plain bytes."""
    for name, feature in table.features.items():
        if isinstance(feature, Image) or (isinstance(feature, dict) and "bytes" in feature):
            return str(name)
        if isinstance(feature, Value) and "binary" in feature.dtype:
            return str(name)
    return None


def with_columns(
    table: Dataset, place: str, resolve: Callable[[str | None], str | bool | None]
) -> Dataset:
    """The columns of ``FEATURES`` over the pictures of ``table``, which are not copied.

    ``resolve`` makes a row's split of what is written there, False where the row is left out.
    Rows with the same name and split become the first of them.
    """
    column = image_column(table)
    pictures = table.select_columns([column]).rename_columns({column: "image"})
    pictures = pictures.cast_column("image", Image(decode=False))
    text = table.remove_columns([column])
    columns = caption_columns(text.column_names, place)
    cells = [list(text[column]) for column in columns]
    written = list(text[SPLIT_COLUMN]) if SPLIT_COLUMN in text.column_names else [None] * len(text)
    splits = [resolve(split) for split in written]
    names, identities = _identities(pictures, text)
    first: dict[Any, int] = {}
    captions: list[list[str]] = [[] for _ in names]
    for index, key in enumerate(zip(splits, identities, strict=True)):
        if key[0] is not False:
            found = [caption for cell in cells for caption in caption_list(cell[index])]
            captions[first.setdefault(key, index)] += found
    whole = pictures.add_column("filename", names, feature=FEATURES["filename"])
    whole = whole.add_column("captions", captions, feature=FEATURES["captions"])
    whole = whole.add_column("split", [s or None for s in splits], feature=FEATURES["split"])
    return whole.select(sorted(first.values()))


def _identities(pictures: Dataset, text: Dataset) -> tuple[list[str], list[Any]]:
    """Names, and what tells two pictures apart: the name, and where it is not enough, the bytes."""
    named = (name for name in IMAGE_COLUMNS if text.features.get(name) == Value("string"))
    column = next(named, None)
    if column is not None:
        names = [str(name) for name in text[column]]
        count = Counter(names)
        if len(count) == len(names):
            return names, list(names)
        keys = {index: _key(pictures[index]) for index, name in enumerate(names) if count[name] > 1}
        return names, [(name, keys.get(index)) for index, name in enumerate(names)]
    rows = [(row["image"]["path"], _key(row)) for row in pictures]
    names = [path or f"{index:06d}" for index, (path, _) in enumerate(rows)]
    return names, [(path, key) for path, key in rows]


def _key(row: dict[str, Any]) -> str:
    return picture_key(row["image"]["bytes"], row["image"]["path"])


def rows_of(file: Path, cache_dir: str | Path | None) -> Iterator[Row]:
    """The rows of a parquet file that names its pictures instead of holding them."""
    loaded = load("parquet", data_files={TRAIN: str(file)}, cache_dir=cache_dir)
    return rows_in(loaded[TRAIN], file.name)


def rows_in(table: Dataset, place: str) -> Iterator[Row]:
    """The rows of a table that names its pictures; ``place`` is the table's name for messages."""
    name = next((name for name in IMAGE_COLUMNS if name in table.column_names), None)
    if name is None:
        raise DataError(f"{place} names no picture: its columns are {table.column_names}.")
    columns = caption_columns(table.column_names, place)
    for number, row in enumerate(table, 1):
        captions = tuple(text for column in columns for text in caption_list(row[column]))
        yield Row(str(row[name]), captions, row.get(SPLIT_COLUMN), f"{place}, row {number}")
