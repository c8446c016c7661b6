"""``python -m training.data.kernel``: the C source that configs/charlm/kernel.yaml reads.

All .c and .h files under ``kernel/`` of a Linux release, in a fixed random order, one after the
other, as Karpathy, Johnson and Fei-Fei (2015) put their ``linux_input.txt`` together. Debian's
package linux-source-6.1 holds a release as one .tar.xz:

    apt-get download linux-source-6.1 && dpkg -x linux-source-6.1_*.deb linux
    python -m training.data.kernel linux/usr/src/linux-source-6.1.tar.xz --out data/char/kernel.txt
"""

from __future__ import annotations

import argparse
import lzma
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from captioner.errors import DataError, UserError


def kernel_text(archive: str | Path, folder: str = "kernel", seed: int = 0) -> str:
    """The joined sources of ``folder`` in a release's archive; what is not UTF-8 is Latin-1.

    Raises ``DataError`` for a file that is no archive or has no such folder.
    """
    files: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r|*") as release:  # read once, from front to back
            for entry in release:
                parts = Path(entry.name).parts
                if entry.isfile() and parts[1:2] == (folder,) and parts[-1][-2:] in (".c", ".h"):
                    file = release.extractfile(entry)
                    assert file is not None
                    files[entry.name] = _decoded(file.read())
                elif files and parts[1:2] != (folder,):
                    break  # a folder's files lie together
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(f"{str(archive)!r} cannot be read as an archive: {error}.") from None
    if not files:
        raise DataError(f"{str(archive)!r} has no C source under {folder}/.")
    names = sorted(files)
    Random(seed).shuffle(names)
    return "".join(files[name] for name in names)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the text and says how long it is."""
    parser = argparse.ArgumentParser(prog="python -m training.data.kernel", description=__doc__)
    parser.add_argument("archive", help="linux-source-6.1.tar.xz")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    try:
        text = kernel_text(options.archive)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(text, "utf-8")
    print(f"{options.out}: {len(text)} characters, {len(set(text))} distinct")
    return 0


if __name__ == "__main__":
    sys.exit(main())
