"""A training step against a bare ``nn.LSTM`` loop: ``python -m benchmarks.training``.

The lecture's model as ``configs/caption/flickr8k.yaml`` sets it, on features that are cached, and
one loop of ``nn.Embedding``, ``nn.LSTM`` and ``nn.Linear`` of the same sizes on the same tokens,
which sees no photo and drops nothing out. A step is forward, loss, backward, clipping and AdamW.
Tokens are made up; how long captions are, and which stand together, is as on Flickr8k.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.measure import in_turns, report
from captioner.models.captioner import Captioner
from training.caption import CaptionModule
from training.data.batches import LengthBatches

FEATURES, EMBEDDING, HIDDEN, WORDS = 2048, 256, 512, 2543
CLIP = 5.0
Batch = dict[str, Tensor]


class Alone(CaptionModule):
    """The module without a trainer: one process, and nobody to log to."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Captioner(
            {"depth": 50, "output": "pooled", "weights": None},
            {
                "hidden_size": HIDDEN,
                "embedding_size": EMBEDDING,
                "dropout": 0.5,
                "feature_dropout": 0.3,
            },
            vocabulary_size=WORDS,
        )

    def share(self, count: int) -> float:
        return 1.0

    def log(self, *_: Any, **__: Any) -> None:
        pass


class Bare(nn.Module):
    """What anyone would write first: padding is computed, and ignored by the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.words = nn.Linear(HIDDEN, WORDS)

    def loss(self, batch: Batch) -> Tensor:
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits = self.words(self.lstm(self.embedding(inputs))[0])
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


class BarePacked(Bare):
    """What one writes next: no padding, by torch's packed sequences."""

    def loss(self, batch: Batch) -> Tensor:
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        packed, words = (
            pack_padded_sequence(part, batch["lengths"], batch_first=True)
            for part in (self.embedding(inputs), targets)
        )
        return functional.cross_entropy(self.words(self.lstm(packed)[0].data), words.data)


def batches(pictures: int, captions: int, count: int) -> list[Batch]:
    """``count`` batches of so many pictures with so many captions each, of 8 to 20 tokens."""
    random = np.random.default_rng(0)
    found = random.normal(12, 3.5, (pictures * 32, captions)).round().clip(8, 20).astype(int)
    planned = list(LengthBatches(found.tolist(), pictures))[:count]
    return [_batch([found[example.image] for example in examples]) for examples in planned]


def _batch(lengths: list[np.ndarray]) -> Batch:
    pairs = [(int(each), row) for row, captions in enumerate(lengths) for each in captions]
    pairs.sort(reverse=True)
    ends = torch.tensor([length for length, _ in pairs])
    tokens = torch.randint(4, WORDS, (len(pairs), int(ends[0]) + 1))
    tokens[:, 0] = 1
    tokens[torch.arange(len(pairs)), ends] = 2
    return {
        "index": torch.arange(len(lengths)),
        "features": torch.rand(len(lengths), 1, FEATURES),
        "tokens": tokens * (torch.arange(tokens.shape[1]) <= ends.unsqueeze(1)),
        "lengths": ends,
        "rows": torch.tensor([row for _, row in pairs]),
    }


def steps(
    weights: Iterable[nn.Parameter], loss: Callable[[Batch], Tensor], given: list[Batch]
) -> Callable[[], None]:
    """A step of training on each batch."""
    weights = list(weights)
    optimiser = torch.optim.AdamW(weights, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)

    def run() -> None:
        for batch in given:
            optimiser.zero_grad()
            loss(batch).backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimiser.step()

    return run


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="batches in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    rows = []
    for pictures, captions in ((16, 4), (32, 5)):
        given = batches(pictures, captions, chosen.steps)
        tokens = sum(int(batch["lengths"].sum()) for batch in given)
        ours, bare, packed = Alone().train(), Bare(), BarePacked()
        found = in_turns(
            {
                "ours": steps(
                    ours.model.decoder.parameters(),
                    lambda batch, ours=ours: ours.training_step(batch, 0),
                    given,
                ),
                "nn.LSTM, padded": steps(bare.parameters(), bare.loss, given),
                "nn.LSTM, packed": steps(packed.parameters(), packed.loss, given),
            },
            chosen.rounds,
        )
        print(f"{pictures} pictures of {captions} captions, {len(given)} steps, {tokens} tokens:")
        for name, timing in found.items():
            print(f"    {name:<54} {tokens / timing.median * 1000:9.0f} tokens/s")
        for name in ("nn.LSTM, padded", "nn.LSTM, packed"):
            rows.append((
                f"tokens/s, {pictures * captions} captions a step: ours / {name}",
                found[name].median / found["ours"].median, "at least 0.8",
                {key: found[key] for key in ("ours", name)},
            ))  # fmt: skip
    print()
    report(
        f"benchmarks/training.py: features {FEATURES}, embedding {EMBEDDING}, LSTM {HIDDEN}, "
        f"{WORDS} words",
        rows,
    )


if __name__ == "__main__":
    main()
