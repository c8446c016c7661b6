"""The bento: what is in it, how large it is, and that it serves by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import psutil
import pytest
import yaml


def requirements(lines: list[str]) -> dict[str, str]:
    return {re.split(r"[<>=\[]", line)[0]: line for line in lines}


def packages(kit) -> dict[str, str]:
    return requirements(
        yaml.safe_load((kit.root / "bentofile.yaml").read_text())["python"]["packages"]
    )


def test_its_packages_are_those_of_the_project(kit) -> None:
    bento = packages(kit)
    project = tomllib.loads((kit.root / "pyproject.toml").read_text())["project"]["dependencies"]
    own = requirements(project)
    for name, line in bento.items():
        assert own[name] == line


def imported_names(paths: Iterable[Path]) -> set[str]:
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"captioner", "serving"}


def test_its_packages_are_all_it_needs(kit) -> None:
    """What the service and the library import is in the bento; command line, metrics and pictures
    of explanations need more, and nothing of the service calls them."""
    paths = [
        path
        for package in ("serving", "captioner")
        for path in (kit.root / package).rglob("*.py")
        if not path.name.startswith("demo") and not {"cli", "explain", "metrics"} & set(path.parts)
    ]
    found = packages_distributions()
    needed = {found[name][0].lower().replace("_", "-") for name in imported_names(paths)}
    assert needed <= set(packages(kit))


@pytest.fixture(scope="module")
def project(kit, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A copy of what the bento is built from, with a small bundle, and things it must not take."""
    copy = tmp_path_factory.mktemp("project")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("captioner", "serving", "configs"):
        shutil.copytree(kit.root / folder, copy / folder, ignore=ignore)
    for file in ("bentofile.yaml", "LICENSE", "pyproject.toml"):
        shutil.copy(kit.root / file, copy / file)
    shutil.copytree(tiny_bundle.parent, copy / "bundles")
    for decoy in (".env", "data/photo.jpg", "runs/last.ckpt", "tests/test_x.py", "captioner/x.log"):
        (copy / decoy).parent.mkdir(exist_ok=True)
        (copy / decoy).write_text("not for others")
    return copy


@pytest.fixture(scope="module")
def bento(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built bento's directory."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "."],
        cwd=project,
        env=os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    [latest] = (home / "bentos" / "captioner").glob("*/bento.yaml")
    return latest.parent


@pytest.mark.slow
def test_it_holds_what_it_needs_and_nothing_else(bento: Path, project: Path) -> None:
    source = bento / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    expected = {
        path.relative_to(project).as_posix()
        for pattern in (
            "captioner/**/*.py", "serving/**/*.py", "serving/page/*", "configs/**/*.yaml",
            "bundles/**/*",
        )
        for path in project.glob(pattern)
        if path.is_file()
    }  # fmt: skip
    assert files == expected | {"LICENSE", "bentofile.yaml"}
    bundles = sum(p.stat().st_size for p in (source / "bundles").rglob("*") if p.is_file())
    whole = sum(p.stat().st_size for p in bento.rglob("*") if p.is_file())
    assert whole - bundles < 2_000_000


@pytest.mark.slow
def test_it_serves_by_itself(kit, bento: Path, tmp_path: Path) -> None:
    port = kit.free_port()
    # By its folder: asked for "captioner:latest", BentoML first tries an installed module of that
    # name, and where tests run there is one, whose bundles are not the bento's.
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--port", str(port)]
    home = bento.parents[2]
    with kit.process(
        command, port, tmp_path / "log", cwd=tmp_path, BENTOML_HOME=str(home)
    ) as service, service.client() as client:  # fmt: skip
        answer = client.post("/caption", files={"image": kit.photo()})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "caption@0", "the bundle in the bento"
        worker = psutil.Process(service.process.pid).children(recursive=True)[-1]
        assert Path(worker.cwd()) == bento / "src"
