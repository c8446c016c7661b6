"""Text models against the plain alternative: ``python -m benchmarks.text [part …]``.

Parts: ``characters`` (training), ``translator`` (training), ``generation``, ``translation``,
``memory``; all without arguments. ``translation`` is what ships on Multi30k's test sentences, or on
made ones where the data folder is not there. Elsewhere weights and texts are random: times do not
depend on them, and sentences are as long as Multi30k's.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.measure import Timing, in_turns, report, spread
from captioner.bundle import find_bundle
from captioner.errors import DataError
from captioner.models.char_language_model import CharLanguageModel
from captioner.models.seq2seq import Seq2Seq, pad_sources
from captioner.recurrent import detach
from captioner.search import SearchOptions, TokenStream
from captioner.tasks.translate import TranslateTask
from captioner.tasks.translate_options import TranslateOptions
from captioner.text.pieces import Pieces
from training.data.pairs import read_pairs
from training.data.splits import TEST

CHARACTERS, HIDDEN = 65, 512
PIECES, SIZE, SENTENCES = 4000, 256, 96
MULTI30K, MOST = "multi30k/test_2016_flickr", 60  # files, and pieces of a translation at most
Row = tuple[str, float, str, dict[str, Timing]]


def training_step(parameters: list[nn.Parameter], loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(parameters, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

    return step


def characters(rounds: int) -> list[Row]:
    """Tokens per second in training, two layers of 512, with the state carried."""
    rows, chunk = 32, 64
    tokens = torch.randint(CHARACTERS, (rows, chunk + 1))
    model = CharLanguageModel(CHARACTERS, hidden_size=HIDDEN, num_layers=2)
    lstm = nn.LSTM(CHARACTERS, HIDDEN, 2, batch_first=True)
    read = nn.Linear(HIDDEN, CHARACTERS)
    ours: Any = model.initial_state(rows)
    bare: Any = (torch.zeros(2, rows, HIDDEN), torch.zeros(2, rows, HIDDEN))

    def our_loss() -> Tensor:
        nonlocal ours
        logits, after = model(tokens[:, :-1], ours)
        ours = detach(after)
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def bare_loss() -> Tensor:
        nonlocal bare
        vectors = functional.one_hot(tokens[:, :-1], CHARACTERS).float()
        outputs, after = lstm(vectors, bare)
        bare = tuple(part.detach() for part in after)
        return functional.cross_entropy(read(outputs).flatten(0, 1), tokens[:, 1:].flatten())

    timings = in_turns(
        {
            "CharLanguageModel": training_step(list(model.parameters()), our_loss),
            "nn.LSTM and nn.Linear": training_step(
                [*lstm.parameters(), *read.parameters()], bare_loss
            ),
        },
        rounds,
    )
    ratio = timings["nn.LSTM and nn.Linear"].median / timings["CharLanguageModel"].median
    return [("characters/s in training, 2 x 512, to nn.LSTM's", ratio, ">= 0.8", timings)]


class Bare(nn.Module):
    """A translator by hand: nn.GRU reads, nn.GRUCell writes, the same attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PIECES, SIZE)
        self.encoder = nn.GRU(SIZE, SIZE, batch_first=True, bidirectional=True)
        self.initial = nn.Linear(2 * SIZE, SIZE)
        self.key = nn.Linear(2 * SIZE, SIZE)
        self.query = nn.Linear(SIZE, SIZE, bias=False)
        self.energy = nn.Linear(SIZE, 1, bias=False)
        self.gate = nn.Linear(SIZE, 2 * SIZE)
        self.cell = nn.GRUCell(3 * SIZE, SIZE)
        self.read_hidden = nn.Linear(SIZE, SIZE)
        self.read_seen = nn.Linear(2 * SIZE, SIZE, bias=False)
        self.bias = nn.Parameter(torch.zeros(PIECES))
        self.dropout = nn.Dropout(0.2)

    def forward(self, sources: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.dropout(self.embedding(sources)), lengths, batch_first=True, enforce_sorted=False
        )
        features, _ = pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=sources.shape[1]
        )
        mask = torch.arange(sources.shape[1]) < lengths.unsqueeze(1)
        features = self.dropout(features)
        hidden = torch.tanh(self.initial(features.sum(1) / lengths.unsqueeze(1)))
        keys = self.key(features)
        logits = []
        for embedded in self.dropout(self.embedding(tokens)).unbind(1):
            energy = self.energy(torch.tanh(keys + self.query(hidden).unsqueeze(1))).squeeze(2)
            weights = energy.masked_fill(~mask, float("-inf")).softmax(1)
            seen = (weights.unsqueeze(1) @ features).squeeze(1)
            seen = torch.sigmoid(self.gate(hidden)) * seen
            hidden = self.cell(torch.cat([embedded, seen], 1), hidden)
            read = self.dropout(embedded + self.read_hidden(hidden) + self.read_seen(seen))
            logits.append(functional.linear(read, self.embedding.weight, self.bias))
        return torch.stack(logits, 1)


def sentences(count: int, seed: int = 0) -> list[list[int]]:
    """As long as Multi30k's: 15 pieces on average."""
    generator = torch.Generator().manual_seed(seed)
    lengths = (15 + 4.5 * torch.randn(count, generator=generator)).clamp(4, 40).long().tolist()
    return [torch.randint(3, PIECES, (n,), generator=generator).tolist() for n in lengths]


def _translator() -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"hidden_size": SIZE, "embedding_size": SIZE, "dropout": 0.2}
    decoder = {**sizes, "attention_size": SIZE, "feature_dropout": 0.2}
    return Seq2Seq(sizes, decoder, vocabulary_size=PIECES)


def translator(rounds: int) -> list[Row]:
    """Pairs per second in training."""
    model, bare = _translator(), Bare()
    # Alike in length, as a training's batches are.
    sources, lengths = pad_sources(sorted(sentences(4 * SENTENCES), key=len)[::4][:SENTENCES])
    ended, target_lengths = pad_sources(sorted(sentences(4 * SENTENCES, 1), key=len)[::4])
    tokens = torch.cat([torch.ones(SENTENCES, 1, dtype=torch.long), ended], 1)
    real = torch.arange(ended.shape[1]) < target_lengths.unsqueeze(1)
    words = ended[real]

    def our_loss() -> Tensor:
        read, _ = model(sources, lengths, tokens[:, :-1], target_lengths)
        return functional.cross_entropy(model.decoder.logits(read[real]), words)

    def bare_loss() -> Tensor:
        return functional.cross_entropy(bare(sources, lengths, tokens[:, :-1])[real], words)

    timings = in_turns(
        {
            "Seq2Seq": training_step(list(model.parameters()), our_loss),
            "by hand": training_step(list(bare.parameters()), bare_loss),
        },
        rounds,
    )
    ratio = timings["by hand"].median / timings["Seq2Seq"].median
    return [("pairs/s in training, GRU 256, to a loop by hand", ratio, ">= 0.8", timings)]


def generation(rounds: int) -> list[Row]:
    """A character against the matrix products that it cannot do without."""
    count = 100
    model = CharLanguageModel(CHARACTERS, hidden_size=HIDDEN, num_layers=2).frozen()
    options = SearchOptions(max_tokens=count, temperature=0.7, seed=0)
    shapes = [(4 * HIDDEN, HIDDEN)] * 3 + [(CHARACTERS, HIDDEN)]
    matrices, vector = [torch.randn(shape) for shape in shapes], torch.randn(1, HIDDEN)

    def products() -> None:
        with torch.inference_mode():
            for _ in range(count):
                for matrix in matrices:
                    functional.linear(vector, matrix)

    timings = in_turns(
        {
            f"{count} characters": lambda: list(TokenStream(model, [0], options)),
            f"{count} times the products": products,
        },
        rounds,
    )
    ours, bare = (timing.median for timing in timings.values())
    return [("a character, 2 x 512, to its matrix products", ours / bare, "<= 1.5", timings)]


def _texts(pieces: Pieces) -> tuple[str, list[str]]:
    """Multi30k's 1000 test sentences where the data are, made ones of like length elsewhere."""
    try:
        pairs = read_pairs({TEST: [f"{MULTI30K}.de.gz", f"{MULTI30K}.en.gz"]})[TEST]
    except DataError:
        return "128 made", [pieces.decode(ids) for ids in sentences(128)]
    return f"{len(pairs)} test", [pair.source for pair in pairs]


def translation(rounds: int) -> list[Row]:
    """Sorted batches against one at a time, and beams against greedy: texts in, texts out."""
    task = TranslateTask([find_bundle("translate", "translate-de-en")])
    translator = task.translator()
    kind, texts = _texts(translator.pieces)
    greedy, beams = (TranslateOptions(num_beams=n, max_tokens=MOST) for n in (1, 5))
    sides: dict[str, Callable[[], object]] = {
        f"{kind} sentences in sorted batches": lambda: task.translate(translator, texts, greedy),
        "one at a time": lambda: [task.translate(translator, [t], greedy) for t in texts],
        "in sorted batches, 5 beams": lambda: task.translate(translator, texts, beams),
    }
    timings = in_turns(sides, rounds)
    together, alone, wide = timings.values()
    return [
        ("sentences/s in batches, to one at a time", alone.median / together.median, ">= 4",
         {name: timings[name] for name in list(timings)[:2]}),
        ("time of 5 beams, to greedy", wide.median / together.median, "<= 2.5",
         {name: timings[name] for name in list(timings)[::2]}),
    ]  # fmt: skip


def memory(_rounds: int) -> list[Row]:
    """Peak memory and time per character by chunk and by text, each in a process of its own."""
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for chunk, chunks in ((128, 4), (128, 16), (512, 4)):
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.text", "--peak", str(chunk), str(chunks)],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        found[chunk, chunks] = float(told[0]), float(told[1])
    rows: list[Row] = []
    base = found[128, 4]
    for what, wanted, key in (
        ("4 x the text: memory of activations", "1", (128, 16)),
        ("4 x the chunk: memory of activations", "about 4", (512, 4)),
    ):
        rows.append((what, found[key][0] / base[0], wanted, {}))
        timings = {
            f"us a character, chunk {k[0]}, text {k[0] * k[1]}": spread([found[k][1]])
            for k in ((128, 4), key)
        }
        rows.append(("  time per character", found[key][1] / base[1], "about 1", timings))
    return rows


def _peak(chunk: int, chunks: int) -> None:
    """Prints MB that training's activations take at most, and microseconds a character."""
    rows = 32
    model = CharLanguageModel(CHARACTERS, hidden_size=HIDDEN, num_layers=2)
    text = torch.randint(CHARACTERS, (rows, chunks * chunk + 1))
    state = model.initial_state(rows)
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    for first in range(0, chunks * chunk, chunk):
        part = text[:, first : first + chunk + 1]
        logits, after = model(part[:, :-1], state)
        state = detach(after)
        functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=False)
    spent = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((peak - before) / 1024, spent / (rows * chunks * chunk) * 1e6)


PARTS = {
    "characters": characters,
    "translator": translator,
    "generation": generation,
    "translation": translation,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        _peak(*options.peak)
        return
    torch.manual_seed(0)
    rows: list[Row] = []
    for name in options.parts or PARTS:
        rows += PARTS[name](options.rounds)
    report("Text", rows)


if __name__ == "__main__":
    main()
