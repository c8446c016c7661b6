"""``python -m training fit|validate|test|export|score`` over YAML configs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from captioner.errors import UserError


class TrainingCLI(LightningCLI):
    """Checkpoints are looked for, precision is checked, and a run's config overwrites its last."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for everything unless a config says otherwise."""
        parser.set_defaults({"seed_everything": 1})

    def before_fit(self) -> None:
        """A resume with nothing to resume fails here, loudly, before any work."""
        chosen = self._get(self.config_init, "ckpt_path")
        if chosen and chosen not in ("last", "best", "hpc", "registry"):
            if not Path(chosen).is_file():
                raise UserError(
                    f"There is no checkpoint {chosen!r} to resume from.",
                    hint="Without --ckpt_path a run starts anew.",
                )
        elif chosen == "last" and not list(Path(self.trainer.default_root_dir).rglob("last*.ckpt")):
            raise UserError(
                f"--ckpt_path=last, but {self.trainer.default_root_dir} holds no last.ckpt.",
                hint="Without --ckpt_path a run starts anew.",
            )


class Trainer(lightning.Trainer):
    """Lightning's trainer; bf16 on a CPU that lacks it becomes float32, with a warning."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        precision = str(kwargs.get("precision") or "")
        on_cpu = kwargs.get("accelerator") == "cpu" or not (
            torch.cuda.is_available() or torch.backends.mps.is_available()
        )
        if "bf16" in precision and on_cpu and not _cpu_has_bf16():
            rank_zero_warn(
                f"precision={precision}: this CPU has no bf16 instructions and would be many times "
                "slower with it. Training goes on in float32."
            )
            kwargs["precision"] = "32-true"
        super().__init__(*args, **kwargs)


def _cpu_has_bf16() -> bool:
    capabilities = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.is_file() else ""
    return capabilities.startswith("AVX512") and ("avx512_bf16" in text or "amx_bf16" in text)


def build(arguments: Sequence[str], *, run: bool = True) -> TrainingCLI:
    """Trainer, module and data as a config describes them; ``run`` carries out the subcommand."""
    from training.callbacks import BestCheckpoint, LastCheckpoint
    from training.caption import CaptionModule
    from training.data.captions import CaptionDataModule

    return TrainingCLI(
        CaptionModule,
        CaptionDataModule,
        trainer_class=Trainer,
        trainer_defaults={"callbacks": [BestCheckpoint(), LastCheckpoint()]},
        subclass_mode_model=True,
        args=list(arguments),
        run=run,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"description": __doc__},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; an error of the user's is a sentence and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["export"]:
            from training.export import main as export

            return export(arguments[1:])
        if arguments[:1] == ["score"]:
            from training.score import main as score

            return score(arguments[1:])
        build(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
