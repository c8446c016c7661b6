"""From a bundle's description to objects: what does not fit is a BundleError that names the key.

A description was written by another release, or changed by hand. Neither is a fault of the program,
so a constructor's TypeError says nothing to whoever has the bundle.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from captioner.bundle import Bundle
from captioner.errors import BundleError, UserError

T = TypeVar("T")
HINT = "Export the bundle again, or update captioner where a newer release wrote it."


def check_keys(
    bundle: Bundle,
    where: str,
    function: Callable[..., Any],
    values: Any,
    *,
    given: Sequence[str] = (),
) -> None:
    """Whether ``values`` are keyword arguments of ``function``, beside those ``given`` elsewhere.

    ``where``: the place in ``bundle.json``, such as ``model.decoder``. Raises ``BundleError`` for
    a value that is no object, for an unknown key and for one that is missing.
    """
    if not isinstance(values, dict):
        raise wrong(bundle, where, f"is {values!r}, not an object")
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in given
    }
    for name in values:
        if name not in parameters:
            raise wrong(bundle, f"{where}.{name}", f"is not known (known: {', '.join(parameters)})")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in values:
            raise wrong(bundle, f"{where}.{name}", "is missing")


def build(bundle: Bundle, where: str, function: Callable[..., T], values: Any) -> T:
    """``function(**values)``; raises ``BundleError`` where it does not take them."""
    check_keys(bundle, where, function, values)
    try:
        return function(**values)
    except (TypeError, ValueError, RuntimeError, UserError) as error:
        raise wrong(bundle, where, f"cannot be used: {error}") from error


def check_vocabulary_size(bundle: Bundle) -> None:
    """Whether the model has as many words as ``vocabulary.json``, the four special ones counted."""
    size, words = bundle.model["vocabulary_size"], len(bundle.vocabulary())
    if size != words:
        raise wrong(
            bundle, "model.vocabulary_size", f"is {size!r}, but vocabulary.json makes {words}"
        )


def trusted_confidence(bundle: Bundle) -> float:
    """``metrics.confidence.threshold``: below it a result should not be trusted; 0 without one."""
    confidence = bundle.metrics.get("confidence", {})
    if not isinstance(confidence, dict):
        raise wrong(bundle, "metrics.confidence", f"is {confidence!r}, not an object")
    threshold = confidence.get("threshold", 0.0)
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold <= 1:
        where = "metrics.confidence.threshold"
        raise wrong(bundle, where, f"is {threshold!r}, not a number from 0 to 1")
    return float(threshold)


def wrong(bundle: Bundle, where: str, what: str) -> BundleError:
    """The error for one key of a description."""
    return BundleError(f"{where} in {bundle.path / 'bundle.json'} {what}.", hint=HINT)
