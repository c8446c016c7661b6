"""The feature cache: computed once, never stale, never half."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.vision.encoder import ResNetEncoder
from captioner.vision.preprocess import Preprocessing
from training.features import cached_features

SIZE = 64


@dataclass
class Counted(Sequence[Tensor]):
    """Five pictures that count how often they are decoded."""

    fails_at: int = -1
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        if index == self.fails_at:
            raise KeyboardInterrupt
        self.read.append(index)
        return torch.full((3, SIZE, SIZE), 40 * index, dtype=torch.uint8)


@pytest.fixture(scope="module")
def encoder() -> ResNetEncoder:
    torch.manual_seed(0)
    return ResNetEncoder(depth=18, output="grid", weights=None).eval()


@pytest.fixture
def cache(encoder: ResNetEncoder, tmp_path: Path) -> Callable[..., np.ndarray]:
    """``cached_features`` of five pictures in ``tmp_path``, whatever is not given."""

    def compute(pictures: Sequence[Tensor], **changed: object) -> np.ndarray:
        settings = {
            "fingerprint": "five",
            "encoder": encoder,
            "preprocessing": Preprocessing(size=SIZE),
            "directory": tmp_path,
            "batch_size": 2,
        }
        return cached_features(pictures, **(settings | changed))  # type: ignore[arg-type]

    return compute


def test_the_same_key_is_one_file_and_one_pass(
    cache: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    pictures = Counted()
    first = cache(pictures)
    assert first.shape == (5, 4, 512)
    assert pictures.read == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(cache(pictures), first)
    assert pictures.read == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 1


def test_features_are_the_encoder_s_own(
    cache: Callable[..., np.ndarray], encoder: ResNetEncoder
) -> None:
    pictures = Counted()
    pixels = torch.stack([pictures[index] for index in range(5)])
    with torch.inference_mode():
        expected = encoder(Preprocessing(size=SIZE).normalise(pixels))
    # float16 keeps 11 bits.
    np.testing.assert_allclose(cache(pictures), expected.numpy(), rtol=5e-3, atol=5e-3)


def _heavier(encoder: ResNetEncoder) -> ResNetEncoder:
    changed = copy.deepcopy(encoder)
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 0.01
    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda encoder: {"encoder": _heavier(encoder)},
        lambda encoder: {"preprocessing": Preprocessing(size=SIZE, mean=(0.5, 0.5, 0.5))},
        lambda encoder: {"stages": 4},
        lambda encoder: {"mirror": True},
        lambda encoder: {"fingerprint": "five others"},
    ],
    ids=["weight", "preprocessing", "stages", "mirror", "pictures"],
)
def test_what_decides_the_features_decides_the_file(
    change: Callable[[ResNetEncoder], dict[str, object]],
    cache: Callable[..., np.ndarray],
    encoder: ResNetEncoder,
    tmp_path: Path,
) -> None:
    pictures = Counted()
    cache(pictures)
    cache(pictures, **change(encoder))
    assert len(pictures.read) == 10
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_run_leaves_no_file(
    cache: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache(Counted(fails_at=4))
    assert list(tmp_path.iterdir()) == []
    assert len(cache(Counted())) == 5
