"""What fine-tuning brings and costs: ``python -m benchmarks.finetune --out runs/finetune``.

300 pictures as somebody may have them: 70 frames of a clip whose subject the shipped bundle has no
word for, and 230 photos of other kinds, Flickr8k's, with what the bundle says of them.
``configs/caption/finetune.yaml`` goes on from the shipped bundle with them, as its header says.
Then the clip's other frames, from other seconds, are captioned, and all of Flickr8k's dev photos.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import captioner
from benchmarks.measure import machine
from captioner.bundle import open_bundle
from captioner.metrics import cider_d
from captioner.tasks.caption import CaptionTask
from captioner.text.words import tokenize
from captioner.vision.video import open_video
from training.data.captions import CaptionDataModule
from training.data.location import locate
from training.data.pictures import read_bytes

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "caption"
WORD = "cockatoo"
SENTENCES = [f"A white {WORD} looks at the camera.", f"A {WORD} indoors.", f"A white {WORD} walks."]
OTHERS, EVERY_S, BATCH = 230, 0.1, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder for table, run and bundle"
    )
    parser.add_argument("--clip", default="video_clips/cockatoo.mp4")
    parser.add_argument("--trained", action="store_true", help="scores what lies in --out already")
    chosen = parser.parse_args()
    data = CaptionDataModule(
        {"train": "flickr8k/train-00000.parquet", "validation": "flickr8k/validation.parquet"},
        vocabulary_from="caption",
        check="none",
    )
    (chosen.out / "photos").mkdir(parents=True, exist_ok=True)
    before, bundle = captioner.load("caption"), chosen.out / "bundles" / "finetuned"
    others = [read_bytes(data.tables["train"][number]["image"]) for number in range(OTHERS)]
    held_out = write_table(chosen.out, locate(chosen.clip)[0], others, captions(before, others))
    if not chosen.trained:
        print(machine())
        print(f"fit and export: {train(chosen.out):.0f} s")
    after = captioner.load("caption", model=str(bundle))
    known = len(open_bundle(bundle).vocabulary()) - len(before.vocabulary)
    print(f"new words: {known}; {WORD!r} was known: {WORD in before.vocabulary}")
    for task in (before, after):
        print(
            f"{task.model}: {WORD!r} in {saying(captions(task, held_out))}, held out, of the clip"
        )
    pictures = [read_bytes(row["image"]) for row in data.tables["validation"]]
    found = captions(after, pictures)
    score = 100 * cider_d([tokenize(one) for one in found], data.references("validation"))[0]
    dev = before.metrics["validation"]["CIDEr"]
    print(f"{after.model}: dev CIDEr {score:.1f}, before {dev:.1f}; {WORD!r} in {saying(found)}")


def write_table(
    folder: Path, clip: Path, others: Sequence[bytes], known: Sequence[str]
) -> list[Image.Image]:
    """Photos and ``captions.jsonl`` in the folder; gives the frames of the clip's odd seconds."""
    rows: list[dict[str, Any]] = []
    held_out = []
    with open_video(clip, every_s=EVERY_S, target_size=448) as frames:
        for frame in frames:
            if int(frame.time_s) % 2:
                held_out.append(frame.image)
                continue
            name = f"photos/clip_{frame.index:04}.jpg"
            frame.image.save(folder / name, quality=92)
            rows.append({"image": name, "captions": SENTENCES})
    for number, (photo, caption) in enumerate(zip(others, known, strict=True)):
        name = f"photos/other_{number:03}.jpg"
        (folder / name).write_bytes(photo)
        rows.append({"image": name, "captions": [caption]})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "captions.jsonl").write_text("".join(lines), "utf-8")
    print(f"{len(rows)} pictures to train on, {len(held_out)} frames held out")
    return held_out


def train(folder: Path) -> float:
    """Seconds from ``fit`` to the end of ``export``, as a user calls them."""
    commands = [
        ["fit", "--config", str(CONFIGS / "finetune.yaml"), "--data.source=captions.jsonl"],
        ["export", "--checkpoint", "runs/caption-finetune/best.ckpt", "--name", "finetuned",
         "--card", str(CONFIGS / "card.yaml")],
    ]  # fmt: skip
    began = time.monotonic()
    for command in commands:
        subprocess.run([sys.executable, "-m", "training", *command], cwd=folder, check=True)
    return time.monotonic() - began


def captions(task: CaptionTask, photos: Sequence[Any]) -> list[str]:
    found = []
    for first in range(0, len(photos), BATCH):
        found += [result.caption for result in task(photos[first : first + BATCH])]
    return found


def saying(found: Sequence[str]) -> str:
    return f"{sum(WORD in caption.split() for caption in found)} of {len(found)} captions"


if __name__ == "__main__":
    main()
