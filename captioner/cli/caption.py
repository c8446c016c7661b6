"""``captioner caption``: photos, or folders of them, to captions."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from captioner.cli.files import already_done, expand, name_of, output, progress
from captioner.errors import BundleError, UserError

if TYPE_CHECKING:
    from captioner.tasks import CaptionTask
    from captioner.tasks.caption import PreparedImage
    from captioner.tasks.options import CaptionOptions, CaptionResult

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
BATCH = 16
KEYS = ("image", "caption", "log_prob")  # of a line of --out


def add(commands: Any) -> None:
    """The command's arguments."""
    caption = commands.add_parser("caption", help="caption photos, or a folder of them")
    caption.add_argument("photos", nargs="+", metavar="PHOTO|DIR")
    caption.add_argument("--out", metavar="FILE.jsonl", help="one object a line; resumes")
    caption.add_argument("--n", type=int, default=1, help="captions a photo, best first")
    caption.add_argument("--num-beams", type=int, help="hypotheses kept; 1 is greedy")
    caption.add_argument("--max-tokens", type=int, help="words at most")
    caption.add_argument("--temperature", type=float, default=0.0, help="above 0 samples")
    caption.add_argument("--top-k", type=int, default=0)
    caption.add_argument("--top-p", type=float, default=1.0)
    caption.add_argument("--seed", type=int)
    caption.add_argument("--model", help="a bundle's name or directory")
    caption.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 2: the one photo was bad; 1: some of many were."""
    from captioner.tasks import load

    chosen = _options(options)
    photos, many = expand(options.photos, SUFFIXES, "pictures")
    named = [(photo, photo) for photo in photos]
    done: set[str] = set()
    if options.out:
        named = list({name_of(photo, options.out): photo for photo in photos}.items())
        done = already_done(options.out, KEYS)
    waiting = [(name, photo) for name, photo in named if name not in done]
    task = load("caption", model=options.model)
    bad: list[tuple[str, UserError]] = []
    written = 0
    with output(options.out) as out:
        results = _results(task, waiting, chosen, bad)
        if out is not None:
            results = progress(results, len(waiting), unit="photo", desc="captions")
        for name, result in results:
            if out is not None:
                best = result.captions[0]
                line = {
                    "image": name,
                    "caption": result.caption,
                    "log_prob": round(best.log_prob, 4),
                }
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
                out.flush()
            else:
                _print(name, result, alone=len(photos) == 1)
            written += 1
    if options.out:
        known = f", {len(named) - len(waiting)} were there already" if done else ""
        print(f"{written} captions written to {options.out}{known}.", file=sys.stderr)
    for name, error in bad:
        print(f"captioner: {name}: {error}", file=sys.stderr)
    if bad and not many:
        return 2
    return 1 if bad else 0


def _options(options: argparse.Namespace) -> CaptionOptions:
    from captioner.tasks.options import CaptionOptions

    names = {field.name for field in fields(CaptionOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return CaptionOptions(**given).check()


def _results(
    task: CaptionTask,
    photos: Sequence[tuple[str, str]],
    options: CaptionOptions,
    bad: list[tuple[str, UserError]],
) -> Iterator[tuple[str, CaptionResult]]:
    """Captions in batches; the next batch is decoded meanwhile."""
    batches = [photos[first : first + BATCH] for first in range(0, len(photos), BATCH)]
    with ThreadPoolExecutor(2) as pool:
        ahead: list[list[Future[PreparedImage]]] = []
        for number, batch in enumerate(batches):
            for following in batches[number + len(ahead) : number + 2]:
                ahead.append([pool.submit(task.open, photo) for _, photo in following])
            names, ready = [], []
            for (name, _), future in zip(batch, ahead.pop(0), strict=True):
                try:
                    ready.append(future.result())
                    names.append(name)
                except BundleError:
                    raise
                except UserError as error:
                    bad.append((name, error))
            yield from zip(names, task.caption(ready, options), strict=True)


def _print(name: str, result: CaptionResult, *, alone: bool) -> None:
    if not alone:
        print(name)
    indent = "" if alone else "  "
    for ranked in result.captions:
        score = f"  ({ranked.log_prob:.2f})" if len(result.captions) > 1 else ""
        print(f"{indent}{ranked.text}{score}")
    print(f"{indent}confidence {result.confidence:.2f}, {result.timing_ms['total']:.0f} ms")
    for warning in result.warnings:
        print(f"{indent}warning: {warning}", file=sys.stderr)
