"""A bundle whose description and content do not go together."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.errors import BundleError

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def changed(tiny_bundle: Path, tmp_path: Path) -> Callable[[Change], str]:
    """A copy of the tiny bundle with another description."""

    def change(how: Change) -> str:
        shutil.copytree(tiny_bundle.parent, tmp_path / "bundles")
        manifest = tmp_path / "bundles" / "caption" / "bundle.json"
        description = json.loads(manifest.read_text())
        how(description)
        manifest.write_text(json.dumps(description))
        return str(manifest.parent)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d["decoding"].update(beams=3), r"decoding\.beams .* is not known"),
        (lambda d: d["decoding"].update(num_beams="3"), "decoding .*num_beams is '3'"),
        (lambda d: d["model"].update(depth=18), r"model\.depth .* is not known"),
        (lambda d: d["model"].pop("encoder"), r"model\.encoder .* is missing"),
        (lambda d: d["model"].update(encoder="resnet"), r"model\.encoder .* is 'resnet'"),
        (lambda d: d["model"].update(decoder=None), r"model\.decoder .* is None"),
        (lambda d: d["model"]["encoder"].update(size=18), r"model\.encoder\.size .* is not known"),
        (lambda d: d["model"]["encoder"].update(depth=19), "model .*No ResNet of depth 19"),
        (lambda d: d["model"]["decoder"].update(heads=8), r"model\.decoder\.heads .* is not known"),
        (lambda d: d["model"]["decoder"].update(feature_size=8), r"decoder\.feature_size .*known"),
        (lambda d: d["model"]["decoder"].update(hidden_size="512"), "model .*cannot be used"),
        (lambda d: d["model"].pop("vocabulary_size"), r"model\.vocabulary_size .* is missing"),
        (lambda d: d["model"].update(vocabulary_size=15), r"vocabulary_size .* 15, but .* 16"),
        (lambda d: d["metrics"].update(confidence=0.3), r"metrics\.confidence .* is 0\.3"),
        (lambda d: d["metrics"]["confidence"].update(threshold="low"), r"threshold .* is 'low'"),
        (lambda d: d["metrics"]["confidence"].update(threshold=None), r"threshold .* is None"),
        (lambda d: d["metrics"]["confidence"].update(threshold=10**400), "from 0 to 1"),
        (lambda d: d["preprocessing"].update(crop=1), "preprocessing key: crop"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_key(
    changed: Callable[[Change], str], change: Change, named: str
) -> None:
    with pytest.raises(BundleError, match=named) as caught:
        captioner.load("caption", model=changed(change))
    assert caught.value.hint


def test_metrics_without_a_confidence_trust_every_caption(
    changed: Callable[[Change], str],
) -> None:
    task = captioner.load("caption", model=changed(lambda d: d.update(metrics={})))
    assert task.metrics == {}


def test_a_vocabulary_that_is_none_is_the_bundles_fault(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from captioner.bundle import Bundle, open_bundle

    (tmp_path / "vocabulary.json").write_bytes(b"\xff")
    bundle = Bundle(tmp_path, open_bundle(tiny_bundle).description)
    with pytest.raises(BundleError, match=r"vocabulary\.json cannot be read"):
        bundle.vocabulary()
