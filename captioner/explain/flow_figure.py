"""Gradient flow drawn: norms by lag, what the additive path leaves, how far gates are shut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from captioner.explain.gradient_flow import GradientFlow

SMALLEST = 1e-30  # what has vanished altogether is drawn here
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKS = "o^sDvP*X"


def flow_figure(flows: Mapping[str, GradientFlow]) -> Image.Image:
    """Three panels with a colour for each flow, under the names that it is given.

    The gradient's norm with respect to h (a line) and c (dashed) by lag; the product of
    ``∂c_t / ∂c_{t-1}`` over the lag; of each gate's units, the share of steps in which they are
    shut and open. Names tell σ_max and ρ of the last ``W_hh``. Raises ValueError without a flow.
    """
    if not flows:
        raise ValueError("there is no gradient flow to draw")
    figure = Figure(figsize=(15, 4.6), dpi=100, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    norms, products, gates = figure.subplots(1, 3)
    for number, (name, flow) in enumerate(flows.items()):
        colour = COLOURS[number % len(COLOURS)]
        _by_lag(norms, flow.hidden, colour, "-", _named(name, flow))
        if flow.memory:
            _by_lag(norms, flow.memory, colour, "--", None)
        if flow.highway:
            _by_lag(products, flow.highway, colour, "-", name)
        for mark, gate in zip(MARKS, flow.open_share, strict=False):
            gates.plot(
                flow.shut_share[gate],
                flow.open_share[gate],
                mark,
                color=colour,
                alpha=0.5,
                markersize=4,
                label=f"{name}: {gate}",
            )
    _label(norms, "norm of the gradient: h —, c - -", "steps back", "norm")
    _label(products, "what the additive path leaves", "steps back", "product of ∂c_t/∂c_{t-1}")
    _label(gates, "gates, a dot for each unit", "share of steps below 0.1", "above 0.9")
    gates.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _by_lag(axes: Any, values: list[float], colour: str, line: str, label: str | None) -> None:
    axes.semilogy(np.maximum(values, SMALLEST), line, color=colour, label=label)


def _named(name: str, flow: GradientFlow) -> str:
    if not flow.sigma_max:
        return name
    last = list(flow.sigma_max)[-1]
    return f"{name} (σ {flow.sigma_max[last]:.2f}, ρ {flow.spectral_radius[last]:.2f})"


def _label(axes: Any, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
