import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioner import bundle
from captioner.bundle import (
    FILES,
    FORMAT_VERSION,
    bundle_directories,
    find_bundle,
    installed,
    open_bundle,
)
from captioner.errors import BundleError, MissingBundle
from captioner.models.captioner import Captioner
from captioner.storage import pack, unpack


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_bundle.parent, tmp_path / "bundles")
    return tmp_path / "bundles" / "caption"


def _change(path: Path, **fields: object) -> None:
    manifest = path / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | fields))


def test_what_was_written_opens_and_fills_the_model(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    model = Captioner(**opened.model)
    opened.load_into(model)
    state = opened.state()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert (opened.name, opened.version, opened.task) == ("caption", "0", "caption")


def test_whoever_may_read_the_card_may_read_the_weights(tiny_bundle: Path) -> None:
    files = [*tiny_bundle.iterdir(), *(tiny_bundle.parent / "encoders").iterdir()]
    assert {file.stat().st_mode for file in files} == {(tiny_bundle / "README.md").stat().st_mode}


def test_int8_keeps_every_channel_within_half_a_step() -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 64, 3, 3) * torch.logspace(-3, 2, 32).view(-1, 1, 1, 1)
    back = unpack(pack({"w": weight, "b": torch.randn(32)}, "int8"))["w"]
    step = weight.flatten(1).abs().amax(1) / 127
    error = (back - weight).flatten(1).abs().amax(1)
    assert (error <= step / 2 * 1.001).all()


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_vectors_and_small_matrices_are_stored_exactly(storage: str) -> None:
    state = {"bias": torch.randn(2000), "small": torch.randn(4, 4), "count": torch.tensor(3)}
    back = unpack(pack(state, storage))
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_tied_tensors_are_written_once_and_load() -> None:
    weight = torch.randn(50, 30)
    assert list(pack({"a": weight, "b": weight}, "float32")) == ["a"]


@pytest.mark.parametrize("file", ["weights.safetensors", "vocabulary.json", "README.md"])
def test_a_damaged_file_is_refused_by_name(copied: Path, file: str) -> None:
    data = bytearray((copied / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / file).write_bytes(data)
    with pytest.raises(BundleError, match=file):
        open_bundle(copied)


@pytest.mark.parametrize("file", ["weights.safetensors", "vocabulary.json"])
def test_a_missing_or_truncated_file_is_refused_by_name(copied: Path, file: str) -> None:
    data = (copied / file).read_bytes()
    (copied / file).write_bytes(data[:-7])
    with pytest.raises(BundleError, match=file):
        open_bundle(copied)
    (copied / file).unlink()
    with pytest.raises(BundleError, match=file):
        open_bundle(copied)


def test_a_damaged_encoder_is_refused(copied: Path) -> None:
    (encoder,) = (copied.parent / "encoders").iterdir()
    encoder.write_bytes(encoder.read_bytes()[:-1])
    with pytest.raises(BundleError, match=encoder.stem):
        open_bundle(copied)


def test_a_newer_format_is_refused_with_advice(copied: Path) -> None:
    _change(copied, format_version=FORMAT_VERSION + 1)
    with pytest.raises(BundleError, match="Update captioner"):
        open_bundle(copied)


def test_an_older_description_is_brought_up_to_date(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_1(old: dict[str, object]) -> dict[str, object]:
        return {"task": old.pop("does"), **old}

    description = json.loads((copied / "bundle.json").read_text())
    description["does"] = description.pop("task")
    (copied / "bundle.json").write_text(json.dumps(description))
    monkeypatch.setattr(bundle, "FORMAT_VERSION", 2)
    monkeypatch.setitem(bundle.READERS, 1, from_1)
    assert open_bundle(copied).task == "caption"


def test_an_older_format_that_nobody_reads_is_refused_with_advice(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "FORMAT_VERSION", FORMAT_VERSION + 1)
    with pytest.raises(BundleError, match=r"format_version 1, which .* Export the bundle again"):
        open_bundle(copied)


def test_two_bundles_share_one_encoder(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path]
) -> None:
    paths = [make_tiny_bundle(tmp_path, name=name) for name in ("one", "two")]
    stored = {open_bundle(path).encoder_path() for path in paths}
    assert stored == set((tmp_path / "encoders").iterdir())
    assert len(stored) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": "1"}'])
def test_a_foreign_description_is_refused(copied: Path, text: str) -> None:
    (copied / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        open_bundle(copied)


def test_a_description_cannot_name_files_elsewhere(copied: Path) -> None:
    files = json.loads((copied / "bundle.json").read_text())["files"]
    _change(copied, files=files | {"../../secret": "0"})
    with pytest.raises(BundleError, match="outside"):
        open_bundle(copied)


def test_a_description_cannot_name_an_encoder_elsewhere(copied: Path) -> None:
    _change(copied, encoder="../../secret")
    with pytest.raises(BundleError, match="SHA-256"):
        open_bundle(copied)


@pytest.mark.parametrize("file", [*FILES, "vocabulary.json"])
def test_every_file_has_to_be_listed(copied: Path, file: str) -> None:
    files = json.loads((copied / "bundle.json").read_text())["files"]
    del files[file]
    _change(copied, files=files)
    with pytest.raises(BundleError, match=f"lists no '{file}'.*Export"):
        open_bundle(copied).vocabulary()


def test_weights_of_another_model_are_refused_by_name(copied: Path) -> None:
    opened = open_bundle(copied)
    other = opened.model
    other["decoder"] = other["decoder"] | {"hidden_size": 24}
    with pytest.raises(BundleError, match=r"decoder\.\S+ \(.*\) instead of \("):
        opened.load_into(Captioner(**other))
    plain = opened.model
    plain["decoder"] = plain["decoder"] | {"attention": "none"}
    with pytest.raises(BundleError, match="unknown decoder"):
        opened.load_into(Captioner(**plain))


def test_bundles_are_found_by_task_name_and_directory(copied: Path) -> None:
    place = [copied.parent]
    assert [path.name for path in installed(place)] == ["caption"]
    assert find_bundle("caption", None, place).path == copied
    assert find_bundle("caption", "caption", place).path == copied
    assert find_bundle("caption", str(copied), []).path == copied
    with pytest.raises(MissingBundle, match="Installed: caption"):
        find_bundle("caption", "captoin", place)
    with pytest.raises(MissingBundle):
        find_bundle("frames", None, place)
    with pytest.raises(BundleError, match="does 'caption'"):
        find_bundle("frames", "caption", place)
    with pytest.raises(MissingBundle):
        find_bundle("caption", "a" * 5000, place)


def test_a_wheel_has_its_bundles_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAPTIONER_BUNDLES", raising=False)
    package = tmp_path.resolve() / "captioner"
    package.mkdir()
    monkeypatch.setattr(bundle, "__file__", str(package / "bundle.py"))
    assert bundle_directories() == [package.parent / "bundles"]
    (package / "_bundles").mkdir()
    assert bundle_directories() == [package / "_bundles"]


def test_no_bundle_stores_an_absolute_path(copied: Path) -> None:
    text = (copied / "bundle.json").read_text()
    assert str(copied.parent) not in text
    assert '"/' not in text
