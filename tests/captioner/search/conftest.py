"""A small decoder in float64, and what is true of it however it is searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from captioner.recurrent import State, build_cell
from captioner.search import Memory, Step, repeat


class TinyDecoder(nn.Module):
    """An LSTM that sees the mean of its memory ``(images, positions, 3)`` at every step.

    Ids: 0 start, 1 end, the others words. Its weights are large, so that what it says depends on
    all that it has said.
    """

    start_id, end_id = 0, 1

    def __init__(self, vocabulary_size: int, *, forbidden_ids: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.vocabulary_size, self.forbidden_ids = vocabulary_size, forbidden_ids
        self.embedding = nn.Embedding(vocabulary_size, 5)
        self.cell = build_cell("lstm", 5, 7, context_size=3)
        self.words = nn.Linear(7, vocabulary_size)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=1.2)
        self.double().eval()
        self.rows: list[int] = []

    def begin(self, memory: Memory) -> State:
        return self.cell.initial_state(len(memory[0]), like=memory[0])

    def advance(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        self.rows.append(len(tokens))
        (grid,) = repeat(memory, len(tokens))
        inputs = self.cell.project(self.embedding(tokens).unsqueeze(1)).squeeze(1)
        state = self.cell.step(inputs, state, grid.mean(1))
        output = self.cell.output(state)
        weights = (grid @ output[:, :3, None]).squeeze(2).softmax(1)
        return Step(self.words(output), state, weights)

    def forced(self, memory: Memory, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Log-probabilities ``(len + 1, V)`` and attention after start and after each of ``ids``
        for a memory of one row."""
        with torch.no_grad():
            state, log_probs, weights = self.begin(memory), [], []
            for token in [self.start_id, *ids]:
                step = self.advance(torch.tensor([token]), state, memory)
                state = step.state
                log_probs.append(step.logits[0].log_softmax(0))
                weights.append(step.weights[0])
        return torch.stack(log_probs), torch.stack(weights)


def memory_of(images: int, seed: int = 0) -> Memory:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(images, 4, 3, generator=generator, dtype=torch.float64),)


@pytest.fixture
def tiny() -> Callable[..., TinyDecoder]:
    """``tiny(vocabulary_size, seed=0, forbidden_ids=(0,))``."""

    def build(
        vocabulary_size: int, seed: int = 0, forbidden_ids: tuple[int, ...] = (0,)
    ) -> TinyDecoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TinyDecoder(vocabulary_size, forbidden_ids=forbidden_ids)

    return build


@pytest.fixture
def memory() -> Callable[..., Memory]:
    """``memory(images, seed=0)``."""
    return memory_of


class Table:
    """Says the same whatever was said before: one row of logits for each row of its memory."""

    start_id, end_id = 0, 1

    def __init__(self, vocabulary_size: int, forbidden_ids: tuple[int, ...] = (0,)) -> None:
        self.vocabulary_size, self.forbidden_ids = vocabulary_size, forbidden_ids

    def begin(self, memory: Memory) -> State:
        return (torch.zeros(len(memory[0]), 1),)

    def advance(self, tokens: Tensor, state: State, memory: Memory) -> Step:
        return Step(repeat(memory, len(tokens))[0], state)


@pytest.fixture
def table() -> type[Table]:
    return Table
