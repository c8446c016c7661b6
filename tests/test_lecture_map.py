"""The map of the lecture: twins that say the same, links that lead somewhere, commands that are."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from captioner.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "lecture.md", DOCS / "lecture.ko.md"]
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def headings(page: Path) -> list[int]:
    """The level of each, in order."""
    return [len(found) for found in re.findall(r"^(#+) ", text_of(page), re.MULTILINE)]


def links(page: Path) -> list[tuple[str, str]]:
    """Text and target of each, in order; of each other the twins are the other."""
    found = LINK.findall(text_of(page))
    return [(text, target) for text, target in found if not target.startswith("lecture.")]


def commands() -> list[list[str]]:
    lines = [line for block in BLOCK.findall(text_of(PAGES[0])) for line in block.splitlines()]
    lines += re.findall(r"`((?:captioner|python -m) [^`]+)`", text_of(PAGES[0]))
    return [shlex.split(line) for line in lines]


def symbols(path: Path) -> set[str]:
    """Names that a file defines, those in classes with the class before them."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found |= {f"{node.name}.{part.name}" for part in inner}
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_twins_have_the_same_headings_links_and_commands() -> None:
    english, korean = PAGES
    assert headings(english) == headings(korean)
    assert [target for _, target in links(english)] == [target for _, target in links(korean)]
    assert BLOCK.findall(text_of(english)) == BLOCK.findall(text_of(korean))
    for pattern in (r"^- ", r"^\|"):
        counts = [len(re.findall(pattern, text_of(page), re.MULTILINE)) for page in PAGES]
        assert counts[0] == counts[1]
    counts = [text_of(english).count("*not built yet*"), text_of(korean).count("*아직 없음*")]
    assert counts[0] == counts[1]


def test_the_twins_lead_to_each_other() -> None:
    assert "(lecture.ko.md)" in text_of(PAGES[0])
    assert "(lecture.md)" in text_of(PAGES[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_every_name_stands_in_it(page: Path) -> None:
    for text, target in links(page):
        name, _, anchor = target.partition("#")
        path = DOCS / name
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            kept = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in kept, target
        symbol = text.strip("`")
        if text.startswith("`") and path.suffix == ".py" and re.fullmatch(r"[\w.]+", symbol):
            assert symbol in symbols(path), f"{symbol} is not in {name}"


def test_every_command_exists_with_its_config_and_options() -> None:
    names = {command.__name__.rsplit(".", 1)[1] for command in COMMANDS}
    assert len(commands()) >= 8
    for words in commands():
        if words[:2] == ["python", "-c"]:
            compile(words[2], "lecture.md", "exec")
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, words
        else:
            assert words[0] == "captioner"
            assert words[1] in names, words
        if "--config" not in words:
            continue
        settings = yaml.safe_load((ROOT / words[words.index("--config") + 1]).read_text("utf-8"))
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--model."):
                assert option.rsplit(".", 1)[1] in settings["model"]["init_args"], words


def test_what_is_called_not_built_is_not_built() -> None:
    """Whoever builds the glimpses, the drawing or the controller changes the page, too."""
    for name in ("glimpse", "draw", "controller"):
        assert not list((ROOT / "captioner").rglob(f"{name}*.py")), name
