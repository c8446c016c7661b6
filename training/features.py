"""Encoder features, computed once and kept in memory-mapped files.

A frozen encoder gives the same features in every epoch, so they are computed once. The file's name
is a hash of everything that decides its content: weights, preprocessing, the depth of the cut,
mirroring and the pictures themselves. Changing any of them makes a new file; nothing is stale.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from tqdm import tqdm

from captioner.vision.encoder import STAGES, ResNetEncoder
from captioner.vision.preprocess import Preprocessing

Pixels = Callable[[int], Tensor]


def cached_features(
    pictures: Sequence[Tensor],
    fingerprint: str,
    encoder: ResNetEncoder,
    preprocessing: Preprocessing,
    directory: str | Path,
    *,
    stages: int = len(STAGES),
    mirror: bool = False,
    batch_size: int = 32,
    name: str = "features",
) -> np.ndarray:
    """Features of all pictures, ``(pictures, positions, size)`` float16, memory-mapped.

    ``pictures[i]`` gives uint8 pixels ``(3, size, size)``; ``fingerprint`` identifies them.
    ``stages`` below 5 stops early and keeps that map, for training the stages above it;
    ``mirror`` takes each picture left to right. An unfinished file never bears the final name.
    """
    path = Path(directory) / (
        f"{name}-"
        + _key(fingerprint, encoder, preprocessing, stages=stages, mirror=mirror)
        + ".npy"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            _compute(partial, pictures, encoder, preprocessing, stages, mirror, batch_size, name)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _compute(
    path: Path,
    pictures: Sequence[Tensor],
    encoder: ResNetEncoder,
    preprocessing: Preprocessing,
    stages: int,
    mirror: bool,
    batch_size: int,
    name: str,
) -> None:
    device = next(encoder.parameters()).device
    fused = encoder.fused(device)
    store: np.ndarray | None = None
    progress = tqdm(total=len(pictures), desc=name, unit="photo", mininterval=1)
    with torch.inference_mode(), progress:
        for first, pixels in _batches(pictures, batch_size):
            batch = preprocessing.normalise(pixels.to(device))
            batch = (batch.flip(3) if mirror else batch).to(memory_format=torch.channels_last)
            maps = fused.lower(batch, stages)
            if stages == len(STAGES):
                rows = fused.upper(maps, stages)
            else:
                rows = maps.flatten(2).transpose(1, 2)
            found = rows.half().cpu().numpy()
            if store is None:
                shape = (len(pictures), *found.shape[1:])
                store = open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            store[first : first + len(found)] = found
            progress.update(len(found))
    if store is None:
        open_memmap(path, mode="w+", dtype=np.float16, shape=(0, 1, encoder.feature_size))
    else:
        store.flush()


def _batches(pictures: Sequence[Tensor], batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Decodes the next batch in a thread while the encoder works on this one."""

    def load(first: int) -> Tensor:
        last = min(first + batch_size, len(pictures))
        return torch.stack([pictures[index] for index in range(first, last)])

    with ThreadPoolExecutor(1) as pool:
        starts = list(range(0, len(pictures), batch_size))
        pending = pool.submit(load, starts[0]) if starts else None
        for number, first in enumerate(starts):
            assert pending is not None
            pixels = pending.result()
            if number + 1 < len(starts):
                pending = pool.submit(load, starts[number + 1])
            yield first, pixels


def _key(
    fingerprint: str,
    encoder: ResNetEncoder,
    preprocessing: Preprocessing,
    *,
    stages: int,
    mirror: bool,
) -> str:
    about = {
        "pictures": fingerprint,
        "weights": weights_hash(encoder),
        "preprocessing": preprocessing.to_dict(),
        "output": encoder.output if stages == len(STAGES) else "map",
        "stages": stages,
        "mirror": mirror,
        "dtype": "float16",
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
