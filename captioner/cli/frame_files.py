"""The files that become of videos: which ones, under which names, whole or not at all."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from captioner.cli.files import name_of
from captioner.errors import DataError

FORMATS = ("json", "ndjson", "vtt", "srt", "csv")  # of tasks.frame_formats, which needs torch
OVERLAYS = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Wanted:
    """Where the labels of one video go."""

    video: str
    name: str
    labels: str | None = None
    overlay: str | None = None
    strip: str | None = None

    def missing(self) -> bool:
        """Whether any of its files is not there yet."""
        files = (self.labels, self.overlay, self.strip)
        return not all(file is None or os.path.isfile(file) for file in files)


def wanted_of_one(options: argparse.Namespace, video: str) -> Wanted:
    """Of one video; raises DataError for files that cannot be written, or are the video itself."""
    endings = (
        ("--out", options.out, [f".{name}" for name in FORMATS]),
        ("--overlay", options.overlay, list(OVERLAYS)),
        ("--strip", options.strip, [".png"]),
    )
    for option, file, suffixes in endings:
        if file is None:
            continue
        if Path(file).suffix.lower() not in suffixes:
            raise DataError(f"{option} is {file!r}; it must end in {' '.join(suffixes)}.")
        if os.path.isdir(file):
            raise DataError(f"{option} is the folder {file!r}.", hint="Give a file in it.")
        folder, name = os.path.split(file)
        if not os.path.isdir(folder or "."):
            raise DataError(f"There is no folder {folder!r} for {name!r}.")
        if os.path.exists(video) and os.path.exists(file) and os.path.samefile(video, file):
            raise DataError(f"{option} is the video itself.", hint="Give another file.")
    return Wanted(video, video, options.out, options.overlay, options.strip)


def wanted_of_many(
    options: argparse.Namespace, videos: Sequence[str]
) -> tuple[list[Wanted], str | None]:
    """What each video is to become, and the one file of lines, where that is wanted.

    Makes the folders. Raises DataError for a file where a folder is needed.
    """
    lines = options.out if options.out and Path(options.out).suffix.lower() == ".jsonl" else None
    folder = None if lines else options.out
    if options.format and not folder:
        raise DataError(
            f"--format is {options.format!r}, for {len(videos)} videos.",
            hint="Give --out a folder with it.",
        )
    for option, place in (
        ("--out", folder),
        ("--overlay", options.overlay),
        ("--strip", options.strip),
    ):
        if place is not None and not os.path.isdir(place):
            if os.path.exists(place) or Path(place).suffix:
                raise DataError(
                    f"{option} is {place!r}, one file for {len(videos)} videos.",
                    hint="Give a folder" + (", or a file .jsonl." if option == "--out" else "."),
                )
            os.makedirs(place)
    if options.overlay and any(_lies_in(options.overlay, path) for path in options.videos):
        raise DataError(
            f"--overlay is {options.overlay!r}, in a folder of videos to label.",
            hint="The next run would label them, too: give another folder.",
        )
    kind = options.format or "json"
    return [
        Wanted(
            video,
            name_of(video, options.out) if options.out and lines else video,
            folder and os.path.join(folder, f"{own}.{kind}"),
            options.overlay and os.path.join(options.overlay, f"{own}.mp4"),
            options.strip and os.path.join(options.strip, f"{own}.png"),
        )
        for video, own in zip(videos, _own_names(options.videos, videos), strict=True)
    ], lines


@contextmanager
def new_file(path: str | None, kind: str | None) -> Iterator[IO[str] | None]:
    """The file to write, which takes its name once it is whole; without one, standard output."""
    if kind is None:
        yield None
    elif path is None:
        yield sys.stdout
    else:
        with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
            yield file


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """A name to write under; what is whole then takes the place of ``path``."""
    folder, name = os.path.split(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    stem, suffix = os.path.splitext(name)
    partial = os.path.join(folder, f"{stem}.partial{suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.remove(partial)
        raise


def _own_names(given: Sequence[str], videos: Sequence[str]) -> list[str]:
    """Each video's path below what was given, without its ending where that leaves it alone."""
    folders = [path if os.path.isdir(path) else os.path.dirname(path) or "." for path in given]
    root = os.path.commonpath([os.path.realpath(folder) for folder in folders])
    paths = [
        os.path.relpath(os.path.join(os.path.realpath(folder), file), root)
        for folder, file in (os.path.split(video) for video in videos)
    ]
    stems = [os.path.splitext(path)[0] for path in paths]
    return [
        stem if stems.count(stem) == 1 else path for path, stem in zip(paths, stems, strict=True)
    ]


def _lies_in(path: str, folder: str) -> bool:
    if not os.path.isdir(folder):
        return False
    whole = os.path.realpath(folder)
    return os.path.commonpath([os.path.realpath(path), whole]) == whole
