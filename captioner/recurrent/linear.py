"""Matrix products of decoding: few rows against a large matrix, step after step.

torch's product of the 3 rows of a beam with such a matrix spends most of its time on bringing the
matrix into the order that the processor wants. :func:`prepack` does that once, through the oneDNN
operators that torch's own compiler uses for the same purpose (``benchmarks/recurrent.py`` measures
it). Without :func:`prepack`, with gradients, on other devices or without oneDNN the functions here
are torch's plain ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_reorder_linear_weight"
)


def prepack(module: nn.Module) -> None:
    """Prepares the float32 matrices of ``module`` for decoding on a CPU; costs a copy of them.

    Call it once when the weights are final. A weight that is changed, loaded anew or moved later is
    used plainly from then on (one that is changed through ``.data`` would not be noticed).
    """
    if not _ONEDNN:
        return
    for part in module.modules():
        if isinstance(part, nn.Embedding):  # looked up, not multiplied
            continue
        for weight in part.parameters(recurse=False):
            if weight.dim() == 2 and weight.dtype == torch.float32 and weight.device.type == "cpu":
                packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
                # The alias keeps the address from being given to other weights.
                prepacked = (weight.detach(), _version(weight), packed)
                weight._prepacked = prepacked  # type: ignore[attr-defined]


class PackedLinear:
    """A layer whose weights are final, as :func:`prepack` has them, and without the original.

    ``weight (out, in)``, ``bias (out,)`` or None. Float32 rows ``(rows, in)`` -> ``(rows, out)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.out_features = len(weight)
        self.packed = _ONEDNN and weight.device.type == "cpu" and weight.dtype == torch.float32
        weight = weight.detach()
        if self.packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.weight, self.bias = weight, None if bias is None else bias.detach()

    def __call__(self, inputs: Tensor) -> Tensor:
        """``inputs Wᵀ + bias``."""
        if not self.packed:
            return functional.linear(inputs, self.weight, self.bias)
        if not inputs.numel():
            return inputs.new_empty(*inputs.shape[:-1], self.out_features)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self.weight, self.bias, "none", [], ""
        )
        return product


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``inputs Wᵀ + bias``: :func:`torch.nn.functional.linear`, from a prepacked weight if any."""
    packed = _packed(inputs, weight)
    if packed is None:
        return functional.linear(inputs, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    return product


def add_linear(added: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """``added + inputs Wᵀ``: ``(rows, out)`` and ``(rows, in)`` -> ``(rows, out)``."""
    packed = _packed(inputs, weight)
    if packed is None or added.dtype != inputs.dtype:
        return torch.addmm(added, inputs, weight.t())
    fused: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, added, packed, None, "add")
    return fused


def _packed(inputs: Tensor, weight: Tensor) -> Any:
    prepacked = getattr(weight, "_prepacked", None)
    if prepacked is None or torch.is_grad_enabled():
        return None
    if inputs.dtype != torch.float32 or inputs.device.type != "cpu" or not inputs.numel():
        return None
    source, version, packed = prepacked
    changed = source.data_ptr() != weight.data_ptr() or version != _version(weight)
    return None if changed else packed


def _version(weight: Tensor) -> int:
    return -1 if weight.is_inference() else weight._version
