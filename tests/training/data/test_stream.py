"""Streams of a text: in order, without gaps, each process its own."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.errors import DataError, InvalidOption
from training.data.splits import SplitFractions
from training.data.stream import (
    PADDING,
    ChunksInOrder,
    RandomWindows,
    Streams,
    TextStreamDataModule,
    WholeText,
)

TEXT = np.arange(1000, dtype=np.int16)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_a_row_goes_on_where_it_stopped(epoch: int) -> None:
    streams = Streams(TEXT, 4, 10, seed=0)
    streams.epoch = epoch
    chunks = [streams[k]["tokens"] for k in range(len(streams))]
    for before, after in itertools.pairwise(chunks):
        assert torch.equal(before[:, -1], after[:, 0])
    row = torch.cat([chunk[2, :-1] for chunk in chunks])
    assert torch.equal(row, torch.arange(int(row[0]), int(row[0]) + len(row)))


def test_processes_have_streams_of_their_own_and_equally_many_chunks() -> None:
    parts = [Streams(TEXT, 2, 10, num_replicas=3, rank=rank, seed=0) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    whole = Streams(TEXT, 6, 10, seed=0)
    for k in range(len(whole)):
        together = torch.cat([part[k]["tokens"] for part in parts])
        assert torch.equal(together, whole[k]["tokens"])


def test_cuts_fall_elsewhere_in_another_epoch() -> None:
    streams, firsts = Streams(TEXT, 2, 10, seed=0), set()
    for epoch in range(20):
        streams.epoch = epoch
        firsts.add(int(streams[0]["tokens"][0, 0]))
        assert int(streams[len(streams) - 1]["tokens"].max()) < 1000
    assert len(firsts) > 3


@pytest.mark.parametrize(("length", "chunks"), [(41, 1), (81, 2), (80, 1)])
def test_a_text_of_just_enough_is_used(length: int, chunks: int) -> None:
    streams = Streams(TEXT[:length], 2, 20, seed=0)
    assert len(streams) == chunks
    assert streams[chunks - 1]["tokens"].shape == (2, 21)


def test_a_text_shorter_than_one_chunk_is_refused_with_what_it_needs() -> None:
    with pytest.raises(DataError, match=r"40 characters.*2 streams with a chunk of 20"):
        Streams(TEXT[:40], 2, 20, seed=0)


def test_a_resumed_epoch_begins_later_and_the_next_does_not() -> None:
    streams = Streams(TEXT, 4, 10, seed=0)
    order = ChunksInOrder(streams)
    order.start = 3
    assert list(order) == list(range(3, len(streams)))
    assert list(order) == list(range(len(streams)))


@pytest.mark.parametrize("streams", [1, 3, 7])
def test_evaluation_predicts_every_character_once(streams: int) -> None:
    whole = WholeText(TEXT[:100], streams, 16)
    targets = torch.cat([whole[k]["tokens"][:, 1:].flatten() for k in range(len(whole))])
    inputs = torch.cat([whole[k]["tokens"][:, :-1].flatten() for k in range(len(whole))])
    real = targets != PADDING
    assert sorted(targets[real].tolist()) == list(range(1, 100))
    assert torch.equal(inputs[real], targets[real] - 1)


def test_windows_are_the_same_each_time() -> None:
    windows = [RandomWindows(TEXT, 10, 16, 4, seed=1) for _ in range(2)]
    assert [len(batch["tokens"]) for batch in map(windows[0].__getitem__, range(3))] == [4, 4, 2]
    for k in range(3):
        assert torch.equal(windows[0][k]["tokens"], windows[1][k]["tokens"])
    assert len(RandomWindows(TEXT[:10], 10, 16, 4, seed=1)) == 0


def module(tmp_path: Path, text: str, **changed: object) -> TextStreamDataModule:
    path = tmp_path / "text.txt"
    path.write_text(text, "utf-8")
    settings: dict[str, object] = {"source": str(path), "batch_size": 2, "chunk": 8, "windows": 2}
    return TextStreamDataModule(**(settings | changed))  # type: ignore[arg-type]


def test_a_text_is_parted_in_order(tmp_path: Path) -> None:
    text = "".join(chr(97 + n % 26) for n in range(1000))
    data = module(tmp_path, text, fractions=SplitFractions(validation=0.1, test=0.05))
    parts = [data.characters.decode(data.part(split)) for split in ("train", "validation", "test")]
    assert "".join(parts) == text
    assert [len(part) for part in parts] == [850, 100, 50]


def test_a_part_without_characters_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test part has 0"):
        module(tmp_path, "abc" * 100).setup("test")


def test_a_short_text_is_refused_by_the_command_too(tmp_path: Path) -> None:
    data = module(tmp_path, "abcdefgh")
    with pytest.raises(DataError, match="too short"):
        data.train_dataloader()


@pytest.mark.parametrize(
    "changed",
    [{"batch_size": 0}, {"chunk": 0}, {"windows": -1}, {"validation_streams": 0}],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        module(tmp_path, "abc", **changed)
