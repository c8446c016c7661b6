"""Trees of additions and multiplications that say what a :class:`TreeCell` computes.

The search space of Zoph & Le 2017 (arXiv 1611.01578, section 3.4) as data: with ``B = 2^k`` leaves
there are ``2B - 1`` nodes, the leaves first, then each level above from left to right, the root
last; the nodes of a level are the parents of consecutive pairs of the level below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioner.errors import InvalidOption

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"add": torch.add, "mul": torch.mul}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda value: value,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}

MAX_LEAVES = 64


@dataclass(frozen=True)
class TreeSpecification:
    """A checked tree. ``nodes``: operation and activation of each.

    ``inject``: after node ``index`` is activated, its value a becomes ``act(op(a, c_{t-1}))``.
    ``cell_out``: the node whose value *before* its activation is ``c_t``. Both None: no c.
    """

    nodes: tuple[tuple[str, str], ...]
    inject: tuple[int, str, str] | None = None
    cell_out: int | None = None

    @property
    def leaves(self) -> int:
        """B."""
        return (len(self.nodes) + 1) // 2

    def to_dict(self) -> dict[str, Any]:
        """What :func:`read_specification` reads."""
        return {
            "base": self.leaves,
            "nodes": [list(node) for node in self.nodes],
            "inject": None if self.inject is None else list(self.inject),
            "cell_out": self.cell_out,
        }


def read_specification(given: str | Mapping[str, Any] | TreeSpecification) -> TreeSpecification:
    """A name of :data:`SPECIFICATIONS`, JSON, or a dict -> the checked tree.

    ``{"base": B, "nodes": [[op, act], …], "inject": [index, op, act] or null, "cell_out": index or
    null}``. Raises :class:`InvalidOption` that names the first thing that is wrong.
    """
    if isinstance(given, TreeSpecification):
        given = given.to_dict()
    if isinstance(given, str):
        if given in SPECIFICATIONS:
            return SPECIFICATIONS[given]
        if not given.lstrip().startswith("{"):
            raise InvalidOption(
                f"There is no tree {given!r}.",
                hint=f"One of {', '.join(SPECIFICATIONS)}, or a specification as JSON.",
            )
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise InvalidOption(f"The tree's specification is no JSON: {error}.") from error
    if not isinstance(given, Mapping):
        raise _wrong(f"is {given!r}", "A mapping with base, nodes, inject and cell_out.")
    unknown = [key for key in given if key not in ("base", "nodes", "inject", "cell_out")]
    if unknown:
        raise _wrong(f"has {unknown[0]!r}", "Only base, nodes, inject and cell_out.")
    base = _index(given.get("base"), "base", MAX_LEAVES + 1)
    if base < 1 or base & (base - 1):
        raise _wrong(f"has base {base}", f"A power of two from 1 to {MAX_LEAVES}.")
    listed: Any = given.get("nodes")
    if not _is_list(listed) or len(listed) != 2 * base - 1:
        found = len(listed) if _is_list(listed) else repr(listed)
        raise _wrong(f"has nodes {found}", f"{2 * base - 1} of them for base {base}.")
    nodes = tuple(_node(node, f"node {number}") for number, node in enumerate(listed))
    inject, cell_out = given.get("inject"), given.get("cell_out")
    if (inject is None) and (cell_out is None):
        return TreeSpecification(nodes)
    if cell_out is None:
        raise _wrong("injects c and has no cell_out", "Give both, or neither.")
    cell_out = _index(cell_out, "cell_out", len(nodes))
    if inject is None:
        raise _wrong("has a cell_out and injects c nowhere", "Give both, or neither.")
    if not _is_list(inject) or len(inject) != 3:
        raise _wrong(f"has inject {inject!r}", "[index, operation, activation].")
    where = _index(inject[0], "inject", len(nodes))
    return TreeSpecification(nodes, (where, *_node(inject[1:], "inject")), cell_out)


def _node(given: Any, what: str) -> tuple[str, str]:
    if not _is_list(given) or len(given) != 2:
        raise _wrong(f"has {what} {given!r}", "[operation, activation].")
    operation, activation = given
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise _wrong(f"has operation {operation!r} in {what}", f"{_or(OPERATIONS)}.")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise _wrong(f"has activation {activation!r} in {what}", f"{_or(ACTIVATIONS)}.")
    return operation, activation


def _index(given: Any, what: str, end: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < end:
        raise _wrong(f"has {what} {given!r}", f"A whole number from 0 to {end - 1}.")
    return given


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _or(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def _wrong(what: str, hint: str) -> InvalidOption:
    return InvalidOption(f"The tree's specification {what}.", hint=hint)


def _tree(
    text: str, inject: tuple[int, str, str] | None = None, cell_out: int | None = None
) -> Any:
    nodes = [node.split() for node in text.split(",")]
    return TreeSpecification(tuple((op, act) for op, act in nodes), inject, cell_out)


SPECIFICATIONS: dict[str, TreeSpecification] = {
    "nas": _tree(
        "add sigmoid, add relu, add sigmoid, mul relu,"
        "add tanh, add sigmoid, add tanh, add sigmoid,"
        "mul tanh, add tanh, mul tanh, add sigmoid, mul identity, add tanh, mul tanh",
        (8, "add", "tanh"),
        12,
    ),
    # Leaf 0 is f, 2 is i, 3 is g, 4 is o; with the weights of leaves 1, 5, 6 and 7 at zero an LSTM.
    "lstm": _tree(
        "add identity, add identity, add sigmoid, add tanh,"
        "add identity, add identity, add identity, add identity,"
        "add sigmoid, mul identity, add identity, add identity,"
        "add tanh, add sigmoid, mul identity",
        (8, "mul", "identity"),
        12,
    ),
    # Leaf 0 is z, 2 is n, 3 is w: h_t = z ⊙ h_{t-1} + w ⊙ n; with leaf 1 at zero and w's weights
    # those of z with the other sign, w = 1 - z, a GRU whose reset gate is open.
    "gru": _tree(
        "add sigmoid, mul identity, add tanh, add sigmoid,add identity, mul identity, add identity",
        (0, "mul", "identity"),
        6,
    ),
    "elman": _tree("add tanh"),
}
"""Trees with a name; ``cell: tree:NAME`` in a config, and ``cell: tree`` for the first."""
