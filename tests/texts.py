"""Bundles of text for tests: translators of random weights, and a small model of one verse."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from captioner.bundle import write_bundle
from captioner.models.char_language_model import CharLanguageModel
from captioner.models.seq2seq import Seq2Seq
from captioner.text.characters import Characters
from captioner.text.pieces import Pieces

SENTENCES = ("Ein Hund rennt durch den Schnee.", "A dog runs through the snow.", "Zwei Männer.")
VERSE = "ROMEO:\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"


def write_translate_bundle(
    directory: Path, source: str = "de", target: str = "en", **changed: Any
) -> Path:
    """A translator that says nonsense, another one for each pair."""
    torch.manual_seed(zlib.crc32(f"{source}-{target}".encode()))
    pieces = Pieces.train(SENTENCES, 320)
    model = {
        "source": {"hidden_size": 12, "embedding_size": 16, "dropout": 0.0},
        "decoder": {
            "hidden_size": 16,
            "embedding_size": 16,
            "attention_size": 8,
            "dropout": 0.0,
            "tied": True,
        },
        "vocabulary_size": len(pieces),
    }
    network = Seq2Seq(**model)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    settings = {
        "name": f"translate-{source}-{target}",
        "version": "0",
        "task": "translate",
        "model": model,
        "state": network.state_dict(),
        "assets": {
            "pieces.json": pieces.to_json(),
            "pair.json": json.dumps({"source": source, "target": target}),
        },
        "preprocessing": None,
        "decoding": {"num_beams": 3, "max_tokens": 30, "length_penalty": 1.0},
        "metrics": {},
        "card": {"licence": "none", "origin": "random numbers", "limits": ["knows nothing"]},
        "readme": "# tiny",
        "licence": "none",
    }
    return write_bundle(directory, **(settings | changed))


def write_generate_bundle(directory: Path, name: str = "generate", **changed: Any) -> Path:
    """A model that has learnt ``VERSE`` by heart and says it over and over again."""
    characters = Characters.of(VERSE)
    model = {"vocabulary_size": len(characters), "hidden_size": 32, "num_layers": 1}
    settings = {
        "name": name,
        "version": "0",
        "task": "generate",
        "model": model,
        "state": _learnt(**model),
        "assets": {"characters.json": characters.to_json()},
        "preprocessing": None,
        "decoding": {},
        "metrics": {},
        "card": {"licence": "none", "origin": "one verse", "limits": ["knows one verse"]},
        "readme": "# tiny",
        "licence": "none",
    }
    return write_bundle(directory, **(settings | changed))


@cache
def _learnt(**model: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    characters, network = Characters.of(VERSE), CharLanguageModel(**model)
    tokens = torch.tensor([characters.encode(VERSE * 2)])
    rates = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(100):
        logits, _ = network(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:])
        rates.zero_grad()
        loss.backward()
        rates.step()
    return dict(network.eval().state_dict())
