from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from captioner.errors import InvalidOption, WeightsError
from captioner.vision.encoder import STAGES, ResNetEncoder


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    network = models.resnet18()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_pooled_features_are_what_the_classifier_of_torchvision_sees(
    torchvision_file: Path,
) -> None:
    from safetensors.torch import load_file

    network = models.resnet18().eval()
    network.load_state_dict(load_file(torchvision_file))
    network.fc = torch.nn.Identity()
    encoder = ResNetEncoder(18, output="pooled", weights=str(torchvision_file)).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(encoder(images)[:, 0], network(images), atol=1e-5)


def test_the_grid_averages_to_the_pooled_vector(torchvision_file: Path) -> None:
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        grid = ResNetEncoder(18, output="grid", weights=str(torchvision_file)).eval()(images)
        pooled = ResNetEncoder(18, output="pooled", weights=str(torchvision_file)).eval()(images)
    assert grid.shape == (2, 49, 512)
    assert torch.allclose(grid.mean(1), pooled[:, 0], atol=1e-5)


@pytest.mark.parametrize(("depth", "size"), [(18, 512), (34, 512), (50, 2048)])
def test_an_encoder_announces_its_feature_size(depth: int, size: int) -> None:
    encoder = ResNetEncoder(depth, output="pooled").eval()
    assert encoder.feature_size == size
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 1, size)


@pytest.mark.parametrize("depth", [18, 50])
def test_folding_batch_norms_changes_nothing(depth: int) -> None:
    torch.manual_seed(0)
    encoder = ResNetEncoder(depth, output="grid").eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 64, 64)
    fused = encoder.fused()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        expected, found = encoder(images), fused(images)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("stages", range(6))
def test_any_number_of_last_stages_learns(stages: int) -> None:
    encoder = ResNetEncoder(18, trainable_stages=stages).train()
    if stages:
        encoder(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for number, name in enumerate(STAGES):
        learns = number >= len(STAGES) - stages
        parameters = list(getattr(encoder, name).parameters())
        assert all(p.requires_grad is learns for p in parameters)
        assert all((p.grad is not None) is learns for p in parameters)


def test_training_never_moves_the_statistics_of_batch_norms() -> None:
    encoder = ResNetEncoder(18, trainable_stages=5).train()
    before = {n: b.clone() for n, b in encoder.named_buffers()}
    encoder(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(b, before[n]) for n, b in encoder.named_buffers())


@pytest.mark.parametrize("stages", [1, 4])
def test_stopping_early_and_going_on_equals_the_whole(stages: int) -> None:
    encoder = ResNetEncoder(18).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder.upper(encoder.lower(images, stages), stages), encoder(images))


def test_weights_that_cannot_be_had_name_both_ways(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"safetensors.*IMAGENET1K_V1"):
        ResNetEncoder(18, weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError, match=r"Did you mean 'IMAGENET1K_V1'.*safetensors"):
        ResNetEncoder(18, weights="IMAGENET1K_V2")


def test_a_download_that_fails_names_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A real fetch from a port nobody listens on: no network is needed for it to fail.
    entry = models.get_model_weights("resnet18").IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", "http://127.0.0.1:9/resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"pytorch\.org.*safetensors"):
        ResNetEncoder(18, weights="IMAGENET1K_V1")


def test_weights_of_another_depth_are_refused(torchvision_file: Path) -> None:
    with pytest.raises(WeightsError, match="ResNet-34"):
        ResNetEncoder(34, weights=str(torchvision_file))


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    (tmp_path / "x.pth").write_bytes(b"hello")
    for name in ("x.safetensors", "x.pth"):
        with pytest.raises(WeightsError, match=name):
            ResNetEncoder(18, weights=str(tmp_path / name))


def test_unknown_settings_are_refused_with_the_choices() -> None:
    with pytest.raises(InvalidOption, match="18, 34, 50"):
        ResNetEncoder(19)
    with pytest.raises(InvalidOption, match="0 to 5"):
        ResNetEncoder(18, trainable_stages=6)
