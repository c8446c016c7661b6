"""Our ResNets are torchvision's: the same parameters, and the same maps from the same weights."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision import models

from captioner.vision.encoder import CPU_IMAGES, STAGES, ResNetEncoder
from captioner.vision.resnet import PLANS


def _with_statistics(network: nn.Module) -> nn.Module:
    """Norms as training leaves them: an untrained one's mean 0 and variance 1 hide mistakes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.mark.parametrize("depth", PLANS)
def test_every_depth_has_the_parameters_of_torchvision(depth: int) -> None:
    with torch.device("meta"):
        theirs = models.get_model(f"resnet{depth}", weights=None).state_dict()
        ours = ResNetEncoder(depth).state_dict()
    renamed = {"conv1": "stem.0", "bn1": "stem.1"}
    expected = {}
    for name, value in theirs.items():
        head, _, rest = name.partition(".")
        if head != "fc":
            expected[f"{renamed.get(head, head)}.{rest}"] = value.shape
    assert {name: value.shape for name, value in ours.items()} == expected


@pytest.mark.parametrize("depth", [18, 50])
def test_the_maps_are_those_of_torchvision(depth: int) -> None:
    torch.manual_seed(0)
    theirs = _with_statistics(models.get_model(f"resnet{depth}", weights=None))
    ours = ResNetEncoder(depth, output="pooled").eval()
    ours.load_torchvision(theirs.state_dict())
    theirs.fc = nn.Identity()
    images = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        expected = theirs(images)
        scale = expected.abs().max()
        plain = ours(images).squeeze(1)
        assert torch.allclose(plain, expected, atol=1e-5 * scale)
        fused = ours.fused()(images.contiguous(memory_format=torch.channels_last)).squeeze(1)
        assert torch.allclose(fused, expected, atol=1e-4 * scale)


@pytest.mark.parametrize("cut", range(len(STAGES) + 1))
def test_a_folded_encoder_can_be_cut_anywhere(cut: int) -> None:
    torch.manual_seed(0)
    encoder = ResNetEncoder(18)
    _with_statistics(encoder)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = encoder.lower(images, cut)
        found = encoder.fused().lower(images, cut)
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().max())


def test_a_fused_batch_is_its_pictures_one_by_one() -> None:
    torch.manual_seed(0)
    encoder = ResNetEncoder(18)
    _with_statistics(encoder)
    fused = encoder.fused()
    images = torch.randn(2 * CPU_IMAGES + 1, 3, 64, 64).contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        alone = torch.cat([fused(image[None]) for image in images])
        assert torch.allclose(fused(images), alone, atol=1e-5 * alone.abs().max())
        assert fused(images[:0]).shape == (0, 4, 512)


def test_a_caption_does_not_import_torchvision() -> None:
    code = "import captioner.tasks, sys; assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
