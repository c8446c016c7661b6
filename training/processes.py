"""Training in several processes: what one of them counts, and what all do."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor


def share(module: lightning.LightningModule, count: Tensor | int) -> Tensor | float:
    """What makes the mean of the processes' means the mean over all that they count.

    DDP averages gradients as if every process had seen as much; ``count`` is what this one has.
    """
    processes = module.trainer.world_size
    if processes == 1:
        return 1.0
    mine = torch.as_tensor(count, dtype=torch.float32, device=module.device)
    total = module.trainer.strategy.reduce(mine.clone(), reduce_op="sum")
    return mine * processes / torch.clamp(total, min=1)
