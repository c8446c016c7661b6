"""Sequences that need a memory, as many as one likes: adding, copy, Dyck, parity.

Each task makes its sequences out of a generator's numbers and nothing else. They are drawn with
``length`` as it is given, so that a network can be tested on longer ones than it was trained on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from captioner.errors import InvalidOption


class Sequences(NamedTuple):
    """``inputs (batch, time, input)``; ``targets (batch, time)``: int64 of a class, or float32.

    ``counted (batch, time)``: where the target is meant to be hit.
    """

    inputs: Tensor
    targets: Tensor
    counted: Tensor


class ProofTask(ABC):
    """``classes``: how many a target may be of, or None where it is a number.

    ``baseline``: the squared error, or the share of right answers, of a guess without a memory.
    """

    input_size: int
    classes: int | None
    baseline: float
    shortest = 1

    def __init__(self, length: int) -> None:
        if length < self.shortest:
            name = type(self).__name__
            raise InvalidOption(f"{name}'s length is {length}.", hint=f"At least {self.shortest}.")
        self.length = length

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Sequences:
        """``count`` sequences, all equally long."""


class Adding(ProofTask):
    """The sum of two marked numbers (Hochreiter & Schmidhuber 1997, as in Le et al. 2015).

    ``x_t = (u_t, m_t)``: u uniform in 0 to 1, m is 1 at one place in each half and else 0. Only the
    last of ``length`` steps counts. Always to say 1 errs by 1/6, squared.
    """

    input_size, classes, baseline, shortest = 2, None, 1 / 6, 2

    def draw(self, count: int, generator: torch.Generator) -> Sequences:
        """``count`` sequences of ``length`` steps."""
        numbers = torch.rand(count, self.length, generator=generator)
        half = self.length // 2
        first = torch.randint(half, (count, 1), generator=generator)
        second = torch.randint(half, self.length, (count, 1), generator=generator)
        marks = torch.zeros_like(numbers).scatter(1, torch.cat([first, second], 1), 1.0)
        sums = (numbers * marks).sum(1, keepdim=True).expand(-1, self.length)
        counted = torch.zeros_like(numbers, dtype=torch.bool)
        counted[:, -1] = True
        return Sequences(torch.stack([numbers, marks], 2), sums, counted)


class Copy(ProofTask):
    """Five symbols of eight kinds, a wait, a sign, and then the five again (Arjovsky et al. 2016).

    ``length`` blanks, a sign to begin, and blanks in which each symbol is to be said; only these
    steps count. A guess is right once in eight.
    """

    symbols, alphabet = 5, 8
    input_size, classes, baseline = alphabet + 2, alphabet, 1 / alphabet

    def draw(self, count: int, generator: torch.Generator) -> Sequences:
        """``count`` sequences of ``length + 11`` steps."""
        said = torch.randint(self.alphabet, (count, self.symbols), generator=generator)
        blanks = torch.full((count, self.length + 1 + self.symbols), self.alphabet)
        blanks[:, self.length] = self.alphabet + 1
        tokens = torch.cat([said, blanks], 1)
        targets, counted = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        targets[:, -self.symbols :] = said
        counted[:, -self.symbols :] = True
        return Sequences(functional.one_hot(tokens, self.input_size).float(), targets, counted)


class Dyck(ProofTask):
    """Two kinds of brackets, nested four deep at most: which one may close now, if any.

    At each of ``length`` steps a bracket opens or closes, with equal chances where both may be.
    Targets: 0 nothing is open, 1 a round, 2 a square bracket may close. The bracket just read tells
    which where it opens: to go by it alone is right in 69 %.
    """

    depth = 4
    input_size, classes, baseline = 4, 3, 0.69

    def draw(self, count: int, generator: torch.Generator) -> Sequences:
        """``count`` sequences of ``length`` steps."""
        rows = torch.arange(count)
        stack = torch.zeros(count, self.depth + 1, dtype=torch.int64)  # place 0: nothing is open
        depth = torch.zeros(count, dtype=torch.int64)
        tokens, targets = [], []
        for _ in range(self.length):
            opens = torch.rand(count, generator=generator) < 0.5
            opens = (opens | (depth == 0)) & (depth < self.depth)
            kind = torch.randint(1, 3, (count,), generator=generator)
            kind = torch.where(opens, kind, stack[rows, depth])
            depth = depth + torch.where(opens, 1, -1)
            stack[rows[opens], depth[opens]] = kind[opens]
            tokens.append(kind - 1 + 2 * (~opens).long())
            targets.append(stack[rows, depth])
        inputs = functional.one_hot(torch.stack(tokens, 1), self.input_size).float()
        found = torch.stack(targets, 1)
        return Sequences(inputs, found, torch.ones_like(found, dtype=torch.bool))


class Parity(ProofTask):
    """Whether the ones so far are an odd number, at each of ``length`` steps. A coin is as good."""

    input_size, classes, baseline = 1, 2, 0.5

    def draw(self, count: int, generator: torch.Generator) -> Sequences:
        """``count`` sequences of ``length`` steps."""
        bits = torch.randint(2, (count, self.length), generator=generator)
        odd = bits.cumsum(1) % 2
        return Sequences(bits.unsqueeze(2).float(), odd, torch.ones_like(odd, dtype=torch.bool))


PROOF_TASKS: dict[str, type[ProofTask]] = {
    "adding": Adding,
    "copy": Copy,
    "dyck": Dyck,
    "parity": Parity,
}


def proof_task(name: str, length: int) -> ProofTask:
    """The task that :data:`PROOF_TASKS` lists. Raises :class:`InvalidOption` for another name."""
    if name not in PROOF_TASKS:
        raise InvalidOption(
            f"There is no task {name!r}.", hint=f"One of: {', '.join(PROOF_TASKS)}."
        )
    return PROOF_TASKS[name](length)
