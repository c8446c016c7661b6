"""``python -m training export``: a checkpoint becomes a bundle that the service can open."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from captioner.bundle import open_bundle, write_bundle
from captioner.errors import DataError
from captioner.search import SearchOptions
from captioner.vision.preprocess import Preprocessing
from training.checkpoints import read_checkpoint

CARD_FIELDS = ("description", "origin", "licence", "limits", "known_failures")


def main(arguments: Sequence[str]) -> int:
    """Writes the bundle and says where and how large it is."""
    parser = argparse.ArgumentParser(prog="python -m training export", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a .ckpt that `fit` wrote")
    parser.add_argument("--card", required=True, help="YAML with " + ", ".join(CARD_FIELDS))
    parser.add_argument("--name", help="the bundle's; default: the task's")
    parser.add_argument("--version", default="1")
    parser.add_argument("--out", default="bundles", help="the folder that bundles lie in")
    parser.add_argument("--storage", default="int8", choices=("int8", "float16", "float32"))
    search = parser.add_argument_group("what emits tokens")
    search.add_argument("--num-beams", type=int, help="a search chosen on validation afterwards")
    search.add_argument("--length-penalty", type=float, help="the same; default: the training's")
    search.add_argument("--max-tokens", type=int, help="the same")
    options = parser.parse_args(arguments)
    checkpoint = read_checkpoint(options.checkpoint)
    about = checkpoint["captioner"]
    if "assets" not in about:
        raise DataError(f"A network of the task {about['task']!r} is no model to make a bundle of.")
    if about.get("crop"):
        raise DataError(
            f"{options.checkpoint!r} was trained on a crop of each clip (data.crop), which a "
            "bundle does not have yet.",
            hint="Score it with validate and test. A fixed box is preprocessing.box.",
        )
    chosen = {
        name: getattr(options, name) for name in ("num_beams", "length_penalty", "max_tokens")
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if chosen:
        about["decoding"] |= chosen
        SearchOptions(**about["decoding"])  # refuses what no search can do
    path = export(
        checkpoint,
        read_card(options.card),
        out=options.out,
        name=options.name or about["task"],
        version=options.version,
        storage=options.storage,
    )
    size = sum(file.stat().st_size for file in path.iterdir())
    bundle = open_bundle(path)
    size += bundle.encoder_path().stat().st_size if bundle.encoder_path() else 0
    print(f"{bundle.name}@{bundle.version}: {path}, {size / 2**20:.1f} MB with its encoder")
    return 0


def read_card(path: str | Path) -> dict[str, Any]:
    """What people must know about a model; every field is asked for."""
    try:
        card = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"The card {str(path)!r} cannot be read: {error}") from None
    missing = [name for name in CARD_FIELDS if not (isinstance(card, dict) and card.get(name))]
    if missing:
        raise DataError(f"The card {str(path)!r} lacks {', '.join(missing)}.")
    for name in CARD_FIELDS:
        for item in card[name] if isinstance(card[name], list) else [card[name]]:
            if not isinstance(item, str):
                raise DataError(
                    f"In the card {str(path)!r}, {name} holds {item!r}, which is no text.",
                    hint="YAML takes a colon and a space for a key: put the sentence in quotes.",
                )
    return dict(card)


def export(
    checkpoint: dict[str, Any],
    card: dict[str, Any],
    *,
    out: str | Path,
    name: str,
    version: str,
    storage: Any = "int8",
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Writes the bundle; the licence's text is the card's ``licence_text`` or its ``licence``."""
    about = checkpoint["captioner"]
    state = {
        key.removeprefix("model."): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("model.")
    }
    pictures = about.get("preprocessing")  # a task of text has none
    licence = str(card.pop("licence_text", card["licence"]))
    return write_bundle(
        out,
        name=name,
        version=version,
        task=about["task"],
        model=about["model"],
        state=state,
        assets=about["assets"],
        preprocessing=pictures and Preprocessing.from_dict(pictures),
        decoding=about["decoding"],
        metrics=metrics or about.get("metrics", {}),
        card=card,
        readme=readme(name, version, card),
        licence=licence + "\n",
        storage=storage,
    )


def readme(name: str, version: str, card: dict[str, Any]) -> str:
    """The card as a page."""
    lines = [f"# {name}@{version}", ""]
    for title in CARD_FIELDS:
        value = card[title]
        lines += [f"## {title.replace('_', ' ').capitalize()}", ""]
        lines += [f"- {item}" for item in value] if isinstance(value, list) else [str(value)]
        lines.append("")
    return "\n".join(lines)
