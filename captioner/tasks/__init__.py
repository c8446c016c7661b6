"""``load("caption")``: an object that takes what a person has and gives what a person wants."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Literal, overload

from captioner.bundle import find_bundle
from captioner.errors import InvalidOption
from captioner.tasks.caption import CaptionTask
from captioner.tasks.frames import FramesTask

TASKS: dict[str, Callable[..., Any]] = {"caption": CaptionTask, "frames": FramesTask}

__all__ = ["TASKS", "CaptionTask", "FramesTask", "load"]


@overload
def load(
    task: Literal["caption"] = ..., *, model: str | None = ..., device: str = ...
) -> CaptionTask: ...
@overload
def load(task: Literal["frames"], *, model: str | None = ..., device: str = ...) -> FramesTask: ...
@overload
def load(task: str, *, model: str | None = ..., device: str = ...) -> Any: ...
def load(task: str = "caption", *, model: str | None = None, device: str = "cpu") -> Any:
    """The model for ``task``, ready to be called.

    ``model`` is an installed bundle's name or a bundle's directory; without it, the bundle that
    ships. Raises :class:`~captioner.errors.MissingBundle` or
    :class:`~captioner.errors.BundleError`.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        raise InvalidOption(
            f"There is no task {task!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else f"Tasks: {', '.join(TASKS)}.",
        )
    return TASKS[task](find_bundle(task, model), device=device)
