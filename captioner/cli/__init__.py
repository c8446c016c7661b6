"""The command line: arguments to tasks, nothing more. A file for each command.

captioner caption photo.jpg …            a caption for each
captioner caption DIR --out out.jsonl    a folder; resumes where it stopped; each photo is named
                                         as seen from the output's folder
captioner explain photo.jpg --out why.png
captioner frames clip.mp4 --out clip.vtt --overlay clip_labelled.mp4 --strip clip.png
captioner frames DIR --out DIR           a file of labels for each video; resumes, too
captioner translate --pair de-en < in.txt > out.txt
captioner generate --prompt "ROMEO:" --temperature 0.7
captioner units MODEL text.txt --out units.html
captioner models
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from captioner import __version__
from captioner.cli import caption, explain, frames, generate, models, translate, units
from captioner.errors import UserError

COMMANDS = (caption, explain, frames, translate, generate, units, models)


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
        prog="captioner",
        description="Captions, labels of videos, translations and texts by recurrent networks.",
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
