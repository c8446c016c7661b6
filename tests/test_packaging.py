"""What pyproject.toml promises: requirements for every import, and a wheel that captions."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from setuptools import find_packages
from skimage import data

ROOT = Path(__file__).resolve().parent.parent
OWN = ("captioner", "training", "serving")
# A reference for the numbers in own_sentences.json, whose script says how to install it.
NOT_REQUIRED = {"pycocoevalcap"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: list[str]) -> set[str]:
    return {_normalised(re.split(r"[\s<>=!~;\[]", line)[0]) for line in requirements}


def _imported(*folders: str) -> set[str]:
    """Distributions that the code of these folders imports by itself."""
    names: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    own = {path.stem for folder in folders for path in (ROOT / folder).rglob("*.py")}
    names -= {*sys.stdlib_module_names, *OWN, *own, "tests", "benchmarks"} | NOT_REQUIRED
    found = packages_distributions()
    return {_normalised(found.get(name, [name])[0]) for name in names}


def test_what_is_imported_is_required(pyproject: dict[str, Any]) -> None:
    assert _imported(*OWN) <= _names(pyproject["project"]["dependencies"])


def test_what_tests_and_benchmarks_import_is_required(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert _imported("tests", "benchmarks") <= _names(required)


def test_every_requirement_has_both_bounds_and_a_tested_version(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    tested = _names((ROOT / "constraints.txt").read_text("utf-8").splitlines()[1:])
    for line in [*lines, *pyproject["build-system"]["requires"]]:
        assert re.search(r">=.+,<", line), line
        assert _names([line]) <= tested, line


def test_every_package_is_in_the_wheel(pyproject: dict[str, Any]) -> None:
    found = find_packages(str(ROOT), include=[f"{name}*" for name in OWN])
    listed = pyproject["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted([*found, "captioner._bundles"]), "tool.setuptools.packages"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, from a copy: a build leaves files where it is done."""
    copy = tmp_path_factory.mktemp("project")
    for folder in (*OWN, "bundles"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy / file)
    _pip("wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", cwd=copy)
    [built] = (copy / "dist").glob("captioner-*.whl")
    return built


def _pip(*arguments: str, cwd: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--no-index", "--disable-pip-version-check"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_the_wheel_holds_all_of_bundles_and_no_tests(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    shipped = {
        f"captioner/_bundles/{path.relative_to(ROOT / 'bundles').as_posix()}"
        for path in (ROOT / "bundles").rglob("*")
        if path.is_file()
    }
    assert {"captioner/_bundles/caption/bundle.json", *shipped} <= inside
    assert any(name.endswith(".safetensors") and "/encoders/" in name for name in inside)
    assert {"serving/endpoints/caption.py", "training/data/captions.py"} <= inside
    assert "captioner/explain/units/page.html" in inside
    page = {f"serving/page/{path.name}" for path in (ROOT / "serving" / "page").iterdir()}
    assert {"serving/page/index.html", *page} <= inside
    tops = {name.split("/")[0] for name in inside}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(OWN)


@pytest.mark.slow
def test_installed_from_the_wheel_it_captions(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    _pip("install", "--no-deps", "--target", str(target), str(wheel), cwd=tmp_path)
    Image.fromarray(data.astronaut()).save(tmp_path / "photo.png")
    code = (
        "import json, captioner; task = captioner.load('caption')\n"
        "print(json.dumps([str(task.bundle.path), task('photo.png').caption]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CAPTIONER_BUNDLES"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    place, caption = json.loads(run.stdout)
    assert Path(place) == target.resolve() / "captioner" / "_bundles" / "caption"
    assert len(caption.split()) >= 3
