"""How fast a caption is, against the plain way: ``python -m benchmarks.caption``.

Photos are scikit-image's, as JPEGs. The shipped bundle is measured as it is; the pooled ResNet-50
has random weights and captions of 12 words exactly, since time does not depend on their sense.
``--dev TABLE`` (such as flickr8k/validation.parquet) also compares what the two say, on a whole
table: the share of equal captions, and CIDEr.
"""

from __future__ import annotations

import argparse
import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

import captioner
from benchmarks.measure import in_turns, report
from captioner.metrics import cider_d
from captioner.models.captioner import Captioner
from captioner.search import SearchOptions, search
from captioner.tasks.caption import CaptionTask, captioner_of
from captioner.vision.image import decode_image
from captioner.vision.preprocess import Preprocessing
from training.data.captions import CaptionDataModule
from training.data.pictures import read_bytes

BATCH = 32


def photos(count: int, size: tuple[int, int]) -> list[bytes]:
    """JPEGs of scikit-image's photos, each cut a little differently."""
    found = []
    names = ("chelsea", "astronaut", "coffee", "rocket")
    for number in range(count):
        picture = Image.fromarray(getattr(data, names[number % len(names)])())
        shift = number // len(names) * 4
        buffer = io.BytesIO()
        picture.crop((shift, shift, *picture.size)).resize(size).save(buffer, "JPEG", quality=88)
        found.append(buffer.getvalue())
    return found


def whole_path(
    encoder: nn.Module,
    decoder: Any,
    preprocessing: Preprocessing,
    options: SearchOptions,
    jpegs: list[bytes],
) -> dict[str, Callable[[], object]]:
    """JPEG in, caption out, in a batch, and the same encoder alone."""

    def pixels(jpeg: bytes) -> Tensor:
        picture = decode_image(jpeg, target_size=preprocessing.target_size())
        return preprocessing.pixels(picture.image)

    ready = preprocessing.normalise(torch.stack([pixels(jpeg) for jpeg in jpegs]))
    ready = ready.to(memory_format=torch.channels_last)
    pool = ThreadPoolExecutor(2)

    @torch.inference_mode()
    def whole() -> object:
        batch = torch.stack(list(pool.map(pixels, jpegs)))
        batch = batch.to(memory_format=torch.channels_last)
        images = preprocessing.normalise(batch)
        return search(decoder, decoder.memory(encoder(images)), options)

    @torch.inference_mode()
    def alone() -> object:
        return encoder(ready)

    return {"whole path": whole, "encoder alone": alone}


def plain(task: CaptionTask) -> Callable[[bytes], list[int]]:
    """The eager pipeline: same weights, torchvision-style encoder, a step of nn.LSTM a word."""
    model = captioner_of(task.bundle)
    decoder = model.decoder
    lstm = nn.LSTM(
        decoder.embedding.embedding_dim + decoder.feature_size,
        decoder.cell.hidden_size,
        batch_first=True,
    )
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(torch.cat([decoder.cell.weight_ih, decoder.cell.weight_context], 1))
        lstm.weight_hh_l0.copy_(decoder.cell.weight_hh)
        lstm.bias_ih_l0.copy_(decoder.cell.bias_ih)
        lstm.bias_hh_l0.copy_(decoder.cell.bias_hh)
    options = task.search_options(captioner.tasks.options.CaptionOptions())
    beams, penalty = options.num_beams, options.length_penalty

    @torch.inference_mode()
    def caption(jpeg: bytes) -> list[int]:
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
        pixels = task.preprocessing.pixels(picture).unsqueeze(0)
        features = model.encoder(task.preprocessing.normalise(pixels))
        keys = decoder.attention.key(features)
        hidden, cell = decoder.initial(features.mean(1)).tanh().chunk(2, 1)
        tokens = torch.empty(1, 0, dtype=torch.long)
        sums, last = torch.zeros(1), torch.tensor([decoder.start_id])
        best: tuple[float, list[int]] = (float("-inf"), [])
        for length in range(options.max_tokens + 1):
            query = decoder.attention.query(hidden).unsqueeze(1)
            alpha = decoder.attention.energy(torch.tanh(keys + query)).softmax(1)
            seen = torch.sigmoid(decoder.attention.gate(hidden)) * (alpha * features).sum(1)
            embedded = decoder.embedding(last)
            out, (h, c) = lstm(
                torch.cat([embedded, seen], 1).unsqueeze(1),
                (hidden.unsqueeze(0), cell.unsqueeze(0)),
            )
            read = embedded + decoder.read(out[:, 0]) + decoder.read_context(seen)
            log_probs = decoder.words(read).log_softmax(1)
            log_probs[:, list(decoder.forbidden_ids)] = float("-inf")
            totals = (sums.unsqueeze(1) + log_probs).flatten()
            values, places = totals.topk(2 * beams)
            rows, words = places // log_probs.shape[1], places % log_probs.shape[1]
            keep = []
            for number in range(2 * beams):
                if int(words[number]) != decoder.end_id:
                    keep.append(number)
                elif number < beams:
                    score = float(values[number]) / (length + 1) ** penalty
                    best = max(best, (score, tokens[rows[number]].tolist()), key=lambda b: b[0])
            index = torch.tensor(keep[:beams])
            sums, last, rows = values[index], words[index], rows[index]
            kindest = options.max_tokens + 1 if options.exact else length + 2
            if float(sums[0]) / kindest**penalty <= best[0]:
                break
            tokens = torch.cat([tokens[rows], last.unsqueeze(1)], 1)
            hidden, cell = h[0, rows], c[0, rows]
        return best[1]

    return caption


def main() -> None:
    """Prints all ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dev", metavar="TABLE", help="also compare captions on a table")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = []
    task = captioner.load("caption")
    options = task.search_options(captioner.tasks.options.CaptionOptions())
    small = photos(BATCH, (500, 375))
    torch.manual_seed(0)

    sides = whole_path(task._encoder, task._decoder, task.preprocessing, options, small)
    found = in_turns(sides, chosen.rounds)
    rows.append((
        f"whole path / encoder, {task.model}, beam {options.num_beams}, batch {BATCH}",
        found["encoder alone"].median / found["whole path"].median, "at least 0.75", found,
    ))  # fmt: skip
    lecture = Captioner(
        {"depth": 50, "output": "pooled", "weights": None},
        {"hidden_size": 512, "embedding_size": 256, "normalise": True},
        vocabulary_size=2543,
    ).eval()
    exact = SearchOptions(num_beams=3, min_tokens=12, max_tokens=12)
    sides = whole_path(
        lecture.encoder.fused(),
        copy.deepcopy(lecture.decoder).frozen(),
        Preprocessing(),
        exact,
        small,
    )
    found = in_turns(sides, chosen.rounds)
    rows.append((
        f"whole path / encoder, ResNet-50 pooled, beam 3, batch {BATCH}, 12 words, 2543 known",
        found["encoder alone"].median / found["whole path"].median, "at least 0.85", found,
    ))  # fmt: skip

    eager = plain(task)
    singles = small[:8]

    def plainly() -> None:
        for jpeg in singles:
            eager(jpeg)

    best = {}
    for threads in sorted({1, chosen.threads}):
        torch.set_num_threads(threads)
        best[threads] = in_turns({"plain": plainly}, 2)["plain"].median
    torch.set_num_threads(min(best, key=lambda threads: best[threads]))
    sides = {"ours, one photo": lambda: [task(jpeg) for jpeg in singles], "plain eager": plainly}
    found = in_turns(sides, chosen.rounds)
    rows.append((
        f"plain eager, {torch.get_num_threads()} threads / ours, 8 photos one at a time",
        found["plain eager"].median / found["ours, one photo"].median, "at least 2", found,
    ))  # fmt: skip
    torch.set_num_threads(chosen.threads)

    with torch.inference_mode():
        pixels = torch.stack([task.open(jpeg).pixels for jpeg in small])
        images = task.preprocessing.normalise(pixels).to(memory_format=torch.channels_last)
        memory = task._decoder.memory(task._encoder(images))
    found = in_turns(
        {
            f"{beams} beams": lambda beams=beams: search(
                task._decoder, memory, replace(options, num_beams=beams)
            )
            for beams in (1, 3, 5)
        },
        chosen.rounds,
    )
    rows.append((
        f"beam 5 / greedy, {task.model}, batch {BATCH}",
        found["5 beams"].median / found["1 beams"].median, "at most 4", found,
    ))  # fmt: skip

    large = photos(1, (4000, 3000))[0]
    found = in_turns(
        {"12 megapixels": lambda: task(large), "small": lambda: task(small[0])}, chosen.rounds
    )
    rows.append((
        "12-megapixel photo minus a small one, ms",
        found["12 megapixels"].median - found["small"].median, "at most 60", found,
    ))  # fmt: skip
    report("benchmarks/caption.py", rows)
    if chosen.dev:
        compare(task, eager, chosen.dev)


def compare(task: CaptionTask, eager: Callable[[bytes], list[int]], table: str) -> None:
    """Ours in batches against the plain pipeline one at a time, on every photo of a table."""
    data = CaptionDataModule({"validation": table}, vocabulary_from="caption", check="none")
    references = data.references("validation")
    jpegs = [read_bytes(row["image"]) for row in data.tables["validation"]]
    ours = []
    for first in range(0, len(jpegs), BATCH):
        results = task([*jpegs[first : first + BATCH]])
        ours += [[word.text for word in result.captions[0].words] for result in results]
    theirs = [task.vocabulary.decode(eager(jpeg)) for jpeg in jpegs]
    same = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
    print(
        f"{table}: {same} of {len(jpegs)} captions are equal; CIDEr "
        f"{100 * cider_d(ours, references)[0]:.2f} ours, "
        f"{100 * cider_d(theirs, references)[0]:.2f} plain"
    )


if __name__ == "__main__":
    main()
