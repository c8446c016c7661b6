"""Pairs of sentences: read, split, cut into pieces and padded."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

from captioner.errors import DataError, InvalidOption, UserError
from captioner.text.pieces import Pieces
from training.data.pairs import Pair, read_pairs
from training.data.parallel import ParallelDataModule
from training.data.splits import SplitFractions
from training.data.subword_dropout import SubwordDropout

GERMAN = ["ein Hund", "eine Katze rennt", "der Mann", "zwei Hunde rennen durch den Schnee"]
ENGLISH = ["a dog", "a cat runs", "the man", "two dogs run through the snow"]


def write(folder: Path, german: list[str] = GERMAN, english: list[str] = ENGLISH) -> list[str]:
    for name, lines in (("de", german), ("en", english)):
        (folder / f"text.{name}").write_text("".join(line + "\n" for line in lines), "utf-8")
    return [str(folder / "text.de"), str(folder / "text.en")]


def module(folder: Path, **changed: object) -> ParallelDataModule:
    files = write(folder, GERMAN * 5, ENGLISH * 5)
    settings: dict[str, object] = {
        "source": {"train": files, "validation": files},
        "languages": ("de", "en"),
        "vocabulary_size": 330,
        "batch_size": 3,
    }
    return ParallelDataModule(**(settings | changed))  # type: ignore[arg-type]


def test_two_files_are_pairs_by_line(tmp_path: Path) -> None:
    pairs = read_pairs({"train": write(tmp_path)})
    assert pairs["train"][1] == Pair("eine Katze rennt", "a cat runs")


def test_a_table_is_pairs_by_column(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text("a dog\t개\tx\na cat\t고양이\ty", "utf-8")
    assert read_pairs({"train": str(table)}, columns=(1, 0))["train"] == [
        Pair("개", "a dog"),
        Pair("고양이", "a cat"),
    ]


def test_pairs_with_the_same_target_are_never_parted(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    rows = [f"target {n // 3}\tsource {n}" for n in range(300)]
    table.write_text("\n".join(rows), "utf-8")
    found = read_pairs({"train": str(table)}, columns=(1, 0), fractions=SplitFractions())
    targets = [{pair.target for pair in found[split]} for split in ("train", "validation", "test")]
    assert sum(map(len, targets)) == 100
    assert sum(len(pairs) for pairs in found.values()) == 300
    assert all(targets)


def test_files_of_different_length_are_refused_with_their_lengths(tmp_path: Path) -> None:
    files = write(tmp_path, GERMAN, ENGLISH[:-1])
    with pytest.raises(DataError, match=r"text.de' has 4 lines and .*text.en' has 3"):
        read_pairs({"train": files})


def test_an_empty_line_is_refused_with_its_number(tmp_path: Path) -> None:
    files = write(tmp_path, GERMAN, [ENGLISH[0], "  ", *ENGLISH[2:]])
    with pytest.raises(DataError, match=r"text.en' has nothing in line 2"):
        read_pairs({"train": files})


@pytest.mark.parametrize(
    ("text", "what"), [("a\n", "1 columns in line 1"), ("a\tb\n\tc", "line 2")]
)
def test_a_table_with_a_hole_is_refused(tmp_path: Path, text: str, what: str) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text(text, "utf-8")
    with pytest.raises(DataError, match=what):
        read_pairs({"train": str(table)})


def test_three_files_are_no_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 files"):
        read_pairs({"train": [*write(tmp_path), "third"]})


def test_a_batch_is_padded_and_closed(tmp_path: Path) -> None:
    data = module(tmp_path, piece_dropout=0.0)
    data.setup("fit")
    for batch in data.train_dataloader():
        for row, index in enumerate(batch["index"].tolist()):
            pair = data.examples("train").pairs[index]
            length = int(batch["source_lengths"][row])
            source = batch["sources"][row]
            assert source[:length].tolist() == [*data.pieces.encode(pair.source), Pieces.end_id]
            assert (source[length:] == Pieces.pad_id).all()
            tokens = batch["tokens"][row, : int(batch["lengths"][row]) + 1].tolist()
            assert tokens == [Pieces.start_id, *data.pieces.encode(pair.target), Pieces.end_id]


def test_an_epoch_has_every_pair_once_whatever_the_processes(tmp_path: Path) -> None:
    data = module(tmp_path)
    data.setup("fit")
    seen = [i for batch in data.train_dataloader() for i in batch["index"].tolist()]
    assert sorted(seen) == list(range(20))


def test_pieces_are_learnt_from_training_pairs_only(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    held_out = write(other, ["Xylophon"] * 20, ["xylophone"] * 20)
    files = write(tmp_path, GERMAN * 5, ENGLISH * 5)
    data = module(tmp_path, source={"train": files, "validation": held_out})
    data.setup("fit")
    assert data.pieces == module(tmp_path).pieces


def test_cuttings_change_with_the_epoch_and_not_with_the_run(tmp_path: Path) -> None:
    found = []
    for epoch in (0, 0, 1):
        data = module(tmp_path, piece_dropout=0.5)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found.append(torch.cat([batch["sources"].flatten() for batch in loader]).tolist())
    assert found[0] == found[1] != found[2]


def test_dropped_merges_leave_the_text_as_it_is() -> None:
    pieces = Pieces.train(GERMAN * 5, 400)
    random = Random(0)
    for rate, exact in ((0.0, True), (0.3, False), (0.999, False)):
        dropout = SubwordDropout(pieces, rate)
        for text in [*GERMAN, "Straße 🐕", "unbekannte Wörter"]:
            ids = dropout.encode(pieces.words(text), random)
            assert pieces.decode(ids) == text
            if exact:
                assert ids == pieces.encode(text)


def test_more_dropout_makes_more_pieces() -> None:
    pieces = Pieces.train(GERMAN * 5, 400)
    words = pieces.words(GERMAN[3])
    counts = [len(SubwordDropout(pieces, rate).encode(words, Random(1))) for rate in (0, 0.4, 0.9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_overlong_pairs_are_left_out_of_training_only(tmp_path: Path) -> None:
    data = module(tmp_path, max_pieces=3)
    data.setup("fit")
    assert len(data.examples("train")) < 20
    assert len(data.examples("validation")) == 20
    with pytest.raises(DataError, match="at most 1 pieces"):
        module(tmp_path, max_pieces=1).setup("fit")


@pytest.mark.parametrize(
    "changed",
    [{"batch_size": 0}, {"max_pieces": 0}, {"piece_dropout": 1.0}, {"group": 2}],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        module(tmp_path, **changed)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no test pairs"):
        module(tmp_path).setup("test")
