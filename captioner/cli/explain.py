"""``captioner explain``: where the network looked, word by word."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from captioner.errors import DataError


def add(commands: Any) -> None:
    """The command's arguments."""
    explain = commands.add_parser("explain", help="where the network looked, word by word")
    explain.add_argument("photo", metavar="PHOTO")
    explain.add_argument("--out", required=True, metavar="FILE.png")
    explain.add_argument("--num-beams", type=int)
    explain.add_argument("--model", help="a bundle's name or directory")
    explain.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes one picture."""
    from captioner.explain.attention import attention_figure
    from captioner.tasks import load
    from captioner.tasks.options import CaptionOptions
    from captioner.vision.image import read_image

    target = Path(options.out)
    if target.suffix.lower() != ".png":
        raise DataError(f"--out is {options.out!r}; it must end in .png.")
    if not os.path.isdir(target.parent):
        raise DataError(f"There is no folder {str(target.parent)!r} for {target.name!r}.")
    if os.path.isdir(target):
        raise DataError(f"--out is the folder {options.out!r}.", hint="Give a file in it.")
    task = load("caption", model=options.model)
    chosen = CaptionOptions(num_beams=options.num_beams, attention=True).check()
    result = task.caption([task.open(options.photo)], chosen)[0]
    words = result.captions[0].words
    if any(word.weights is None for word in words):
        raise DataError(f"{task.model} has no attention: it sees a photo as one vector.")
    weights = [[value for row in word.weights or [] for value in row] for word in words]
    picture = read_image(options.photo, target_size=512).image
    left, top, right, bottom = task.preprocessing.seen(picture.width, picture.height)
    wide, high = picture.size
    picture = picture.crop(
        (round(left * wide), round(top * high), round(right * wide), round(bottom * high))
    )
    attention_figure(picture, [word.text for word in words], weights).save(target)
    print(f"{result.caption}\n{target}")
    return 0
