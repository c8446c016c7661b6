"""The bundles that ship: they work, say what they are, and are no larger than promised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import yaml
from PIL import Image
from skimage import data

import captioner
from captioner.bundle import Bundle, open_bundle
from captioner.cli import main
from captioner.tasks.translate_options import TranslateOptions
from serving.demo_clip import demo_clip
from training.export import CARD_FIELDS, read_card, readme

ROOT = Path(__file__).resolve().parent.parent
BUNDLES = ROOT / "bundles"
MB = 10**6


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return open_bundle(BUNDLES / "caption")


@pytest.fixture(scope="module")
def frames() -> Bundle:
    return open_bundle(BUNDLES / "frames")


@pytest.fixture(params=["caption", "frames"])
def each(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(BUNDLES / request.param)


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_it_captions_a_photo_with_words(shipped: Bundle) -> None:
    result = captioner.load("caption", model=str(shipped.path))(Image.fromarray(data.astronaut()))
    words = result.caption.split()
    assert len(words) >= 3
    assert all(re.fullmatch(r"[a-z][a-z'-]*\.?", word) for word in words), result.caption


def test_it_labels_a_clip_in_order(frames: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPTIONER_BUNDLES", raising=False)
    task = captioner.load("frames")
    assert task.model == f"{frames.name}@{frames.version}"
    result = task(demo_clip(), captions=True)
    assert len(result.frames) == 18  # nine seconds, two a second
    assert 100 <= len(task.labels) <= 200
    astronaut = {found.label for found in result.segments if found.start_s < 4 and found.end_s > 5}
    assert "person" in astronaut
    assert all(segment.caption for segment in result.segments)


def test_both_read_pictures_through_one_encoder(shipped: Bundle, frames: Bundle) -> None:
    assert frames.encoder_path() == shipped.encoder_path()
    assert frames.preprocessing() == shipped.preprocessing()
    assert len([*(BUNDLES / "encoders").iterdir()]) == 1
    assert _size(frames.path.iterdir()) <= 4 * MB


SHIPPED = sorted(path.parent.name for path in BUNDLES.glob("*/bundle.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_is_that_of_its_config(name: str) -> None:
    """In sentences, and the page beside the weights says the same."""
    bundle = open_bundle(BUNDLES / name)
    written = {
        "caption": "caption/card",
        "frames": "frames/card",
        "shakespeare": "charlm/card_shakespeare",
        "source-c": "charlm/card_kernel",
        "translate-de-en": "seq2seq/card_de_en",
        "translate-en-de": "seq2seq/card_en_de",
    }
    card = read_card(ROOT / "configs" / f"{written[name]}.yaml")
    assert bundle.card == {field: card[field] for field in CARD_FIELDS}
    page = readme(bundle.name, bundle.version, bundle.card)
    assert (bundle.path / "README.md").read_text("utf-8") == page


def test_its_licence_lies_beside_it(each: Bundle) -> None:
    assert len((each.path / "LICENSE.txt").read_text("utf-8")) > 100


def test_models_prints_its_licence(
    each: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CAPTIONER_BUNDLES", raising=False)
    assert main(["models"]) == 0
    assert f"licence: {each.card['licence']}" in capsys.readouterr().out


def test_it_is_no_larger_than_promised(shipped: Bundle) -> None:
    encoder = shipped.encoder_path()
    assert encoder is not None
    assert _size([*shipped.path.iterdir(), encoder]) <= 20 * MB
    assert _size(BUNDLES.rglob("*")) <= 36 * MB


def test_the_labellers_own_part_is_small() -> None:
    assert _size((BUNDLES / "frames").iterdir()) <= 4 * MB


TEXT = ["translate-de-en", "translate-en-de", "shakespeare", "source-c"]


def test_text_bundles_together_are_no_larger_than_promised() -> None:
    assert _size(file for name in TEXT for file in (BUNDLES / name).iterdir()) <= 12 * MB


@pytest.mark.parametrize("name", TEXT)
def test_a_text_bundle_says_what_people_must_know(name: str) -> None:
    bundle = open_bundle(BUNDLES / name)
    assert all(bundle.card[field] for field in ("description", "origin", "licence", "limits"))
    assert len((bundle.path / "LICENSE.txt").read_text("utf-8")) > 100


def test_german_becomes_english_and_english_german() -> None:
    task = captioner.load("translate")
    english = task("Ein Hund rennt durch den Schnee.", source="de", target="en").text
    assert {"dog", "snow."} <= set(english.split())
    german = task("A dog runs through the snow.", source="en", target="de").text
    assert {"Hund", "Schnee."} <= set(german.split())


@pytest.mark.parametrize("name", ["translate-de-en", "translate-en-de"])
def test_what_a_translator_searches_with_may_be_asked_for(name: str) -> None:
    beams = open_bundle(BUNDLES / name).decoding["num_beams"]
    assert TranslateOptions(num_beams=beams).check().num_beams == beams


def test_verse_goes_on_in_english_letters() -> None:
    text = captioner.load("generate")("ROMEO:", max_tokens=60, temperature=0.5, seed=1).text
    assert len(text) == 60
    assert len(text.split()) >= 6


def _strings(value: Any) -> Iterator[str]:
    """Every string in a parsed JSON or YAML value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _names_an_absolute_path(text: str) -> bool:
    words = [word.strip("\"'()[]{}<>,;") for word in text.split()]
    return any(
        (PurePosixPath(word).is_absolute() and len(word) > 1)  # "/" alone is a word, too
        or PureWindowsPath(word).is_absolute()
        or word.startswith(("file:", "~/"))
        for word in [text, *words]
    )


@pytest.mark.parametrize(
    "text", ["/home/me/x.pt", "C:\\runs\\x", "c:/runs", "\\\\host\\x", "from (/srv/a)", "file:///x"]
)
def test_an_absolute_path_is_told(text: str) -> None:
    assert _names_an_absolute_path(text)


@pytest.mark.parametrize(
    "text", ["a/b", "https://example.org/a", "and/or", "7 / 8", "C: a", "../x"]
)
def test_other_text_is_no_absolute_path(text: str) -> None:
    assert not _names_an_absolute_path(text)


@pytest.mark.parametrize(
    "path",
    [*sorted(BUNDLES.rglob("*.json")), *sorted((ROOT / "configs").rglob("*.yaml"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_absolute_path_is_stored(path: Path) -> None:
    text = path.read_text("utf-8")
    value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    found = list(_strings(value))
    assert found
    assert [text for text in found if _names_an_absolute_path(text)] == []
