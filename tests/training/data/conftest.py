"""Pictures and tables that the tests of the data module write for themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder and no cache but the test's own."""
    monkeypatch.delenv("CAPTIONER_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def draw() -> Callable[[Path], Path]:
    """Write a small picture whose pixels depend on its file name alone."""

    def write(path: Path, size: tuple[int, int] = (20, 16)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big")
        pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, draw: Callable[[Path], Path]) -> list[str]:
    """Six pictures, a.png to f.png, in the test's folder."""
    names = [f"{letter}.png" for letter in "abcdef"]
    for name in names:
        draw(tmp_path / name)
    return names


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: Iterable[dict[str, Any]], name: str = "table.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write
