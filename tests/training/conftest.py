"""A table of generated pictures that a captioner can learn: a colour and a shape."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "circle")


def draw(colour: str, shape: str, number: int) -> Image.Image:
    picture = Image.new("RGB", (64, 64), (200 + number % 40, 200, 190 + number % 50))
    shift = number * 5 % 20
    box = (8 + shift, 10 + shift // 2, 40 + shift, 42 + shift // 2)
    pen = ImageDraw.Draw(picture)
    (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
    return picture


def write_table(folder: Path, colours: dict[str, str], per_kind: int = 6) -> Path:
    """``colours``: what a colour is called in the captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for colour, called in colours.items():
        for shape in SHAPES:
            for number in range(per_kind):
                name = f"{colour}_{shape}_{number}.png"
                draw(colour, shape, number).save(folder / name)
                split = "validation" if number == per_kind - 1 else "train"
                rows.append((name, f"A {called} {shape}.", split))
                rows.append((name, f"a {called} {shape} alone", split))
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption", "split"))
        writer.writerows(rows)
    return folder / "captions.csv"


@pytest.fixture(scope="session")
def shapes_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("shapes"), {"red": "red", "green": "green"})
