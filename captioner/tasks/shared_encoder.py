"""One encoder in memory for all tasks whose bundles name the same file."""

from __future__ import annotations

from weakref import WeakValueDictionary

import torch

from captioner.bundle import Bundle
from captioner.vision.encoder import ResNetEncoder

_IN_USE: WeakValueDictionary[tuple[object, ...], ResNetEncoder] = WeakValueDictionary()


def shared_encoder(bundle: Bundle, encoder: ResNetEncoder, device: torch.device) -> ResNetEncoder:
    """The bundle's encoder :meth:`~ResNetEncoder.fused`, or the same that another task has already.

    It is only ever read, so that tasks in several threads can use it.
    """
    digest = bundle.description.get("encoder")
    if digest is None:
        return encoder.fused(device)
    key = (digest, encoder.depth, encoder.output, str(device))
    found = _IN_USE.get(key)
    if found is None:
        found = _IN_USE[key] = encoder.fused(device)
    return found
