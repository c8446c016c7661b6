"""The command line: arguments to tasks, nothing more.

captioner caption photo.jpg …            a caption for each
captioner caption DIR --out out.jsonl    a folder; resumes where it stopped; each photo is named
                                         as seen from the output's folder
captioner explain photo.jpg --out why.png
captioner models
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from captioner import __version__
from captioner.errors import BundleError, DataError, UserError

if TYPE_CHECKING:
    from captioner.tasks import CaptionTask
    from captioner.tasks.caption import PreparedImage
    from captioner.tasks.options import CaptionOptions, CaptionResult

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
BATCH = 16
KEYS = {"image", "caption", "log_prob"}  # of a line of --out
FIRST_KEY = b'{"image"'


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit code 2: the user can mend it; 1: some files of many were bad."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except UserError as error:
        print(f"captioner: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("captioner: stopped; what is written stays.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:  # a file that the user named, or a full disk
        named = f"{error.filename}: " if error.filename else ""
        print(f"captioner: {named}{error.strerror or error}.", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captioner", description="Captions for photos with recurrent networks."
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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
    caption.set_defaults(run=_caption)

    explain = commands.add_parser("explain", help="where the network looked, word by word")
    explain.add_argument("photo", metavar="PHOTO")
    explain.add_argument("--out", required=True, metavar="FILE.png")
    explain.add_argument("--num-beams", type=int)
    explain.set_defaults(run=_explain)

    models = commands.add_parser("models", help="installed bundles, their licences and limits")
    models.set_defaults(run=_models)
    for command in (caption, explain):
        command.add_argument("--model", help="a bundle's name or directory")
    return parser


def _caption(options: argparse.Namespace) -> int:
    from captioner.tasks import load

    chosen = _options(options)
    photos, many = _expand(options.photos)
    named = [(photo, photo) for photo in photos]
    done: set[str] = set()
    if options.out:
        named = list({_name(photo, options.out): photo for photo in photos}.items())
        done = _already_done(options.out)
    waiting = [(name, photo) for name, photo in named if name not in done]
    task = load("caption", model=options.model)
    bad: list[tuple[str, UserError]] = []
    written = 0
    with _output(options.out) as out:
        results = _run(task, waiting, chosen, bad)
        for name, result in _progress(results, len(waiting), shown=out is not None):
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


def _output(path: str | None) -> AbstractContextManager[IO[str] | None]:
    return open(path, "a", encoding="utf-8") if path else nullcontext()


def _options(options: argparse.Namespace) -> CaptionOptions:
    from captioner.tasks.options import CaptionOptions

    names = {field.name for field in fields(CaptionOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return CaptionOptions(**given).check()


def _expand(photos: Sequence[str]) -> tuple[list[str], bool]:
    """The photos, and those in the folders, of what was given. Second: may be more than one."""
    found: list[str] = []
    for photo in photos:
        if not os.path.isdir(photo):  # unlike Path's, False for a name that is too long
            found.append(photo)
            continue
        inside = sorted(Path(photo).rglob("*"))
        pictures = [str(p) for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not pictures:
            raise DataError(
                f"The folder {photo!r} holds no pictures ({', '.join(sorted(SUFFIXES))})."
            )
        found += pictures
    return found, len(found) > 1 or any(os.path.isdir(photo) for photo in photos)


def _name(photo: str, out: str) -> str:
    """The photo as seen from the output's folder.

    Two photos in one output then never share a name, whichever folders they were given by, and a
    later run knows them from whichever folder it is started.
    """
    folder, file = os.path.split(photo)
    place = os.path.join(os.path.realpath(folder), file)
    with suppress(ValueError):  # on another drive, where no way leads
        place = os.path.relpath(place, os.path.dirname(os.path.realpath(out)))
    return place.replace(os.sep, "/")


def _already_done(out: str) -> set[str]:
    """Images that the output holds. A line that a crash cut off is taken away, to be done again.

    Raises DataError where captioner did not write the file, which then stays as it is.
    """
    if os.path.isdir(out):
        raise DataError(f"--out is the folder {out!r}.", hint="Give a file in it.")
    folder, file = os.path.split(out)
    if not os.path.isdir(folder or "."):
        raise DataError(f"There is no folder {folder!r} for {file!r}.")
    if not os.path.isfile(out):  # not there yet, or a pipe
        return set()
    done: set[str] = set()
    with open(out, "rb") as written:
        lines = list(written)
    whole = 0
    for number, line in enumerate(lines, 1):
        row: Any = None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            begun = line.startswith(FIRST_KEY) or (done and FIRST_KEY.startswith(line))
            if begun and number == len(lines) and not line.endswith(b"\n"):
                break
        ours = isinstance(row, dict) and KEYS.issubset(row) and isinstance(row["image"], str)
        if not ours:
            raise DataError(
                f"Line {number} of {out} was not written by captioner.",
                hint="Give another file with --out.",
            )
        done.add(row["image"])
        whole += len(line)
    if whole < sum(map(len, lines)):
        os.truncate(out, whole)
    elif lines and not lines[-1].endswith(b"\n"):
        with open(out, "ab") as ended:
            ended.write(b"\n")
    return done


def _run(
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


def _progress(results: Iterator[Any], total: int, *, shown: bool) -> Iterator[Any]:
    if not shown:
        yield from results
        return
    from tqdm import tqdm

    yield from tqdm(results, total=total, unit="photo", desc="captions")


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


def _explain(options: argparse.Namespace) -> int:
    from captioner.explain.attention import attention_figure
    from captioner.tasks import load
    from captioner.tasks.options import CaptionOptions
    from captioner.vision.image import read_image

    target = Path(options.out)
    if target.suffix.lower() != ".png":
        raise DataError(f"--out is {options.out!r}; it must end in .png.")
    if not os.path.isdir(target.parent):
        raise DataError(f"There is no folder {str(target.parent)!r} for {target.name!r}.")
    if os.path.isdir(target):
        raise DataError(f"--out is the folder {options.out!r}.", hint="Give a file in it.")
    task = load("caption", model=options.model)
    chosen = CaptionOptions(num_beams=options.num_beams, attention=True).check()
    result = task.caption([task.open(options.photo)], chosen)[0]
    words = result.captions[0].words
    if any(word.weights is None for word in words):
        raise DataError(f"{task.model} has no attention: it sees a photo as one vector.")
    weights = [[value for row in word.weights or [] for value in row] for word in words]
    picture = read_image(options.photo, target_size=512).image
    attention_figure(picture, [word.text for word in words], weights).save(target)
    print(f"{result.caption}\n{target}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from captioner.bundle import installed, open_bundle

    places = installed()
    if not places:
        print("No bundles are installed. Set CAPTIONER_BUNDLES or export one.")
    for place in places:
        try:
            bundle = open_bundle(place)
        except BundleError as error:
            print(f"{place.name}: {error}", file=sys.stderr)
            continue
        print(f"{bundle.name}@{bundle.version}  ({bundle.task})")
        for title, text in bundle.card.items():
            print(f"  {title}: {text if isinstance(text, str) else '; '.join(map(str, text))}")
    return 0
