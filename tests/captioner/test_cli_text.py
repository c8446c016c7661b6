"""``captioner translate`` and ``captioner generate``: streams of lines and of characters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import captioner
from captioner.cli import main

LINES = ["Ein Hund.", "", "Zwei Männer", "  ", "개 😀\x0b\u2028x", "Ein\tHund\r", "rennt"]


@pytest.fixture(autouse=True)
def _bundles(text_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(text_bundles))


def translate(data: bytes, monkeypatch, capfdbinary, *more: str) -> tuple[int, list[str], str]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code = main(["translate", "--pair", "de-en", "--max-tokens", "4", *more])
    out, err = capfdbinary.readouterr()
    return code, out.decode().split("\n"), err.decode()


def test_a_line_for_a_line_and_empty_ones_stay_empty(monkeypatch, capfdbinary) -> None:
    data = "\n".join(LINES).encode() + b"\n"
    code, lines, _ = translate(data, monkeypatch, capfdbinary)
    assert code == 0
    assert lines.pop() == "", "the last line is ended, too"
    task = captioner.load("translate")
    wanted = task(LINES, source="de", max_tokens=4)
    assert lines == [found.text.replace("\n", " ") for found in wanted]
    assert lines[1] == lines[3] == ""


def test_any_number_of_lines_in_their_order(monkeypatch, capfdbinary) -> None:
    given = [f"Hund {'x' * (n % 5)}" if n % 11 else "" for n in range(300)]
    code, lines, _ = translate("\n".join(given).encode(), monkeypatch, capfdbinary)
    assert code == 0
    assert len(lines) == 301
    assert [not line for line in lines[:300]] == [not line for line in given]
    assert lines[3] == lines[8] == lines[288]


def test_nothing_gives_nothing(monkeypatch, capfdbinary) -> None:
    assert translate(b"", monkeypatch, capfdbinary)[:2] == (0, [""])


def test_bytes_that_are_no_utf8_are_named(monkeypatch, capfdbinary) -> None:
    code, _, said = translate(b"Ein Hund\nM\xe4nner\n", monkeypatch, capfdbinary)
    assert code == 2
    assert "Line 2" in said
    assert "byte 2 is 0xe4" in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["translate", "--pair", "de"], "Two languages"),
        (["translate", "--pair", "de-fr"], "de to en, en to de"),
        (["translate"], "Several models"),
        (["translate", "--pair", "de-en", "--num-beams", "-1"], "num_beams is -1"),
        (["translate", "--model", "none"], "no bundle 'none'"),
        (["generate", "--prompt", "😀"], "never seen '😀'"),
        (["generate", "--temperature", "nan"], "temperature is nan"),
        (["generate", "--temperature", "-1"], "temperature is -1"),
        (["generate", "--max-tokens", "-5"], "max_tokens is -5"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(arguments, named, capsys) -> None:
    assert main(arguments) == 2
    assert named in capsys.readouterr().err


def test_a_text_is_printed_with_its_prompt(capsys) -> None:
    assert main(["generate", "--prompt", "ROMEO:", "--temperature", "0", "--max-tokens", "21"]) == 0
    assert capsys.readouterr().out == "ROMEO:\nBut soft, what light\n"
    assert main(["generate", "--prompt", "ROMEO:", "--temperature", "0", "--stop", "J"]) == 0
    assert capsys.readouterr().out == "ROMEO:\nBut soft, what light?\n\n\n"


def test_lines_before_one_that_is_no_text_are_translated(monkeypatch, capfdbinary) -> None:
    code, lines, said = translate(b"Ein Hund.\n\nrennt\n\xe4\nHund\n", monkeypatch, capfdbinary)
    assert code == 2
    assert "Line 4" in said
    assert [bool(line) for line in lines] == [True, False, True, False]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "captioner", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_slow_pipe_is_answered_line_by_line_and_an_error_ends_it() -> None:
    with running("translate", "--pair", "de-en", "--max-tokens", "4") as child:
        for line in (b"Ein Hund\n", b"\n", b"rennt\n"):
            child.stdin.write(line)
            child.stdin.flush()
            assert (child.stdout.readline() == b"\n") == (line == b"\n")
        child.stdin.write(b"\xff\n")
        child.stdin.flush()
        assert child.wait(60) == 2, "though its input is still open"
        said = child.stderr.read()
    assert b"Line 4" in said
    assert b"Fatal" not in said


def test_characters_come_before_the_text_has_ended() -> None:
    with running("generate", "--prompt", "ROMEO:", "--max-tokens", "20000") as child:
        assert child.stdout.read(10).startswith(b"ROMEO:")
        assert child.poll() is None
        child.stdout.close()  # as head does
        assert child.wait(60) == 0
