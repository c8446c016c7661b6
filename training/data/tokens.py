"""Captions cut into words once, and kept in the cache of ``datasets``."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
from datasets import Dataset, Features, Value

from captioner.text import words
from captioner.text.words import tokenize

Captions = Sequence[Sequence[str]]
Tokens = list[list[list[str]]]


def tokenised(captions: Captions, cache_dir: str | Path | None = None) -> Tokens:
    """The words of every caption of every picture, in the same nesting.

    Kept under ``cache_dir`` (by default the cache of ``datasets``, below ``HF_HOME``) in a file
    named by a hash of the captions and of the tokenizer's source: changing either makes a new one.
    """
    flat = [caption for of_picture in captions for caption in of_picture]
    if not flat:
        return [[] for _ in captions]
    key = _key(flat)
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "captioner-tokens"
    folder.mkdir(parents=True, exist_ok=True)
    cut = Dataset.from_dict({"caption": flat}, features=Features({"caption": Value("string")})).map(
        _cut,
        batched=True,
        remove_columns=["caption"],
        features=Features({"tokens": datasets.List(Value("string"))}),
        cache_file_name=str(folder / f"{key}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=key,
        desc="Tokenizing captions",
    )
    # The same few thousand words come again and again: one object each.
    rows = iter(cut.data.column("tokens").to_pylist())
    return [[list(map(sys.intern, next(rows))) for _ in of_picture] for of_picture in captions]


def _cut(batch: dict[str, list[str]]) -> dict[str, list[list[str]]]:
    return {"tokens": [tokenize(caption) for caption in batch["caption"]]}


def _key(captions: Sequence[str]) -> str:
    digest = hashlib.sha256(inspect.getsource(words).encode())
    for caption in captions:
        encoded = caption.encode()
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:32]
