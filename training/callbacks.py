"""What a training shows besides its numbers."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn


class BestCheckpoint(ModelCheckpoint):
    """``best.ckpt`` in the run's folder: the most of the module's ``monitor``.

    A module without one is a captioner: the CIDEr of captions that validation made. One whose
    ``monitor_mode`` is ``"min"`` wants the least of it, as of a loss.
    """

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="CIDEr", mode="max", enable_version_counter=False)

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """The folder is known only now, and so is what is chosen by."""
        self.dirpath = trainer.default_root_dir
        self.monitor = getattr(pl_module, "monitor", None) or self.monitor
        if getattr(pl_module, "monitor_mode", "max") != self.mode:
            self.mode = pl_module.monitor_mode
            self.kth_value = torch.tensor(float("inf"))
        super().setup(trainer, pl_module, stage)


class MovingAverage(WeightAveraging):
    """Validates and stores an exponential moving average of the weights, ``decay`` of it a step.

    Unlike ``EMAWeightAveraging`` it leaves weights that do not learn as they are to the last bit:
    an encoder that several bundles share has to stay the same file.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` in the run's folder: after every epoch, to go on from."""

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """The folder is known only now."""
        self.dirpath = trainer.default_root_dir
        super().setup(trainer, pl_module, stage)


class SampleCaptions(lightning.Callback):
    """After each validation: the first photos with the captions of now, in TensorBoard.

    ``photos`` of them, always the same, so that one sees how a caption changes.
    """

    def __init__(self, photos: int = 8) -> None:
        self.photos = photos

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Images and captions under ``sample/``."""
        loggers = [log for log in trainer.loggers if isinstance(log, TensorBoardLogger)]
        if trainer.sanity_checking or not trainer.is_global_zero or not loggers or not self.photos:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        pictures = data.pictures("validation")
        if pictures is None or not len(pictures):
            return
        pixels = torch.stack([pictures[i] for i in range(min(self.photos, len(pictures)))])
        module.eval()
        with torch.inference_mode():
            images = module.preprocessing.normalise(pixels.to(module.device))
            found = module.model.caption(images, module.search_options())
        for logger in loggers:
            for number, (picture, best) in enumerate(zip(pixels, found, strict=True)):
                text = " ".join(module.vocabulary.decode(best[0].ids))
                logger.experiment.add_image(f"sample/{number}", picture, trainer.global_step)
                logger.experiment.add_text(f"sample/{number}", text, trainer.global_step)
