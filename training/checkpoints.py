"""Checkpoints on disk: found by name, and read without trusting them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captioner.errors import DataError, UserError

NAMES = ("last", "best")  # what training.callbacks writes into a run's folder


def find_checkpoint(chosen: str, folder: str | Path) -> Path:
    """The file that ``--ckpt_path`` means: a path, or last or best of the run in ``folder``.

    Raises ``UserError`` where it is not there: a training must never start anew in silence.
    """
    path = Path(folder, f"{chosen}.ckpt") if chosen in NAMES else Path(chosen)
    if not path.is_file():
        raise UserError(
            f"There is no checkpoint {str(path)!r} (--ckpt_path={chosen}).",
            hint="Give a .ckpt file, or last or best of the run in trainer.default_root_dir. "
            "Without --ckpt_path fit starts anew.",
        )
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of one of this package's modules, nothing unpickled but tensors.

    Under ``captioner`` it says what a bundle needs: ``task``, ``model`` (keyword arguments),
    ``assets`` (the task's own files, text by name), ``preprocessing``, ``decoding``, all in plain
    types.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no checkpoint {str(path)!r}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in a dozen ways
        what = type(error).__name__
        raise DataError(f"{str(path)!r} cannot be read as a checkpoint ({what}).") from error
    if not isinstance(checkpoint, dict) or "captioner" not in checkpoint:
        raise DataError(f"{str(path)!r} was not written by captioner's training.")
    return checkpoint
