"""A made-up language with known hidden variables: quotes, brackets, columns and indentation.

13 characters. Letters run forwards through a … h outside quotes and backwards inside, so that one
character says nothing about the quote but several do; a line has 22 to 24 characters and is then
indented by the number of open brackets. With the true state, 1.0545 nats a character remain.

    python -m training.data.quoted_language --out runs/quoted --characters 1000000
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.errors import InvalidOption, UserError

LETTERS = "abcdefgh"
ALPHABET = sorted(LETTERS + '"()\n ')
LONGEST_LINE, WINDOW, DEEPEST = 24, 3, 4
ENTROPY_RATE = 1.0545  # nats a character, to who knows the state


@dataclass(frozen=True)
class QuotedText:
    """A text and its hidden state after each character, arrays ``(T,)``."""

    text: str
    in_quotes: NDArray[np.float64]
    depth: NDArray[np.float64]
    column: NDArray[np.float64]


def quoted_text(characters: int, seed: int) -> QuotedText:
    """So many characters of the language. The same seed gives the same text.

    Raises :class:`InvalidOption` for fewer than one character.
    """
    if characters < 1:
        raise InvalidOption(f"A text of {characters} characters is asked for.", hint="At least 1.")
    source = random.Random(seed)
    quote, depth, column, letter, indent = False, 0, 0, 0, 0
    text: list[str] = []
    states = np.empty((3, characters))
    for place in range(characters):
        emitted, chance = "", source.random()
        if indent > 0:
            emitted, indent = " ", indent - 1
        elif column > LONGEST_LINE - WINDOW and chance < 1 / (LONGEST_LINE - column + 1):
            emitted, indent = "\n", depth
        else:
            emitted, chance = "", source.random()
            if quote:
                if chance < 0.08:
                    emitted, quote = '"', False
            elif chance < 0.04:
                emitted, quote = '"', True
            elif chance < 0.10 and depth < DEEPEST:
                emitted, depth = "(", depth + 1
            elif 0.10 <= chance < 0.16 and depth > 0:
                emitted, depth = ")", depth - 1
        if not emitted:
            if source.random() < 0.8:
                letter = (letter + (-1 if quote else 1)) % len(LETTERS)
            else:
                letter = source.randrange(len(LETTERS))
            emitted = LETTERS[letter]
        column = 0 if emitted == "\n" else column + 1
        text.append(emitted)
        states[:, place] = quote, depth, column
    return QuotedText("".join(text), states[0], states[1], states[2])


def main(arguments: list[str] | None = None) -> int:
    """Writes one text."""
    parser = argparse.ArgumentParser(prog="python -m training.data.quoted_language")
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args(arguments)
    try:
        made = quoted_text(options.characters, options.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    target = Path(options.out)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(made.text, encoding="utf-8")
    print(f"{len(made.text)} characters, {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
