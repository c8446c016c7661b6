"""``python -m training fit|validate|test`` over YAML configs, and what comes before and after."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from captioner.errors import UserError
from training.checkpoints import find_checkpoint, read_checkpoint

DESCRIPTION = """Trains, validates and tests the models of captioner as a YAML config says.

Six more commands, each with a --help of its own: `folds` cross-validates a config of videos,
`export` makes a checkpoint a bundle, `score` scores a captioner's bundle as it is served,
`score-labels` a labeller's that learnt from photos, `score-text` a translator's or a character
model's, `gradient-flow` draws where gradients go."""


# What is trained on what where nothing says it.
DEFAULTS = {
    "model": "training.caption.CaptionModule",
    "data": "training.data.captions.CaptionDataModule",
}


class TrainingCLI(LightningCLI):
    """Checkpoints are looked for first, and a run's config overwrites its last."""

    def __init__(self, *arguments: Any, args: Sequence[str], **options: Any) -> None:
        self._given = list(args)
        super().__init__(*arguments, args=self._given, **options)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, less ``predict``: captions come from an exported bundle."""
        return {
            name: skipped
            for name, skipped in LightningCLI.subcommands().items()
            if name != "predict"
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for everything and a captioner, unless a config says otherwise.

        A default that is there would leave its own settings to the class that a config names.
        """
        classes = {
            part: {"class_path": path}
            for part, path in DEFAULTS.items()
            if not _names_class(self._given, part)
        }
        parser.set_defaults({"seed_everything": 1, **classes})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Turns ``--ckpt_path`` into a file that can be read, before any work is done.

        Lightning itself looks for ``last`` before callbacks know their folder, and starts anew.
        """
        with warnings.catch_warnings():
            # Lightning thinks that whoever hands arguments over has none of a command line's.
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        options = self.config[subcommand] if subcommand else self.config
        chosen = options.get("ckpt_path")
        if chosen:
            found = find_checkpoint(chosen, options.trainer.default_root_dir or ".")
            read_checkpoint(found)
            options.ckpt_path = str(found)

    def before_validate(self) -> None:
        """Random weights are not scored."""
        self._require_weights("validate")

    def before_test(self) -> None:
        """Random weights are not scored."""
        self._require_weights("test")

    def _require_weights(self, subcommand: str) -> None:
        bundle = getattr(self.model, "bundle", None)  # not every module can go on from one
        if not self._get(self.config_init, "ckpt_path") and bundle is None:
            raise UserError(
                f"{subcommand} has no weights to score.",
                hint="Give --ckpt_path (a file, last or best), or a bundle as model.bundle.",
            )


def _names_class(arguments: Sequence[str], part: str) -> bool:
    """Whether an option or a config says which class ``part``, model or data, is."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in (f"--{part}", f"--{part}.class_path"):
            return True
        if option in ("-c", "--config"):
            try:
                config = yaml.safe_load(Path(value or following).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue  # jsonargparse says what is wrong with it
            # A config of all commands has one section for each.
            sections = [config, *config.values()] if isinstance(config, dict) else []
            if any("class_path" in _section(each, part) for each in sections):
                return True
    return False


def _section(config: Any, part: str) -> dict[str, Any]:
    found = config.get(part) if isinstance(config, dict) else None
    if isinstance(found, str):  # the class alone
        return {"class_path": found}
    return found if isinstance(found, dict) else {}


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

    return TrainingCLI(
        lightning.LightningModule,
        lightning.LightningDataModule,
        trainer_class=Trainer,
        trainer_defaults={"callbacks": [BestCheckpoint(), LastCheckpoint()]},
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=arguments,
        run=run,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "python -m training", "description": DESCRIPTION},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; an error of the user's is a sentence and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["folds"]:
            from training.folds import main as folds

            return folds(arguments[1:])
        if arguments[:1] == ["export"]:
            from training.export import main as export

            return export(arguments[1:])
        if arguments[:1] == ["score"]:
            from training.score import main as score

            return score(arguments[1:])
        if arguments[:1] == ["score-labels"]:
            from training.score_labels import main as score_labels

            return score_labels(arguments[1:])
        if arguments[:1] == ["score-text"]:
            from training.score_text import main as score_text

            return score_text(arguments[1:])
        if arguments[:1] == ["gradient-flow"]:
            from training.gradient_flow import main as draw_flow

            return draw_flow(arguments[1:])
        build(arguments)
    except UserError as error:
        return _refused(error)
    except ValueError as error:
        # jsonargparse wraps what a constructor raises.
        if isinstance(error.__cause__, UserError):
            return _refused(error.__cause__)
        raise
    return 0


def _refused(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
