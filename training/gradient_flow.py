"""Gradient flow of any training: a callback, and ``python -m training gradient-flow``.

The command reads a config, takes one training batch of it, and writes a picture and its numbers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from captioner.errors import DataError, InvalidOption
from captioner.explain.gradient_flow import GradientFlow, Watch, gradient_flow


class GradientFlowMonitor(lightning.Callback):
    """Every so many steps, where the loss's gradient goes in every recurrent cell of the module.

    Of each cell's longest run in that step a line is added to ``flow.jsonl``, with the step under
    ``step``, and ``step-<n>.png`` shows all cells. Logged are the norm of all gradients before they
    are clipped, ``grad_norm``, and for each cell ``flow/<cell>``, the base-10 logarithm of the
    norm at the first step over that at the last. The training itself computes the same numbers.

    Args:
        every_n_steps: how often; such a step takes about three times as long.
        folder: where files go; null for gradient_flow in the run's folder.
        pictures: whether to draw.
    """

    def __init__(
        self, every_n_steps: int = 100, folder: str | None = None, pictures: bool = True
    ) -> None:
        if every_n_steps < 1:
            raise InvalidOption(f"every_n_steps is {every_n_steps}.", hint="At least 1.")
        self.every_n_steps, self.folder, self.pictures = every_n_steps, folder, pictures
        self.flows: dict[str, GradientFlow] = {}
        self._watch: Watch | None = None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Watches, if this step is one to look at."""
        if trainer.global_step % self.every_n_steps == 0:
            self._watch = Watch(module).__enter__()

    def on_before_backward(self, trainer: lightning.Trainer, module: Any, loss: Tensor) -> None:
        """Asks for the gradients of all states before the graph is used up."""
        if self._watch is None:
            return
        longest = {}
        for run in self._watch.runs:
            if len(run.after) > len(longest[run.name].after if run.name in longest else ()):
                longest[run.name] = run
        self.flows = {name: gradient_flow(loss, run) for name, run in longest.items()}
        self._stop()

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        """The norm of all gradients; clipping comes after."""
        if not self.flows:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        module.log("grad_norm", norm)
        for name, flow in self.flows.items():
            module.log(f"flow/{name}", decades(flow))
        if trainer.is_global_zero:
            folder = Path(self.folder or os.path.join(trainer.default_root_dir, "gradient_flow"))
            write_flows(self.flows, folder, trainer.global_step, self.pictures)
        self.flows = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Nothing is watched outside of a step."""
        self._stop()

    def on_exception(self, *_: Any) -> None:
        """The same."""
        self._stop()

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.__exit__()
            self._watch = None


def decades(flow: GradientFlow) -> float:
    """``log10`` of the norm at the first step over that at the last; of c where there is one."""
    norms = flow.memory or flow.hidden
    values = torch.tensor([norms[-1], norms[0]], dtype=torch.float64).clamp(min=1e-300).log10()
    return float(values[0] - values[1])


def write_flows(
    flows: dict[str, GradientFlow], folder: Path, step: int, pictures: bool = True
) -> None:
    """A line for each flow in ``flow.jsonl``, and a picture of all."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "flow.jsonl").open("a", encoding="utf-8") as file:
        for flow in flows.values():
            file.write(json.dumps({"step": step, **flow.to_dict()}) + "\n")
    if pictures:
        from captioner.explain.flow_figure import flow_figure

        flow_figure(flows).save(folder / f"step-{step}.png")


class _Start(lightning.Callback):
    """The weights of a checkpoint, and nothing else of it."""

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def on_fit_start(self, trainer: lightning.Trainer, module: Any) -> None:
        from training.checkpoints import read_checkpoint

        module.load_state_dict(read_checkpoint(self.checkpoint)["state_dict"])


def main(arguments: Sequence[str]) -> int:
    """Writes ``--out`` and, beside it, the numbers as JSON."""
    from training.checkpoints import find_checkpoint
    from training.cli import Trainer, build

    parser = argparse.ArgumentParser(
        prog="python -m training gradient-flow",
        description="Where gradients go in one training batch of a config. Other options are the "
        "config's own, such as --model.init_args.cell=gru.",
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", required=True, metavar="FILE.png")
    parser.add_argument("--ckpt_path", help="trained weights: a file, last or best")
    options, rest = parser.parse_known_args(arguments)
    out = Path(options.out)
    if out.suffix.lower() != ".png":
        raise DataError(f"--out is {options.out!r}; it must end in .png.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {str(out.parent)!r} for {out.name!r}.")
    cli = build(["--config", options.config, *rest], run=False)
    monitor = _Drawn(out)
    callbacks: list[lightning.Callback] = [monitor]
    if options.ckpt_path:
        found = find_checkpoint(options.ckpt_path, cli.trainer.default_root_dir)
        callbacks.append(_Start(str(found)))
    trainer = Trainer(
        accelerator=cli.trainer.accelerator,
        precision=cli.trainer.precision,
        gradient_clip_val=cli.trainer.gradient_clip_val,
        max_steps=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=cli.trainer.default_root_dir,
        callbacks=callbacks,
    )
    trainer.fit(cli.model, datamodule=cli.datamodule)
    for name, flow in monitor.found.items():
        steps = len(flow.hidden) - 1
        spectra = ", ".join(
            f"{gate}: σ_max {flow.sigma_max[gate]:.2f}, ρ {flow.spectral_radius[gate]:.2f}"
            for gate in flow.sigma_max
        )
        norms = f"last {flow.hidden[0]:.2e}, {steps} steps back {flow.hidden[-1]:.2e}"
        print(f"{name} ({flow.kind}): gradient of h at the {norms}; W_hh of {spectra}")
    print(out)
    return 0


class _Drawn(GradientFlowMonitor):
    """Writes one picture and one JSON file where the command was told to."""

    def __init__(self, out: Path) -> None:
        super().__init__(every_n_steps=1)
        self.out = out
        self.found: dict[str, GradientFlow] = {}

    def on_before_optimizer_step(self, trainer: lightning.Trainer, module: Any, _: Any) -> None:
        from captioner.explain.flow_figure import flow_figure

        self.found = self.flows
        if not self.found:
            raise DataError("This model has no recurrent cell that a gradient goes through.")
        flow_figure(self.found).save(self.out)
        numbers = {name: flow.to_dict() for name, flow in self.found.items()}
        self.out.with_suffix(".json").write_text(json.dumps(numbers), "utf-8")
