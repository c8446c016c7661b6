"""``captioner generate``: a text that goes on from a prompt, printed as it comes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.tasks.generate_options import GenerateOptions


def add(commands: Any) -> None:
    """The command's arguments."""
    generate = commands.add_parser(
        "generate",
        help="go on with a text, character by character",
        description="Prints the prompt and what follows it.",
    )
    generate.add_argument("--prompt", default="", help="how the text begins")
    generate.add_argument("--max-tokens", type=int, help="characters at most")
    generate.add_argument("--temperature", type=float, help="0: always the likeliest character")
    generate.add_argument("--top-k", type=int, default=0)
    generate.add_argument("--top-p", type=float, default=1.0)
    generate.add_argument("--seed", type=int)
    generate.add_argument("--stop", action="append", default=[], help="ends where this would come")
    generate.add_argument("--model", help="a bundle's name or directory; default: the first")
    generate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints each character when it is there."""
    from captioner.tasks import load

    chosen = _options(options)
    task = load("generate", model=options.model)
    stream = task.generator().stream(options.prompt, chosen)
    out = sys.stdout
    if hasattr(out, "reconfigure"):  # a terminal may not have all of a model's characters
        out.reconfigure(errors="replace")
    out.write(options.prompt)
    for delta in stream:
        out.write(delta.text)
        out.flush()
    out.write("\n")
    return 0


def _options(options: argparse.Namespace) -> GenerateOptions:
    from captioner.tasks.generate_options import GenerateOptions

    names = {field.name for field in fields(GenerateOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return GenerateOptions(**given | {"stop": tuple(options.stop)}).check()
