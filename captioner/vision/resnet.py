"""ResNets (He et al. 2015, arXiv 1512.03385), parameter for parameter those of torchvision.

Written out here because importing ``torchvision.models`` costs a service 170 MB and more than a
second; torchvision itself is asked for pretrained weights only. A test holds the two together.

Letters in comments: B images, C channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_reorder_convolution_weight"
)


class Plan(NamedTuple):
    """What tells the depths apart."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool

    @property
    def feature_size(self) -> int:
        """Channels of the last map."""
        return 2048 if self.bottleneck else 512


PLANS = {
    18: Plan((2, 2, 2, 2), False),
    34: Plan((3, 4, 6, 3), False),
    50: Plan((3, 4, 6, 3), True),
    101: Plan((3, 4, 23, 3), True),
    152: Plan((3, 8, 36, 3), True),
}


class Block(nn.Module):
    """Two convolutions, or three with a narrow middle, and the way around them."""

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        if bottleneck:
            shapes = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        else:
            shapes = [(channels, width, 3, stride), (width, out, 3, 1)]
        self.depth = len(shapes)
        for number, (given, made, kernel, step) in enumerate(shapes, 1):
            self.add_module(f"conv{number}", _conv(given, made, kernel, step))
            self.add_module(f"bn{number}", nn.BatchNorm2d(made))
        self.downsample = (
            nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))
            if stride != 1 or channels != out
            else None
        )

    def convolutions(self) -> list[tuple[Any, Any]]:
        """Each convolution with its norm, in order."""
        numbers = range(1, self.depth + 1)
        return [(getattr(self, f"conv{n}"), getattr(self, f"bn{n}")) for n in numbers]

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, C', H', W')``."""
        around = maps if self.downsample is None else self.downsample(maps)
        *first, (conv, norm) = self.convolutions()
        for inner_conv, inner_norm in first:
            maps = functional.relu(inner_norm(inner_conv(maps)))
        return functional.relu(norm(conv(maps)) + around)


def build_stages(depth: int) -> dict[str, nn.Sequential]:
    """The stem and the four layers of a ResNet, with torchvision's initial weights."""
    plan = PLANS[depth]
    parts: dict[str, nn.Sequential] = {
        "stem": nn.Sequential(
            _conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)
        )
    }
    channels = 64
    for number, count in enumerate(plan.blocks):
        width = 64 * 2**number
        blocks = []
        for place in range(count):
            stride = 2 if number and not place else 1
            blocks.append(Block(channels, width, stride, bottleneck=plan.bottleneck))
            channels = 4 * width if plan.bottleneck else width
        parts[f"layer{number + 1}"] = nn.Sequential(*blocks)
    return parts


def _conv(channels: int, out: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


# ---- for inference


class FoldedConv(nn.Module):
    """A convolution with its norm folded in, then what is added, then ReLU.

    On a CPU the weight is brought into the order that the processor wants once, and the sum and the
    ReLU are part of the convolution, through the oneDNN operators that torch's own compiler uses;
    elsewhere the three are torch's plain ones.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, relu: bool = True) -> None:
        super().__init__()
        folded = fuse_conv_bn_eval(conv, norm)
        assert folded.bias is not None
        self.relu = relu
        self.padding, self.stride = conv.kernel_size[0] // 2, conv.stride[0]
        weight = folded.weight.detach().contiguous(memory_format=torch.channels_last)
        self.packed = _ONEDNN and weight.device.type == "cpu" and weight.dtype == torch.float32
        if self.packed:
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._where(), None)
        # Plain attributes: what is packed can neither be moved nor stored.
        self.weight, self.bias = weight, folded.bias.detach()

    def forward(self, maps: Tensor, added: Tensor | None = None) -> Tensor:
        """``(B, C, H, W)`` channels last -> ``(B, C', H', W')``."""
        relu = "relu" if self.relu else "none"
        if self.packed:
            operator = torch.ops.mkldnn._convolution_pointwise
            if added is None:
                plain: Tensor = operator(maps, self.weight, self.bias, *self._where(), relu, [], "")
                return plain
            summed: Tensor = operator.binary(
                maps, added, self.weight, self.bias, *self._where(), "add", 1.0, relu, [], ""
            )
            return summed
        made = functional.conv2d(maps, self.weight, self.bias, self.stride, self.padding)
        made = made if added is None else made + added
        return functional.relu(made) if self.relu else made

    def _where(self) -> tuple[list[int], list[int], list[int], int]:
        """Padding, stride, dilation and groups."""
        return [self.padding] * 2, [self.stride] * 2, [1, 1], 1


class FoldedBlock(nn.Module):
    """A :class:`Block` for inference."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(FoldedConv(*pair) for pair in block.convolutions())
        down: Any = block.downsample
        self.around = None if down is None else FoldedConv(down[0], down[1], relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        """As :meth:`Block.forward`."""
        around = maps if self.around is None else self.around(maps)
        *first, last = self.convolutions
        for conv in first:
            maps = conv(maps)
        out: Tensor = last(maps, around)
        return out


def folded(stage: nn.Sequential) -> nn.Sequential:
    """A stage of :func:`build_stages` for inference: its weights are final and do not move."""
    if isinstance(stage[0], Block):
        return nn.Sequential(*map(FoldedBlock, stage))  # type: ignore[arg-type]
    conv, norm, _, pool = stage
    return nn.Sequential(FoldedConv(conv, norm), pool)  # type: ignore[arg-type]
