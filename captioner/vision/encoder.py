"""A ResNet with its last layer removed, with torchvision's weights.

The pooled vector is the lecture's ``v``; the grid of positions is what attention looks at.
Letters in comments: B images, P positions, D features.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from captioner.errors import InvalidOption, WeightsError
from captioner.vision.resnet import PLANS, build_stages, folded

Output = Literal["pooled", "grid"]

# From the picture to the last feature map. `trainable_stages` counts from the end.
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")

# Images that a core's cache and the heap like better than a large batch: the maps of 4 are 13 MB at
# their largest, and 32 by four were an eighth faster than 32 at once (timed by hand, two cores).
CPU_IMAGES = 4


class ResNetEncoder(nn.Module):
    """Photos to features: ``(batch, 3, height, width)`` -> ``(batch, positions, feature_size)``.

    ``output="pooled"`` averages the last map: one position. ``output="grid"`` keeps it: 49
    positions for a picture of 224 x 224, row by row from the top left.

    ``weights`` is a name that torchvision lists for this depth (``"IMAGENET1K_V1"``, fetched by
    torchvision), or a local ``.safetensors`` or ``.pth`` file with torchvision's parameter names;
    ``None`` starts from random numbers. ``trainable_stages`` of the last stages (0 to 5: layer4,
    layer3, layer2, layer1, stem) learn; batch-norm statistics never change, since small batches
    would destroy them.
    """

    def __init__(
        self,
        depth: int = 18,
        *,
        output: Output = "grid",
        weights: str | None = None,
        trainable_stages: int = 0,
    ) -> None:
        super().__init__()
        if depth not in PLANS:
            raise InvalidOption(f"No ResNet of depth {depth}.", hint=f"Choose one of {[*PLANS]}.")
        if output not in ("pooled", "grid"):
            raise InvalidOption(f"Encoder output {output!r} is unknown.", hint="pooled or grid.")
        if not 0 <= trainable_stages <= len(STAGES):
            raise InvalidOption(
                f"trainable_stages is {trainable_stages}.", hint=f"0 to {len(STAGES)}."
            )
        self.depth = depth
        self.output: Output = output
        self.trainable_stages = trainable_stages
        self.feature_size = PLANS[depth].feature_size
        self._at_once: int | None = None
        for name, stage in build_stages(depth).items():
            self.add_module(name, stage)
        if weights is not None:
            self.load_torchvision(_pretrained(depth, weights))
        for name in STAGES[: len(STAGES) - trainable_stages]:
            getattr(self, name).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images ``(batch, 3, H, W)`` -> ``(batch, positions, feature_size)``."""
        parts = torch.split(images, self._at_once) if self._at_once else [images]
        found = [self.upper(self.lower(part, len(STAGES)), len(STAGES)) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)

    def lower(self, images: Tensor, stages: int) -> Tensor:
        """The map ``(batch, channels, h, w)`` after the first ``stages`` stages."""
        return self._run(images, 0, stages)

    def upper(self, maps: Tensor, stages: int) -> Tensor:
        """What :meth:`lower` left, to ``(batch, positions, feature_size)``."""
        maps = self._run(maps, stages, len(STAGES))
        if self.output == "pooled":
            return maps.mean((2, 3)).unsqueeze(1)
        return maps.flatten(2).transpose(1, 2)

    def _run(self, maps: Tensor, first: int, last: int) -> Tensor:
        frozen = len(STAGES) - self.trainable_stages
        for number in range(first, last):
            stage = getattr(self, STAGES[number])
            if number < frozen:
                with torch.no_grad():
                    maps = stage(maps)
            else:
                maps = stage(maps)
        return maps

    def train(self, mode: bool = True) -> ResNetEncoder:
        """As usual, but batch norms stay in evaluation: their statistics are frozen."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def fused(self, device: torch.device | str | None = None) -> ResNetEncoder:
        """A copy for inference on ``device``, by default where this one is; it stays there.

        Batch norms are folded into the convolutions, sums and ReLUs too on a CPU; channels last.
        """
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        copied = copied if device is None else copied.to(device)
        copied.trainable_stages = 0
        copied._at_once = CPU_IMAGES if next(copied.parameters()).device.type == "cpu" else None
        for name in STAGES:
            setattr(copied, name, folded(getattr(copied, name)))
        return copied

    def load_torchvision(self, state: dict[str, Tensor]) -> None:
        """Takes torchvision's parameter names; the classifier ``fc`` is left out."""
        renamed = {}
        for name, value in state.items():
            if name.startswith("conv1."):
                renamed["stem.0." + name.removeprefix("conv1.")] = value
            elif name.startswith("bn1."):
                renamed["stem.1." + name.removeprefix("bn1.")] = value
            elif not name.startswith("fc."):
                renamed[name] = value
        try:
            self.load_state_dict(renamed)
        except RuntimeError as error:
            lines = str(error).splitlines()
            raise WeightsError(
                f"These weights do not fit a ResNet-{self.depth}: {' '.join(lines[1:3]).strip()}",
                hint="Choose the file or the depth so that they belong together.",
            ) from None


def _pretrained(depth: int, weights: str) -> dict[str, Tensor]:
    """A torchvision state dict by name or from a local file."""
    path = Path(weights)
    if path.suffix in (".safetensors", ".pth", ".pt"):
        return _read_weights(path)
    from torchvision import models  # heavy, and needed for this alone

    network = f"resnet{depth}"
    listed = models.get_model_weights(network)
    names = [entry.name for entry in listed]
    if weights not in [*names, "DEFAULT"]:
        near = difflib.get_close_matches(weights, names, n=1)
        raise WeightsError(
            f"torchvision lists no weights {weights!r} for {network}.",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + f"It lists {', '.join(names)}; or give a local .safetensors or .pth file.",
        )
    try:
        return dict(listed[weights].get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision could not fetch {weights!r} for {network}: {error}",
            hint="Either let this machine reach download.pytorch.org once, or give `weights` a "
            "local .safetensors or .pth file with torchvision's parameter names.",
        ) from None


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {str(path)!r}.",
            hint="Give a local .safetensors or .pth file with torchvision's parameter names, or a "
            "name that torchvision lists, such as IMAGENET1K_V1, which torchvision fetches.",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path.name} cannot be read as weights: {error}") from None
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
