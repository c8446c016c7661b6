"""A trained model on disk: write, verify, open.

    bundles/
        encoders/<sha256>.safetensors   an encoder, stored once however many bundles use it
        caption/
            bundle.json                 format, task, model, preprocessing, decoding, card, hashes
            weights.safetensors         what is not the encoder's
            vocabulary.json             and what else the task reads: labels.json, pieces.json
            README.md  LICENSE.txt      the card for people, the licence

Every file is named with its hash in ``bundle.json`` and checked when the bundle is opened. Nothing
is pickled, no absolute path is stored.

``format_version`` rises when an older reader would misread a bundle; a reader opens every version
up to its own (:data:`READERS` brings older descriptions up to date) and refuses newer ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.errors import BundleError, DataError, MissingBundle
from captioner.storage import Storage, pack, unpack
from captioner.text.vocabulary import Vocabulary
from captioner.vision.preprocess import Preprocessing

FORMAT_VERSION = 1
# version -> what turns a description of that version into one of the next.
READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
ENCODER = "encoder."
FILES = ("weights.safetensors", "README.md", "LICENSE.txt")  # of every bundle
FIELDS = {
    "name": str,
    "version": str,
    "task": str,
    "model": dict,
    "preprocessing": dict,
    "decoding": dict,
    "metrics": dict,
    "card": dict,
    "files": dict,
}


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: every file was there and had its hash."""

    path: Path
    description: dict[str, Any]

    @property
    def name(self) -> str:
        """The bundle's name, such as ``caption``."""
        return str(self.description["name"])

    @property
    def version(self) -> str:
        """The bundle's version."""
        return str(self.description["version"])

    @property
    def task(self) -> str:
        """What it does: ``caption``, ``frames``, …"""
        return str(self.description["task"])

    @property
    def model(self) -> dict[str, Any]:
        """The model's keyword arguments."""
        return dict(self.description["model"])

    @property
    def decoding(self) -> dict[str, Any]:
        """Search options that the model was measured with."""
        return dict(self.description["decoding"])

    @property
    def card(self) -> dict[str, Any]:
        """Origin, licence, limits and known failures."""
        return dict(self.description["card"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured, with which data and search."""
        return dict(self.description["metrics"])

    def preprocessing(self) -> Preprocessing:
        """The same object in training, validation and service."""
        return Preprocessing.from_dict(self.description["preprocessing"])

    def asset(self, name: str) -> str:
        """The text of one of the task's own files, such as ``vocabulary.json``."""
        path = self.path / name
        if name not in self.description["files"]:
            raise BundleError(
                f"{self.path / 'bundle.json'} lists no {name!r} under 'files'.",
                hint="Export it again.",
            )
        try:
            return path.read_text("utf-8")
        except (ValueError, OSError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from None

    def vocabulary(self) -> Vocabulary:
        """The words the model knows."""
        try:
            return Vocabulary.from_json(self.asset("vocabulary.json"))
        except (DataError, ValueError) as error:
            raise BundleError(f"{self.path / 'vocabulary.json'} cannot be read: {error}") from None

    def labels(self) -> list[str]:
        """The names of the classes that the model tells apart, in its own order."""
        try:
            names = json.loads(self.asset("labels.json"))
        except ValueError as error:
            raise BundleError(f"{self.path / 'labels.json'} cannot be read: {error}") from None
        if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
            raise BundleError(f"{self.path / 'labels.json'} is no list of names.")
        return names

    def state(self) -> dict[str, Tensor]:
        """All tensors as float32, the encoder's under ``encoder.``."""
        state = unpack(_read_tensors(self.path / "weights.safetensors"))
        shared = self.encoder_path()
        if shared is not None:
            encoder = unpack(_read_tensors(shared))
            state |= {ENCODER + name: value for name, value in encoder.items()}
        return state

    def load_into(self, module: nn.Module) -> None:
        """Fills ``module`` strictly; what does not fit is refused by name."""
        state = self.state()
        expected = module.state_dict(keep_vars=True)
        given = {id(expected[name]) for name in state if name in expected}
        missing = [n for n, value in expected.items() if n not in state and id(value) not in given]
        foreign = [name for name in state if name not in expected]
        unfit = [
            f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in state
            if name in expected and state[name].shape != expected[name].shape
        ]
        for what, names in (("lacks", missing), ("has unknown", foreign), ("has", unfit)):
            if names:
                raise BundleError(
                    f"Bundle {self.name}@{self.version} {what} {', '.join(names[:3])}"
                    + (f" and {len(names) - 3} more." if len(names) > 3 else "."),
                    hint="Its weights and its description do not belong together: export it again.",
                )
        with torch.no_grad():
            for name, value in state.items():
                expected[name].copy_(value)

    def encoder_path(self) -> Path | None:
        """Where the encoder is stored that this bundle shares with others, if it has one."""
        digest = self.description.get("encoder")
        return None if digest is None else self.path.parent / "encoders" / f"{digest}.safetensors"


def open_bundle(path: str | Path) -> Bundle:
    """Opens and verifies the bundle in a directory.

    Raises :class:`MissingBundle` where there is none and :class:`BundleError` where a file is
    damaged, missing or foreign, or this reader does not know the format.
    """
    path = Path(path)
    manifest = path / "bundle.json"
    if not os.path.isfile(manifest):  # unlike Path's, False for a name too long or not allowed
        raise MissingBundle(f"{path} holds no bundle.json.", hint="Give a bundle's directory.")
    try:
        description = json.loads(manifest.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(f"{manifest} cannot be read: {error}") from None
    description = _current(description, manifest)
    for field, kind in FIELDS.items():
        if not isinstance(description.get(field), kind):
            raise BundleError(f"{manifest} has no valid {field!r}.", hint="Export it again.")
    unlisted = [file for file in FILES if file not in description["files"]]
    if unlisted:
        raise BundleError(
            f"{manifest} lists no {unlisted[0]!r} under 'files'.", hint="Export it again."
        )
    for name, expected in description["files"].items():
        if Path(name).name != name:
            raise BundleError(f"{manifest} names the file {name!r} outside its directory.")
        _verify(path / name, expected)
    bundle = Bundle(path, description)
    shared = bundle.encoder_path()
    if shared is not None:
        if not re.fullmatch("[0-9a-f]{64}", str(description["encoder"])):
            raise BundleError(f"{manifest} names an encoder by something else than its SHA-256.")
        _verify(shared, description["encoder"])
    return bundle


def write_bundle(
    directory: str | Path,
    *,
    name: str,
    version: str,
    task: str,
    model: Mapping[str, Any],
    state: Mapping[str, Tensor],
    assets: Mapping[str, str],
    preprocessing: Preprocessing | None,
    decoding: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: Mapping[str, Any],
    readme: str,
    licence: str,
    storage: Storage = "int8",
) -> Path:
    """Writes ``directory/name`` (and ``directory/encoders``); the description comes last.

    ``assets``: the text of the files that only this task has, by name. ``preprocessing``: None
    where no picture is read.
    """
    path = Path(directory) / name
    path.mkdir(parents=True, exist_ok=True)
    encoder = {n.removeprefix(ENCODER): v for n, v in state.items() if n.startswith(ENCODER)}
    rest = {n: v for n, v in state.items() if not n.startswith(ENCODER)}
    _save(pack(rest, storage), path / "weights.safetensors")
    for file, text in assets.items():
        (path / file).write_text(text, "utf-8")
    (path / "README.md").write_text(readme, "utf-8")
    (path / "LICENSE.txt").write_text(licence, "utf-8")
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "version": version,
        "task": task,
        "model": dict(model),
        "preprocessing": {} if preprocessing is None else preprocessing.to_dict(),
        "decoding": dict(decoding),
        "metrics": dict(metrics),
        "card": dict(card),
        "storage": storage,
        "files": {file: _sha256(path / file) for file in (*FILES, *assets)},
    }
    if encoder:
        shared = path.parent / "encoders"
        shared.mkdir(exist_ok=True)
        partial = shared / f"{os.getpid()}.partial"
        _save(pack(encoder, storage), partial)
        digest = _sha256(partial)
        partial.replace(shared / f"{digest}.safetensors")
        description["encoder"] = digest
    text = json.dumps(description, indent=1, ensure_ascii=False, sort_keys=True)
    (path / "bundle.json").write_text(text + "\n", "utf-8")
    return path


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes a file that others may read as they may the bundle's other files."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path)  # which leaves it to its owner only
    path.chmod(mode)


def bundle_directories() -> list[Path]:
    """Where bundles are looked for: ``CAPTIONER_BUNDLES``, else those that came with this package.

    A wheel has them inside the package, since site-packages is everybody's; a checkout, an editable
    install and the bento have them beside it.
    """
    chosen = os.environ.get("CAPTIONER_BUNDLES", "")
    if chosen:
        return [Path(part) for part in chosen.split(os.pathsep) if part]
    package = Path(__file__).resolve().parent
    inside = package / "_bundles"
    return [inside if inside.is_dir() else package.parent / "bundles"]


def installed(directories: Iterable[Path] | None = None) -> list[Path]:
    """The directories of all installed bundles, opened or not, by name."""
    found: dict[str, Path] = {}
    for directory in bundle_directories() if directories is None else directories:
        for manifest in sorted(Path(directory).glob("*/bundle.json")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return [found[name] for name in sorted(found)]


def find_bundle(
    task: str, model: str | None = None, directories: Iterable[Path] | None = None
) -> Bundle:
    """The bundle ``model`` (a name or a directory), or the one for ``task``: its namesake first."""
    places = installed(directories)
    if model is not None:
        path = Path(model)
        if not os.path.isfile(path / "bundle.json"):
            named = [place for place in places if place.name == model]
            if not named:
                names = ", ".join(place.name for place in places) or "none"
                raise MissingBundle(
                    f"There is no bundle {model!r}.",
                    hint=f"Installed: {names}. Or give a bundle's directory.",
                )
            path = named[0]
        bundle = open_bundle(path)
        if bundle.task != task:
            raise BundleError(
                f"Bundle {bundle.name}@{bundle.version} does {bundle.task!r}, not {task!r}."
            )
        return bundle
    for path in sorted(places, key=lambda place: place.name != task):
        if _task_of(path) == task:
            return open_bundle(path)
    raise _no_bundle(task)


def find_bundles(
    task: str,
    models: Sequence[str] = (),
    directories: Iterable[Path] | None = None,
    *,
    first: str | None = None,
) -> tuple[list[Bundle], dict[str, BundleError]]:
    """All bundles for a task that takes several; second, by name, what is wrong with others.

    ``models``: names or directories, each of which has to be usable; without them, all that are
    installed, the one called ``first`` (by default the task's namesake) before others. Raises what
    :func:`find_bundle` raises where none is usable.
    """
    if models:
        return [find_bundle(task, model, directories) for model in models], {}
    found: list[Bundle] = []
    problems: dict[str, BundleError] = {}
    for path in sorted(installed(directories), key=lambda place: place.name != (first or task)):
        if _task_of(path) == task:
            try:
                found.append(open_bundle(path))
            except BundleError as error:
                problems[path.name] = error
    if not found:
        raise next(iter(problems.values()), _no_bundle(task))
    return found, problems


def _no_bundle(task: str) -> MissingBundle:
    return MissingBundle(
        f"No bundle for {task!r} is installed.",
        hint="Train and export one (python -m training export), or set CAPTIONER_BUNDLES.",
    )


def _task_of(path: Path) -> str | None:
    try:
        task = json.loads((path / "bundle.json").read_text("utf-8")).get("task")
    except (ValueError, RecursionError, OSError, AttributeError):
        return path.name  # damaged: opening the one that bears the task's name says how
    return task if isinstance(task, str) else path.name


def _current(description: Any, manifest: Path) -> dict[str, Any]:
    version = description.get("format_version") if isinstance(description, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{manifest} is no bundle's description: it has no format_version.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{manifest} has format {version}; this release reads formats up to {FORMAT_VERSION}.",
            hint="Update captioner.",
        )
    for old in range(version, FORMAT_VERSION):
        if old not in READERS:
            raise BundleError(
                f"{manifest} has format_version {version}, which this release no longer reads.",
                hint="Export the bundle again, or use the release that wrote it.",
            )
        description = READERS[old](description)
    return dict(description)


def _verify(path: Path, expected: str) -> None:
    if not os.path.isfile(path):
        raise BundleError(f"{path} is missing from the bundle.", hint="Fetch or export it again.")
    try:
        found = _sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from None
    if found != expected:
        raise BundleError(
            f"{path} is damaged or was changed: its SHA-256 is not the one in bundle.json.",
            hint="Fetch or export the bundle again.",
        )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
