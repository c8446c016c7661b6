"""How a bundle's tensors are stored: float32, float16, or int8 with a scale for each channel.

A matrix or a convolution of enough values is stored as int8: row i (an output channel) as
``round(w_i / s_i)`` with ``s_i = max|w_i| / 127`` under ``<name>.scale``. Vectors stay float32:
they are few, and batch norms are sensitive.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Storage = Literal["float32", "float16", "int8"]

SCALE = ".scale"
SMALLEST = 1024  # values; below it int8 saves nothing worth the error


def pack(state: dict[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """A state dict as it is written. Tensors that share memory are written once."""
    packed: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in state.items():
        value = value.detach().cpu()
        if value.numel() and value.data_ptr() in seen:
            continue
        seen.add(value.data_ptr())
        matrix = value.is_floating_point() and value.dim() >= 2 and value.numel() >= SMALLEST
        if matrix and storage == "int8":
            rows = value.float().flatten(1)
            scale = rows.abs().amax(1).clamp(min=1e-12) / 127
            packed[name] = (rows / scale.unsqueeze(1)).round().to(torch.int8).view(value.shape)
            packed[name + SCALE] = scale
        elif matrix and storage == "float16":
            packed[name] = value.half().contiguous()
        else:
            packed[name] = value.clone(memory_format=torch.contiguous_format)
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`pack` wrote, as float32."""
    state: dict[str, Tensor] = {}
    for name, value in packed.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in packed:
            continue
        if value.dtype == torch.int8 and name + SCALE in packed:
            scale = packed[name + SCALE]
            state[name] = value.float() * scale.view(-1, *[1] * (value.dim() - 1))
        else:
            state[name] = value.float() if value.is_floating_point() else value
    return state
