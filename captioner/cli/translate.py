"""``captioner translate``: lines in, their translations out, as they come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from queue import Empty, Queue
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from captioner.errors import DataError, InvalidOption

if TYPE_CHECKING:
    from captioner.tasks.translate_options import TranslateOptions

# Lines that are translated together. Those of like length share a search.
WINDOW = 256


def add(commands: Any) -> None:
    """The command's arguments."""
    translate = commands.add_parser(
        "translate",
        help="translate lines of text",
        description="Reads UTF-8 lines from the standard input and writes a line for each.",
    )
    translate.add_argument("--pair", metavar="SOURCE-TARGET", help="languages, such as de-en")
    translate.add_argument("--num-beams", type=int, help="hypotheses kept; 1 is greedy")
    translate.add_argument("--max-tokens", type=int, help="pieces a sentence at most")
    translate.add_argument("--model", help="a bundle's name or directory")
    translate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Translates line by line, whatever the length of the input; an empty line stays empty."""
    from captioner.tasks import load

    chosen = _options(options)
    pair = _pair(options.pair)
    task = load("translate", model=options.model)
    translator = task.translator(*pair)
    out = sys.stdout.buffer
    first = 1
    for lines in _windows(_input()):
        texts, wrong = _decoded(lines, first)
        first += len(lines)
        for found in task.translate(translator, texts, chosen):
            # Whatever a model says: a line for a line.
            out.write(" ".join(found.text.split("\n")).encode() + b"\n")
        out.flush()
        if wrong is not None:
            raise wrong
    return 0


def _options(options: argparse.Namespace) -> TranslateOptions:
    from captioner.tasks.translate_options import TranslateOptions

    names = {field.name for field in fields(TranslateOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return TranslateOptions(**given).check()


def _pair(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    source, dash, target = text.partition("-")
    if not (source and dash and target):
        raise InvalidOption(f"--pair is {text!r}.", hint="Two languages, such as de-en.")
    return source, target


def _input() -> IO[bytes]:
    try:
        # Not sys.stdin's own buffer: Python would wait for the thread that reads it before it ends.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # no file at all, in a test
        return sys.stdin.buffer


def _windows(lines: IO[bytes]) -> Iterator[list[bytes]]:
    """What has arrived, at most a window at a time: a slow pipe is answered line by line."""
    waiting: Queue[bytes | OSError | None] = Queue(2 * WINDOW)
    Thread(target=_read, args=(lines, waiting), daemon=True).start()
    ended = False
    while not ended:
        window = [waiting.get()]
        try:
            while window[-1] is not None and len(window) < WINDOW:
                window.append(waiting.get_nowait())
        except Empty:
            pass
        ended = window[-1] is None or isinstance(window[-1], OSError)
        found = [line for line in window if isinstance(line, bytes)]
        if found:
            yield found
        if isinstance(window[-1], OSError):
            raise window[-1]


def _read(lines: IO[bytes], waiting: Queue[bytes | OSError | None]) -> None:
    try:
        for line in lines:
            waiting.put(line.rstrip(b"\r\n"))
    except OSError as error:
        waiting.put(error)
    else:
        waiting.put(None)


def _decoded(lines: list[bytes], first: int) -> tuple[list[str], DataError | None]:
    """The texts of lines from number ``first`` on, and what is wrong with the next, if anything."""
    texts: list[str] = []
    for line in lines:
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            return texts, DataError(
                f"Line {first + len(texts)} of the input is not UTF-8: byte {error.start + 1} is "
                f"0x{line[error.start]:02x}.",
                hint="Re-code it, for instance with iconv -f latin1 -t utf8.",
            )
    return texts, None
