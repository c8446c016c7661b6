"""Keyword arguments of a call to a task's options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from captioner.errors import UnknownOption

T = TypeVar("T")


def named_options(kind: type[T], given: dict[str, Any]) -> T:
    """``kind(**given)``, a dataclass; raises :class:`UnknownOption` for a name that it lacks."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = set(given) - set(known)
    if unknown:
        raise UnknownOption(
            f"There is no option {min(unknown)!r}.", hint=f"Options: {', '.join(known)}."
        )
    return kind(**given)
