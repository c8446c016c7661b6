"""The text formats that captions come in: a file -> rows of a picture's name, captions and split.

Each reader is a generator over one file and knows nothing of where pictures lie. ``FORMATS`` lists
them; ``detect`` tells them apart by name and content.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import DataError

IMAGE_COLUMNS = ("file_name", "filename", "image", "image_name", "path")
CAPTION_COLUMNS = ("captions", "caption", "text", "comment", "sentences")
SPLIT_COLUMN = "split"
NUMBERED_CAPTION = re.compile(r"(caption|text)_?\d+")
FLICKR8K_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "validation": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}


@dataclass(frozen=True)
class Row:
    """One picture's captions, or some of them; ``place`` is for messages ("a.csv, line 3").

    ``split`` is as written in the file, None where the file does not say.
    """

    image: str
    captions: tuple[str, ...]
    split: str | None
    place: str


def read_jsonl(path: Path) -> Iterator[Row]:
    """One JSON object a line (or one JSON list of objects)."""
    if path.suffix == ".json":
        rows = _json(path)
        if not isinstance(rows, list):
            raise DataError(f"{path.name} is no list of JSON objects.")
        for number, row in enumerate(rows, 1):
            yield _row(row, f"{path.name}, entry {number}")
        return
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{place} is no JSON: {error}.") from None
            yield _row(row, place)


def read_csv(path: Path) -> Iterator[Row]:
    """A table with a header line; comma, semicolon, tab or ``|`` between the columns.

    Kaggle's ``captions.txt`` (image,caption) and Flickr30k's ``results.csv`` are such tables.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        # utf-8-sig forgets its mark at seek(0): csv then finds it in the first column's name.
        delimiter = max(",;\t|", key=header.count)
        # Flickr30k's columns stand between bars, and a quotation mark there is only a character.
        reader = csv.DictReader(
            file,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL,
            skipinitialspace=True,
            strict=True,
        )
        try:
            names = [name.strip().lstrip("\ufeff") for name in reader.fieldnames or ()]
            reader.fieldnames = names
            caption_columns(names, path.name)
            for row in reader:
                place = f"{path.name}, line {reader.line_num}"
                if None in row or None in row.values():
                    fields = sum(value is not None for key, value in row.items() if key is not None)
                    fields += len(row.get(None) or ())
                    raise DataError(
                        f"{place} has {fields} fields, the header has {len(names)}.",
                        hint=f"A caption that holds {delimiter!r} must stand in double quotes.",
                    )
                yield _row(row, place)
        except csv.Error as error:
            raise DataError(f"{path.name}, line {reader.line_num}: {error}.") from None


def read_coco(path: Path) -> Iterator[Row]:
    """COCO captions: ``images`` with an id and a file name, ``annotations`` with captions."""
    content = _json(path)
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        captions: dict[Any, list[str]] = {key: [] for key in names}
        for annotation in content["annotations"]:
            if annotation["image_id"] not in names:
                raise DataError(
                    f"{path.name}: annotation {annotation.get('id')} belongs to image "
                    f"{annotation['image_id']!r}, which the file does not list."
                )
            captions[annotation["image_id"]].append(str(annotation["caption"]))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path.name} is no COCO caption file: {_why(error)}.") from None
    for key, name in names.items():
        yield Row(name, tuple(captions[key]), None, f"{path.name}, image {key}")


def read_karpathy(path: Path) -> Iterator[Row]:
    """Karpathy's ``dataset_*.json``; ``filepath`` (COCO) goes before the file name."""
    content = _json(path)
    try:
        for number, image in enumerate(content["images"], 1):
            name = "/".join(filter(None, (image.get("filepath"), image["filename"])))
            captions = tuple(str(sentence["raw"]) for sentence in image["sentences"])
            yield Row(name, captions, image["split"], f"{path.name}, image {number}")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path.name} is no Karpathy dataset: {_why(error)}.") from None


def read_flickr8k(path: Path) -> Iterator[Row]:
    """``Flickr8k.token.txt``: ``name.jpg#0<TAB>caption``, and the split lists that lie beside it.

    Where there are lists, a picture in none of them is left out, as the dataset's authors do.
    """
    splits: dict[str, str] = {}
    lists = {split: path.parent / name for split, name in FLICKR8K_LISTS.items()}
    for split, file in lists.items():
        if file.is_file():
            names = filter(None, map(str.strip, file.read_text("utf-8").splitlines()))
            for name in names:
                if splits.setdefault(name, split) != split:
                    raise DataError(f"{name} is in the {splits[name]} and in the {split} list.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{path.name}, line {number}"
            name, tab, caption = line.rstrip("\r\n").partition("\t")
            image, mark, count = name.rpartition("#")
            if not (tab and mark and count.isdigit()):
                raise DataError(f"{place} is {line[:60]!r}, not 'name.jpg#0', a tab and a caption.")
            if not splits or image in splits:
                yield Row(image, (caption,), splits.get(image), place)


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "coco": read_coco,
    "karpathy": read_karpathy,
    "flickr8k": read_flickr8k,
    "kaggle": read_csv,
}
"""Name of a text format -> its reader. ``parquet``, ``imagefolder`` and ``hub`` are in tables."""


def detect(path: Path) -> str:
    """The format of a file, by its name and, where that is not enough, by its content."""
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix == ".parquet":
        return "parquet"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix == ".json":
        return _detect_json(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
    except UnicodeDecodeError:
        first = ""
    if re.match(r"[^\t]+#\d+\t", first):
        return "flickr8k"
    if re.match(r"image(_name)?\s*[,;|\t]", first):
        return "kaggle"
    raise DataError(
        f"The format of {path} is not known.",
        hint=f"Give it by name: {', '.join(FORMATS)}, parquet or imagefolder.",
    )


def _detect_json(path: Path) -> str:
    content = _json(path)
    if isinstance(content, list):
        return "jsonl"
    if isinstance(content, dict) and "images" in content:
        if "annotations" in content:
            return "coco"
        first = next(iter(content["images"]), None)
        if isinstance(first, dict) and "sentences" in first:
            return "karpathy"
    raise DataError(
        f"{path.name} is neither COCO captions nor a Karpathy dataset nor a list of objects.",
        hint="docs/data.md lists the formats.",
    )


def caption_columns(names: Mapping[str, Any] | list[str], place: str) -> list[str]:
    """The columns of a table that hold captions; DataError when there is none."""
    for name in CAPTION_COLUMNS:
        if name in names:
            return [name]
    numbered = sorted((n for n in names if NUMBERED_CAPTION.fullmatch(n)), key=_natural)
    if not numbered:
        raise DataError(
            f"{place} has no captions: its columns are {', '.join(names)}.",
            hint=f"Call the column {' or '.join(CAPTION_COLUMNS[:3])}.",
        )
    return numbered


def caption_list(value: Any) -> list[str]:
    """Captions out of one cell: a string, a list of strings, or of objects with ``raw``."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return caption_list(value.get("raw"))
    if isinstance(value, (list, tuple)):
        return [caption for item in value for caption in caption_list(item)]
    raise DataError(f"A caption is {value!r}, not a string.")


def _row(row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place} is no JSON object: {str(row)[:60]!r}.")
    image = next((row[name] for name in IMAGE_COLUMNS if row.get(name)), None)
    if not isinstance(image, str):
        raise DataError(
            f"{place} names no picture: it has {', '.join(map(str, row)) or 'nothing'}.",
            hint=f"Call the column {' or '.join(IMAGE_COLUMNS[:3])}.",
        )
    try:
        # A row without a caption is not a table without captions: the report tells of it.
        known = (*CAPTION_COLUMNS, *filter(NUMBERED_CAPTION.fullmatch, row))
        columns = caption_columns(row, place) if any(name in row for name in known) else []
        cells = [row[name] for name in columns]
        if len(cells) > 1:  # caption_0, caption_1, ...: a picture may have fewer than the others
            cells = [cell for cell in cells if cell]
        captions = tuple(caption for cell in cells for caption in caption_list(cell))
    except DataError as error:
        raise DataError(f"{place}: {error.message}", hint=error.hint) from None
    split = row.get(SPLIT_COLUMN)
    return Row(image, captions, None if split in (None, "") else str(split), place)


def _json(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        hint = ""
        if path.read_bytes()[:40].startswith(b"version https://git-lfs"):
            hint = "It is a Git LFS pointer: the real file was not fetched."
        raise DataError(f"{path.name} is no JSON: {error}.", hint=hint) from None


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _natural(name: str) -> tuple[str, int]:
    digits = re.search(r"\d+$", name)
    return (name.rstrip("0123456789"), int(digits.group()) if digits else -1)
