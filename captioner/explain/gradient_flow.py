"""How gradients travel back through time in any model with recurrent cells.

A model's cells are watched while it runs (:class:`Watch`); every state stays in reach, and
:func:`gradient_flow` asks autograd for the gradient of a loss with respect to each.

Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063): in ``h_t = act(W_hh h_{t-1} + …)`` each step back
multiplies with ``diag(act') W_hh``, so that the norm shrinks or grows by the step, at most by
``σ_max(W_hh) · max act'``, in the long run of a linear network by the spectral radius.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captioner.explain.gates import gate_values, hidden_matrices, highway, spectrum
from captioner.recurrent import Cell, Stack, State
from captioner.recurrent.packing import loop

SATURATED = 0.9  # a gate above is open, below 1 minus it shut (Karpathy et al. 2015, 4.3)


@dataclass
class Run:
    """A cell over one batch of sequences: what each step was given, and the state after it."""

    name: str
    cell: Cell
    projected: list[Tensor] = field(default_factory=list)
    before: list[State] = field(default_factory=list)
    after: list[State] = field(default_factory=list)


class Watch:
    """A context in which every single cell of ``module`` keeps the states it goes through.

    ``runs`` has one :class:`Run` for each time that a cell went over a sequence, or was stepped
    from one state to the next, while gradients were on. Cells take the plain loop meanwhile: same
    numbers, more time and memory.
    """

    def __init__(self, module: nn.Module) -> None:
        self.cells = {
            name or "cell": part
            for name, part in module.named_modules()
            if isinstance(part, Cell) and not isinstance(part, Stack)
        }
        self.runs: list[Run] = []

    def __enter__(self) -> Watch:
        for name, cell in self.cells.items():
            self._put_on(name, cell)
        return self

    def __exit__(self, *_: object) -> None:
        for cell in self.cells.values():
            for method in ("step", "scan", "run"):
                cell.__dict__.pop(method, None)

    def _put_on(self, name: str, cell: Cell) -> None:
        plain = cell.step
        scanning: list[Run] = []

        def step(projected: Tensor, state: State, context: Tensor | None = None) -> State:
            if context is not None:
                projected = cell.add_context(projected, context)
            after = plain(projected, state)
            if torch.is_grad_enabled() and after[0].requires_grad:
                run = scanning[-1] if scanning else self._continued(name, cell, state)
                run.projected.append(projected)
                run.before.append(state)
                run.after.append(after)
            return after

        def scan(projected: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
            if not sizes:
                return projected.new_zeros(0, cell.hidden_size), state
            scanning.append(Run(name, cell))
            self.runs.append(scanning[-1])
            try:
                return loop(step, cell.output, projected, state, sizes)
            finally:
                if not scanning.pop().after:
                    self.runs.pop()

        def run(inputs: Tensor, state: State, sizes: list[int]) -> tuple[Tensor, State]:
            return cell.scan(cell.project_inputs(inputs), state, sizes)

        cell.step = step  # type: ignore[method-assign]
        cell.scan = scan  # type: ignore[method-assign]
        cell.run = run  # type: ignore[method-assign]

    def _continued(self, name: str, cell: Cell, state: State) -> Run:
        """The run that ``state`` came out of, or a new one."""
        for run in reversed(self.runs):
            if run.cell is cell and run.after[-1][0] is state[0]:
                return run
        self.runs.append(Run(name, cell))
        return self.runs[-1]


@dataclass(frozen=True)
class GradientFlow:
    """Numbers of one :class:`Run`, by lag: entry k is k steps before the last.

    ``hidden``, ``memory``: the gradient's norm with respect to h and c, the mean over the rows that
    took part (``memory`` is empty where there is no c). ``highway``: the mean over rows and units
    of the product of ``∂c_t / ∂c_{t-1}`` over the k steps that follow, empty where there is no
    such path. ``open_share``, ``shut_share``: for each gate, of each unit, the share of steps above
    0.9 and below 0.1. ``sigma_max``, ``spectral_radius``: of each gate's ``W_hh``.
    """

    name: str
    kind: str
    hidden: list[float]
    memory: list[float]
    highway: list[float]
    open_share: dict[str, list[float]]
    shut_share: dict[str, list[float]]
    sigma_max: dict[str, float]
    spectral_radius: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def gradient_flow(loss: Tensor, run: Run) -> GradientFlow:
    """The flow of ``loss``, a scalar that the run's states led to, back through ``run``.

    The graph is kept: ``loss.backward()`` may follow.
    """
    states = [part for state in run.after for part in (state[0], state[-1])[: len(state)]]
    found = torch.autograd.grad(loss, states, retain_graph=True, allow_unused=True)
    norms = [0.0 if grad is None else _mean_norm(grad) for grad in reversed(found)]
    parts = min(2, len(run.after[0]))
    with torch.no_grad():
        gates = [
            gate_values(run.cell, projected.detach(), tuple(part.detach() for part in state))
            for projected, state in zip(run.projected, run.before, strict=True)
        ]
    matrices = {name: spectrum(matrix) for name, matrix in hidden_matrices(run.cell).items()}
    return GradientFlow(
        name=run.name,
        kind=type(run.cell).__name__,
        hidden=norms[parts - 1 :: parts],
        memory=norms[::2] if parts == 2 else [],
        highway=_products(run),
        open_share={name: _share(gates, name, lambda g: g > SATURATED) for name in gates[0]},
        shut_share={name: _share(gates, name, lambda g: g < 1 - SATURATED) for name in gates[0]},
        sigma_max={name: values[0] for name, values in matrices.items()},
        spectral_radius={name: values[1] for name, values in matrices.items()},
    )


def _mean_norm(gradient: Tensor) -> float:
    return float(gradient.detach().double().norm(dim=1).mean())


def _products(run: Run) -> list[float]:
    """Over the rows that run to the end: others have no last step in common."""
    rows = run.after[-1][0].shape[0]
    found, product = [], torch.ones_like(run.after[-1][0], dtype=torch.float64)
    for projected, state in zip(reversed(run.projected), reversed(run.before), strict=True):
        found.append(float(product.mean()))
        along = highway(
            run.cell, projected[:rows].detach(), tuple(part[:rows].detach() for part in state)
        )
        if along is None:
            return []
        product = product * along.detach()
    return found


def _share(
    gates: list[dict[str, Tensor]], name: str, where: Callable[[Tensor], Tensor]
) -> list[float]:
    every = where(torch.cat([step[name] for step in gates])).double().mean(0)
    return [round(share, 4) for share in every.tolist()]
