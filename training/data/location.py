"""Where data lies: paths in a config are looked up in the data folders of this machine."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.errors import DataError

VARIABLE = "CAPTIONER_DATA"
DEFAULT = "data"


def data_folders(environment: Mapping[str, str] | None = None) -> list[Path]:
    """The folders a relative path is looked up in, in this order.

    The working directory, then what ``CAPTIONER_DATA`` names, then ``data/``. Raises
    ``DataError`` when ``CAPTIONER_DATA`` names something that is not a folder.
    """
    named = (os.environ if environment is None else environment).get(VARIABLE, "")
    if named and not Path(named).expanduser().is_dir():
        raise DataError(
            f"{VARIABLE} is {named!r}, which is not a folder.",
            hint="Set it to the folder with the data, or unset it.",
        )
    places = [Path(), *([Path(named).expanduser()] if named else []), Path(DEFAULT)]
    return [place.absolute() for place in places]


def locate(pattern: str | Path, folders: Sequence[Path] | None = None) -> list[Path]:
    """The files or folders that a path or glob means, sorted; at least one.

    The first of ``folders`` (``data_folders()`` by default) where anything matches wins; a folder
    that is absolute or starts with ``~`` is looked up as it is. Raises ``DataError`` that names
    every place looked at.
    """
    pattern = os.path.expanduser(pattern)
    places = data_folders() if folders is None else folders
    tried = [Path(pattern)] if os.path.isabs(pattern) else [place / pattern for place in places]
    for full in tried:
        if full.exists():
            return [full]
        found = sorted(glob.glob(str(full), recursive=True))
        if found:
            return [Path(path) for path in found]
    looked = ", ".join(dict.fromkeys(str(full) for full in tried))
    raise DataError(
        f"There is no {pattern!r}; looked for {looked}.",
        hint=f"Mend the path, or set {VARIABLE} to the folder it is relative to.",
    )
