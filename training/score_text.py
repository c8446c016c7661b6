"""``python -m training score-text``: a translator's or a character model's bundle on its data.

- ``--task translate``: BLEU and chrF2 of sacrebleu with their signatures, of the translations that
  the service gives, blank to detokenised text. ``--tune`` tries beams and length penalties;
  ``--retrieval`` also scores what costs nothing: the translation of the most similar source
  sentence of the training pairs.
- ``--task generate``: nats and bits per character, one state carried over the whole text, and in
  random windows without a past.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from tqdm import tqdm

from captioner.bundle import Bundle, find_bundle
from captioner.errors import DataError
from captioner.metrics.translation import translation_scores
from captioner.tasks.generate import char_language_model_of, characters_of
from captioner.tasks.translate import TranslateTask, Translator
from captioner.tasks.translate_options import TranslateOptions
from training.data.parallel import ParallelDataModule
from training.data.splits import TEST, TRAIN, VALIDATION
from training.data.stream import PADDING, TextStreamDataModule
from training.retrieval import nearest
from training.score import read_data, store, with_search

BEAMS = (1, 5)
PENALTIES = (0.6, 1.0, 1.4)


def main(arguments: Sequence[str]) -> int:
    """Prints scores."""
    parser = argparse.ArgumentParser(prog="python -m training score-text", description=__doc__)
    parser.add_argument("--task", required=True, choices=("translate", "generate"))
    parser.add_argument("--data", required=True, help="a config's YAML, for its `data:`")
    parser.add_argument("--split", default=VALIDATION, choices=(VALIDATION, TEST))
    parser.add_argument("--model", help="a bundle's name or directory")
    parser.add_argument("--num-beams", type=int, help="1 is greedy; default: the bundle's")
    parser.add_argument("--length-penalty", type=float, help="default: the bundle's")
    parser.add_argument("--tune", action="store_true", help="tries beams and length penalties")
    parser.add_argument("--retrieval", action="store_true", help="scores the nearest neighbour too")
    parser.add_argument("--store", action="store_true", help="keeps the scores in the bundle")
    options = parser.parse_args(arguments)
    bundle = find_bundle(options.task, options.model)
    storage = bundle.description.get("storage", "float32")
    print(f"{bundle.name}@{bundle.version} (weights stored as {storage}), {options.split}")
    score = _score_translations if options.task == "translate" else _score_characters
    scores = score(bundle, options)
    if options.store:
        store(bundle.path, {options.split: scores})
    return 0


def _score_translations(bundle: Bundle, options: argparse.Namespace) -> dict[str, Any]:
    data = read_data(options.data, ParallelDataModule)
    pairs = data.pairs.get(options.split)
    if not pairs:
        raise DataError(f"There are no {options.split} pairs.", hint="Name them in data.source.")
    references = [pair.target for pair in pairs]
    tried = [(options.num_beams, options.length_penalty)]
    if options.tune:
        tried = [
            (beams, lp) for beams in BEAMS for lp in (PENALTIES if beams > 1 else PENALTIES[:1])
        ]
    scores: dict[str, Any] = {}
    for beams, penalty in tried:
        chosen = with_search(bundle, num_beams=beams, length_penalty=penalty)
        translator = Translator(chosen)
        found = TranslateTask([chosen]).translate(
            translator, [pair.source for pair in pairs], TranslateOptions()
        )
        values, signatures = translation_scores([each.text for each in found], references)
        name = translator.search_options(TranslateOptions()).name
        _tell(name, values)
        scores = {**{key: round(value, 2) for key, value in values.items()}, "search": name}
    scores["signature"] = signatures["BLEU"]
    print("\n".join(f"  {name}: {line}" for name, line in signatures.items()))
    if options.retrieval:
        known = data.pairs[TRAIN]
        places = nearest([pair.source for pair in known], [pair.source for pair in pairs])
        values, _ = translation_scores([known[i].target for i in places], references)
        _tell("nearest neighbour", values)
    return scores


def _tell(name: str, values: dict[str, float]) -> None:
    print(f"  {name:<20}" + "".join(f"{key} {value:6.2f}   " for key, value in values.items()))


def _score_characters(bundle: Bundle, options: argparse.Namespace) -> dict[str, Any]:
    data = read_data(options.data, TextStreamDataModule, validation_streams=1)
    characters = characters_of(bundle)
    if characters != data.characters:
        raise DataError(
            f"The text's characters are not those of bundle {bundle.name!r}.",
            hint="Give the config that it was trained with.",
        )
    model = char_language_model_of(bundle, characters)
    loaders = data.val_dataloader() if options.split == VALIDATION else data.test_dataloader()
    scores: dict[str, Any] = {}
    with torch.inference_mode():
        for name, loader in zip(("nats", "window_nats"), loaders, strict=False):
            total, count, state = 0.0, 0, None
            for batch in tqdm(loader, desc=name, leave=False):
                inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
                logits, after = model(inputs.clamp(min=0), state)
                state = after if name == "nats" else None
                nats = functional.cross_entropy(
                    logits.flatten(0, 1),
                    targets.flatten(),
                    ignore_index=PADDING,
                    reduction="sum",
                )
                total, count = total + float(nats), count + int((targets != PADDING).sum())
            scores[name] = round(total / count, 4)
            print(f"  {name:<12} {total / count:.4f} per character, {count} predicted")
    scores["bits"] = round(scores["nats"] / math.log(2), 4)
    print(f"  {'bits':<12} {scores['bits']:.4f} per character")
    return scores
