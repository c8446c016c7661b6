"""Rules of the house that no single module can hold."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("captioner", "training", "serving")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

# Layers of captioner, lowest first: a module may import from its own layer and below.
LAYERS = [
    {"errors"},
    {"recurrent"},
    {"vision", "text", "metrics", "storage"},
    {"search", "bundle", "explain"},
    {"models"},
    {"tasks"},
    {"cli", "__main__", "__init__"},
]


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _layer(name: str) -> int:
    return next((number for number, layer in enumerate(LAYERS) if name in layer), -1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_only_go_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {"captioner": set(), "training": {"captioner"}, "serving": {"captioner"}}[package]
    forbidden_third_parties = {
        "captioner": ("lightning", "torchmetrics", "bentoml", "starlette", "datasets"),
        "training": ("bentoml", "starlette"),
        "serving": ("lightning", "torchmetrics", "datasets"),
    }[package]
    for name in _imports(path):
        top = name.split(".")[0]
        assert top not in set(PACKAGES) - allowed - {package}, f"{path} imports {name}"
        assert top not in forbidden_third_parties, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "captioner").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_layers_of_captioner_only_go_down(path: Path) -> None:
    parts = path.relative_to(ROOT / "captioner").parts
    own = _layer(parts[0].removesuffix(".py"))
    assert own >= 0, f"{parts[0]} has no layer"
    for name in _imports(path):
        pieces = name.split(".")
        if pieces[0] == "captioner" and len(pieces) > 1:
            assert _layer(pieces[1]) <= own, f"{path} imports {name}"


def test_importing_captioner_is_light() -> None:
    code = "import captioner, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    import sys

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "configs").rglob("*.yaml")), ROOT / "bentofile.yaml"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_yaml_parses_and_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert text.startswith("# "), "a header says what it is for"


def test_no_absolute_path_is_stored() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split()
    home = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w")
    for name in listed:
        kinds = (".py", ".yaml", ".json", ".md", ".toml", ".txt")
        if name.endswith(kinds) and not name.startswith("tests/"):
            for line in (ROOT / name).read_text("utf-8").splitlines():
                assert not home.search(line), f"{name}: {line[:120]}"
