"""Adam with a linear warm-up and a cosine, as ``OptimiserSettings`` says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from training.settings import OptimiserSettings


def scheduled(
    groups: Sequence[dict[str, Any]],
    settings: OptimiserSettings,
    steps: int,
    *,
    fused: bool = True,
) -> dict[str, Any]:
    """What ``configure_optimizers`` gives, for groups with a rate each and ``steps`` in all.

    ``fused``: not in mixed precision, where Lightning refuses to clip a fused one's gradients.
    """
    optimiser = torch.optim.AdamW(
        list(groups), betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=fused
    )
    total = max(1, steps)

    def share(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        return warm * (settings.final + (1 - settings.final) * cosine)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
