"""Captions for photos and labels for videos with recurrent networks.

>>> import captioner
>>> caption = captioner.load("caption")
>>> print(caption("photo.jpg").caption)                                    # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.tasks import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only who asks for a model pays for it.
    if name == "load":
        from captioner.tasks import load

        return load
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")
