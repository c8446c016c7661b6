"""``python -m training score``: a bundle exactly as it is served, on a table with captions.

Decoding, resizing, search and joining are the service's own. ``--calibrate`` measures how
confidence relates to being right and stores it, with the threshold below which a caption warns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import lightning
import numpy as np
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from tqdm import tqdm

from captioner.bundle import Bundle, find_bundle
from captioner.errors import DataError
from captioner.metrics import (
    DocumentFrequency,
    caption_intervals,
    caption_scores,
    caption_set,
    cider_d,
    signature,
)
from captioner.search import SearchOptions
from captioner.tasks import CaptionTask
from captioner.tasks.options import CaptionOptions
from captioner.text.words import tokenize
from training.data.captions import CaptionDataModule
from training.data.pictures import read_bytes

BATCH = 32
BINS = 5
D = TypeVar("D", bound=lightning.LightningDataModule)
UNTRUSTED = 0.5  # a caption is not to be trusted where CIDEr is below this share of the mean


def main(arguments: Sequence[str]) -> int:
    """Prints scores with their signature."""
    parser = argparse.ArgumentParser(prog="python -m training score", description=__doc__)
    parser.add_argument("--data", required=True, help="a config's YAML, for its `data:`")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    parser.add_argument("--model", help="a bundle's name or directory")
    parser.add_argument("--num-beams", type=int, help="1 is greedy; default: the bundle's")
    parser.add_argument("--length-penalty", type=float, help="default: the bundle's")
    parser.add_argument(
        "--idf",
        default="scored",
        choices=("scored", "train"),
        help="whose n-grams weigh CIDEr: the scored captions', or the training captions'",
    )
    parser.add_argument("--out", help="writes captions and scores as JSON")
    parser.add_argument("--calibrate", action="store_true", help="stores confidence in the bundle")
    options = parser.parse_args(arguments)
    data = read_data(options.data, check="none")  # it was checked when it was trained on
    bundle = with_search(
        find_bundle("caption", options.model),
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
    )
    task, chosen = CaptionTask(bundle), CaptionOptions()
    seen = caption_set(data.references("train")) if "train" in data.tables else None
    frequency = None
    if options.idf == "train":
        frequency = DocumentFrequency.of(data.references("train"))
    results = _captions(task, data, options.split, chosen)
    candidates = [tokenize(result.caption) for result in results]
    references = data.references(options.split)
    found = caption_scores(
        candidates, references, document_frequency=frequency, training_captions=seen
    )
    intervals = caption_intervals(candidates, references, document_frequency=frequency)
    storage = bundle.description.get("storage", "float32")
    print(f"{task.model} (weights stored as {storage}), {options.split}")
    for name, value in found.items():
        low_high = "  ({:.1f} to {:.1f})".format(*intervals[name]) if name in intervals else ""
        print(f"  {name:<18}{value:8.2f}{low_high}")
    line = signature(
        references, search=task.search_options(chosen).name, document_frequency=frequency
    )
    print(f"  {line}")
    per_image = 100 * cider_d(candidates, references, frequency)[1]
    confidence = calibration(np.array([result.confidence for result in results]), per_image)
    print(f"  confidence: {json.dumps(confidence)}")
    if options.out:
        captions = [
            {"image": name, "caption": result.caption, "confidence": round(result.confidence, 4)}
            for name, result in zip(data.filenames(options.split), results, strict=True)
        ]
        Path(options.out).write_text(
            json.dumps({"scores": found, "signature": line, "captions": captions}, indent=1),
            "utf-8",
        )
    if options.calibrate:
        store(
            task.bundle.path,
            {
                "confidence": confidence,
                options.split: {name: round(value, 2) for name, value in found.items()},
                "signature": line,
            },
        )
    return 0


def read_data(path: str | Path, kind: type[D] = CaptionDataModule, **changed: Any) -> D:
    """The data module of this kind that a config describes, with some of its settings changed.

    Raises ``DataError`` for a file that is no config with data.
    """
    try:
        settings = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"The config {str(path)!r} cannot be read: {error}") from None
    data = settings.get("data") if isinstance(settings, dict) else None
    given = data.get("init_args") if isinstance(data, dict) else None
    if not isinstance(given, dict):
        raise DataError(
            f"The config {str(path)!r} has no data.",
            hint="Give the config that `fit` was given: its key data names the table.",
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "data", sub_configs=True)
    try:
        parsed = parser.parse_object({"data": given | changed})
    except ArgumentError as error:
        raise DataError(f"The data of {str(path)!r} cannot be used: {error}") from None
    module: D = parser.instantiate_classes(parsed).data
    return module


def with_search(bundle: Bundle, **changed: Any) -> Bundle:
    """The bundle as it is, searching otherwise; ``None`` leaves its own choice."""
    chosen = {name: value for name, value in changed.items() if value is not None}
    SearchOptions(**chosen)  # refuses by name what is out of range
    return replace(bundle, description=bundle.description | {"decoding": bundle.decoding | chosen})


def _captions(
    task: CaptionTask, data: CaptionDataModule, split: str, options: CaptionOptions
) -> list[Any]:
    table = data.tables[split]
    results = []
    for first in tqdm(range(0, len(table), BATCH), desc=split, unit="batch"):
        rows = [table[i] for i in range(first, min(first + BATCH, len(table)))]
        prepared = [task.prepare(read_bytes(row["image"])) for row in rows]
        results += task.caption(prepared, options)
    return results


def calibration(confidence: np.ndarray, cider: np.ndarray) -> dict[str, Any]:
    """How confidence relates to being right: mean CIDEr in bins of as many captions each.

    ``threshold``: the upper edge of the highest bin, counted from below, up to which the mean CIDEr
    stays under half of the overall mean; 0 where there is none.
    """
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, BINS * 2) if len(part)]
    rows = [
        {
            "up_to": round(float(confidence[part].max()), 4),
            "cider": round(float(cider[part].mean()), 1),
        }
        for part in bins
    ]
    threshold = 0.0
    for row in rows:
        if row["cider"] >= UNTRUSTED * float(cider.mean()):
            break
        threshold = row["up_to"]
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (confidence, cider)]
    return {
        "threshold": threshold,
        "rank_correlation": round(float(np.corrcoef(*ranks)[0, 1]), 3) if len(cider) > 1 else 0.0,
        "bins": rows,
    }


def store(path: Path, metrics: dict[str, Any]) -> None:
    """Adds what was measured to a bundle's description; its files and hashes stay."""
    manifest = path / "bundle.json"
    description = json.loads(manifest.read_text("utf-8"))
    description["metrics"] = description["metrics"] | metrics
    text = json.dumps(description, indent=1, ensure_ascii=False, sort_keys=True)
    manifest.write_text(text + "\n", "utf-8")
