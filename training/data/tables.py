"""Any table of pictures and captions -> one shape, split by picture.

A ``datasets.DatasetDict`` by split, one row a picture, with the columns of ``FEATURES``: the
picture as bytes or as a path (not decoded), its name, all its captions, its split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import datasets
from datasets import Dataset, DatasetDict

from captioner.errors import DataError
from training.data.formats import FORMATS, Row, detect
from training.data.location import locate
from training.data.splits import (
    NAMES,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    SplitFractions,
    assign_splits,
    picture_key,
    split_name,
    split_of_file,
)
from training.data.stored import FEATURES, image_column, load, rows_in, rows_of, with_columns

Files = str | Sequence[str]
Source = Files | Mapping[str, Files]

HUB = "hf://"
IMAGEFOLDER = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
# What a folder given as the source is searched for, where it is no imagefolder.
IN_FOLDER = ("*.parquet", "Flickr8k.token.txt", "captions.txt", "dataset*.json")
# Where pictures lie, relative to their table; the last two are Flickr8k's own.
PICTURES = (".", "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")


@dataclass(frozen=True)
class _Part:
    """Files of one source entry; ``declared`` when the user, not a file name, says the split."""

    files: tuple[Path, ...]
    split: str | None
    declared: bool

    def resolve(
        self, written: str | None, by_folder: str | None = None
    ) -> str | Literal[False] | None:
        """The split of a row, None for none, False for one that the user's mapping leaves out."""
        own = split_name(written) if written else by_folder
        if self.declared:
            return self.split if own in (None, self.split) else False
        return own or self.split


def read_table(
    source: Source,
    *,
    format: str = "auto",
    images: str | None = None,
    fractions: SplitFractions | None = None,
    cache_dir: str | Path | None = None,
    folders: Sequence[Path] | None = None,
) -> DatasetDict:
    """Pictures and captions by split, with the columns of ``FEATURES``.

    ``source``: a path, a glob, a folder, several of them, or a mapping from split to them;
    ``hf://owner/name`` (or ``hf://owner/name@revision``) is loaded from the hub. Paths are looked
    up as ``location.locate`` says. ``format``: one of ``FORMATS``, ``parquet``, ``imagefolder`` or
    ``auto``. ``images``: the folder of the pictures, where it is not the table's own or one named
    in ``PICTURES`` beside it.

    The split comes, in this order, from the rows themselves, from the mapping (which then keeps
    only rows that do not contradict it), or from the names of several files. A table without
    splits is divided by ``fractions`` and a hash of each picture; one without validation pictures
    gives some of its training pictures. Rows of the same picture and split become one.

    Raises ``DataError`` naming the file, and the line where there is one.
    """
    fractions = fractions or SplitFractions()
    fractions.check()
    if format not in (*FORMATS, "parquet", "imagefolder", "auto"):
        known = ", ".join(("auto", *FORMATS, "parquet", "imagefolder"))
        raise DataError(f"There is no table format {format!r}.", hint=f"There are {known}.")
    folder = locate(images, folders)[0] if images else None
    pieces: list[Dataset] = []
    rows: list[tuple[Row, str]] = []
    for entry in _parts(source, format, folders):
        if isinstance(entry, str):
            pieces += _from_hub(entry, cache_dir)
            continue
        found = list(_read_part(entry, format, folder, cache_dir))
        kept = [item for item in found if isinstance(item, Dataset)]
        lines = [item for item in found if not isinstance(item, Dataset)]
        if not sum(map(len, kept)) + len(lines):
            names = ", ".join(file.name for file in entry.files)
            of_split = f" for the split {entry.split}" if entry.declared else ""
            raise DataError(f"{names} has no rows{of_split}.")
        pieces += kept
        rows += lines
    if rows:
        pieces.append(_from_rows(rows))
    if not pieces:
        raise DataError("No table is given.", hint="Set the source to a path.")
    whole = datasets.concatenate_datasets(pieces) if len(pieces) > 1 else pieces[0]
    return _divide(whole, fractions)


# ---- sources


def _parts(source: Source, format: str, folders: Sequence[Path] | None) -> Iterator[_Part | str]:
    """The source's parts in order; a hub name stays a string."""
    if isinstance(source, Mapping):
        for name, named_files in source.items():
            for part in _parts(named_files, format, folders):
                if isinstance(part, str):
                    raise DataError(
                        f"A dataset of the hub ({part}) brings its own splits.",
                        hint="Give it as the source itself, not under a split.",
                    )
                yield replace(part, split=split_name(name), declared=True)
        return
    patterns = [source] if isinstance(source, str) else list(source)
    yield from (pattern for pattern in patterns if pattern.startswith(HUB))
    files: list[Path] = []
    for pattern in patterns:
        if not pattern.startswith(HUB):
            for path in locate(pattern, folders):
                files += _in_folder(path, format) if path.is_dir() else [path]
    named = [split_of_file(file) for file in files]
    if len(files) > 1 and all(named):
        for split in dict.fromkeys(named):
            chosen = tuple(f for f, name in zip(files, named, strict=True) if name == split)
            yield _Part(chosen, split, declared=False)
    elif files:
        yield _Part(tuple(files), None, declared=False)


def _in_folder(folder: Path, format: str) -> list[Path]:
    """The tables in a folder. An imagefolder's are found at any depth, beside their pictures."""
    metadata = sorted(file for name in IMAGEFOLDER for file in folder.glob(f"**/{name}"))
    if metadata:
        return metadata
    if format != "imagefolder":
        for pattern in IN_FOLDER:
            if found := sorted(folder.glob(pattern)):
                return found
    raise DataError(
        f"The folder {folder} holds no table that is known.",
        hint=f"Name the file with the captions, or put {' or '.join(IMAGEFOLDER[:2])} beside the "
        "pictures.",
    )


def _read_part(
    part: _Part, format: str, images: Path | None, cache_dir: str | Path | None
) -> Iterator[Dataset | tuple[Row, str]]:
    """Datasets that hold pictures, and rows with the path of theirs."""
    shards: list[str] = []
    for file in part.files:
        chosen = detect(file) if format in ("auto", "imagefolder") else format
        # An imagefolder says the split by a folder's name, as in train/metadata.jsonl.
        metadata = file.name in IMAGEFOLDER
        by_folder = NAMES.get(file.parent.name.lower()) if metadata else None
        if chosen == "parquet" and not metadata:
            shards.append(str(file))
        else:
            rows = rows_of(file, cache_dir) if chosen == "parquet" else FORMATS[chosen](file)
            yield from _located(rows, file, images, part, by_folder)
    if not shards:
        return
    loaded = load("parquet", data_files={TRAIN: shards}, cache_dir=cache_dir)[TRAIN]
    if image_column(loaded) is None:
        first = Path(shards[0])
        yield from _located(rows_in(loaded, first.name), first, images, part, None)
    elif len(named := with_columns(loaded, Path(shards[0]).name, part.resolve)):
        yield named


def _from_hub(name: str, cache_dir: str | Path | None) -> Iterator[Dataset]:
    path, _, revision = name.removeprefix(HUB).partition("@")
    for split, loaded in load(path, revision=revision or None, cache_dir=cache_dir).items():
        if image_column(loaded) is None:
            raise DataError(f"{name} has no pictures: its columns are {loaded.column_names}.")
        part = _Part((Path(path),), split_name(split), declared=False)
        # Datasets without splits of their own come as "train", or as "test" with a split column.
        yield with_columns(loaded, path, part.resolve)


# ---- rows that name their pictures


def _located(
    rows: Iterable[Row], file: Path, images: Path | None, part: _Part, by_folder: str | None
) -> Iterator[tuple[Row, str]]:
    """Rows with their split's usual name, and the path of their picture."""
    rows = list(rows)
    names = [row.image for row in rows]
    folder = images or _picture_folder(names, file.parent)
    prefix = f"{file.parent.name}/" if by_folder and not images else ""
    for row in rows:
        try:
            split = part.resolve(row.split, by_folder)
        except DataError as error:
            raise DataError(f"{row.place}: {error.message}", hint=error.hint) from None
        if split is not False:
            path = Path(row.image)
            full = path if path.is_absolute() else folder / path
            yield replace(row, split=split, image=prefix + row.image), str(full)


def _picture_folder(names: Sequence[str], beside: Path) -> Path:
    sample = names[:: max(1, len(names) // 50)]
    places = [beside / place for place in PICTURES]
    return max(places, key=lambda place: sum((place / name).is_file() for name in sample))


def _from_rows(rows: Sequence[tuple[Row, str]]) -> Dataset:
    grouped: dict[tuple[str | None, str], tuple[str, list[str]]] = {}
    for row, path in rows:
        _, captions = grouped.setdefault((row.split, path), (row.image, []))
        captions.extend(row.captions)
    if not any(captions for _, captions in grouped.values()):
        raise DataError(
            f"There is no caption in the table ({rows[0][0].place} is its first row).",
            hint="Call the column captions, caption or text.",
        )
    return Dataset.from_dict(
        {
            "image": [{"bytes": None, "path": path} for _, path in grouped],
            "filename": [name for name, _ in grouped.values()],
            "captions": [captions for _, captions in grouped.values()],
            "split": [split for split, _ in grouped],
        },
        features=FEATURES,
    )


# ---- splits


def _divide(whole: Dataset, fractions: SplitFractions) -> DatasetDict:
    splits = list(whole["split"])
    unknown = [index for index, split in enumerate(splits) if split is None]
    if unknown and len(unknown) < len(splits):
        names = whole.select(unknown[:3])["filename"]
        raise DataError(
            f"{len(unknown)} of {len(splits)} pictures have no split: {', '.join(names)}, ...",
            hint="Give all of them a split, or none.",
        )
    wanted: dict[str, float] = {}
    if unknown or set(splits) == {TRAIN}:
        wanted = {VALIDATION: fractions.validation, TEST: fractions.test}
    elif TRAIN in splits and VALIDATION not in splits:
        wanted = {VALIDATION: fractions.validation}
    if wanted:
        free = [index for index, split in enumerate(splits) if split in (None, TRAIN)]
        pictures = whole.select_columns(["image"]).select(free)
        keys = [picture_key(row["image"]["bytes"], row["image"]["path"]) for row in pictures]
        for index, split in zip(free, assign_splits(keys, wanted, fractions.seed), strict=True):
            splits[index] = split
        whole = whole.remove_columns(["split"]).add_column(
            "split", splits, feature=FEATURES["split"]
        )
    return DatasetDict(
        {
            name: whole.select([i for i, split in enumerate(splits) if split == name])
            for name in SPLITS
            if name in splits
        }
    )
