"""``load("caption")``: an object that takes what a person has and gives what a person wants."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

from captioner.bundle import find_bundle, find_bundles
from captioner.errors import InvalidOption
from captioner.tasks.caption import CaptionTask
from captioner.tasks.frames import FramesTask
from captioner.tasks.generate import GenerateTask
from captioner.tasks.translate import TranslateTask

OF_ONE: dict[str, Callable[..., Any]] = {"caption": CaptionTask, "frames": FramesTask}
# These take all bundles there are for them, and each call says which: a pair of languages, a name.
OF_SEVERAL: dict[str, Callable[..., Any]] = {"translate": TranslateTask, "generate": GenerateTask}
TASKS = OF_ONE | OF_SEVERAL
# Of several, the bundle that is meant where a call names none, if it is there.
FIRST = {"generate": "shakespeare"}

__all__ = ["TASKS", "CaptionTask", "FramesTask", "GenerateTask", "TranslateTask", "load"]
Models = str | Sequence[str] | None


@overload
def load(
    task: Literal["caption"] = ..., *, model: str | None = ..., device: str = ...
) -> CaptionTask: ...
@overload
def load(task: Literal["frames"], *, model: str | None = ..., device: str = ...) -> FramesTask: ...
@overload
def load(
    task: Literal["translate"], *, model: Models = ..., device: str = ...
) -> TranslateTask: ...
@overload
def load(task: Literal["generate"], *, model: Models = ..., device: str = ...) -> GenerateTask: ...
@overload
def load(task: str, *, model: Models = ..., device: str = ...) -> Any: ...
def load(task: str = "caption", *, model: Models = None, device: str = "cpu") -> Any:
    """The model, or models, for ``task``, ready to be called.

    ``model`` is an installed bundle's name or a bundle's directory, for a task of several models
    also a list of them; without it, the bundle that ships, or all of them. Raises
    :class:`~captioner.errors.MissingBundle` or :class:`~captioner.errors.BundleError`.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        raise InvalidOption(
            f"There is no task {task!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else f"Tasks: {', '.join(TASKS)}.",
        )
    if task in OF_SEVERAL:
        named = [model] if isinstance(model, str) else list(model or ())
        bundles, problems = find_bundles(task, named, first=FIRST.get(task))
        return OF_SEVERAL[task](bundles, device=device, problems=problems)
    if model is not None and not isinstance(model, str):
        raise InvalidOption(f"{task} takes one model, not {list(model)}.")
    return OF_ONE[task](find_bundle(task, model), device=device)
