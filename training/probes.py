"""Linear probes: how well frozen features tell labels apart, without any network on top of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from captioner.metrics.segments import mean_average_precision
from captioner.vision.encoder import ResNetEncoder
from training.data.photo_sequences import PhotoSequenceDataModule
from training.data.splits import TRAIN, VALIDATION
from training.features import cached_features

DECAYS = (3e-1, 1e-1, 3e-2)  # weight decays that a probe chooses from

Scores = Callable[[Tensor], Tensor]  # features (N, D) -> logits (N, C)


def photo_features(
    data: PhotoSequenceDataModule, encoder: ResNetEncoder, split: str, cache: str
) -> dict[str, Tensor]:
    """Pooled features of whole photos by split, of training and validation too: ``(photos, D)``."""
    encoder.output = "pooled"
    found = {}
    for name in (TRAIN, VALIDATION, split):
        pictures = data.photos.pictures(name)
        rows = cached_features(
            pictures,
            pictures.fingerprint,
            encoder,
            data.preprocessing,
            cache,
            name=f"whole-{name}",
        )
        found[name] = torch.from_numpy(rows[:, 0].astype("float32"))
    return found


def best_probe(data: PhotoSequenceDataModule, features: dict[str, Tensor]) -> Scores:
    """A logistic regression on features of whole photos, ``{split: (photos, D)}``.

    Fitted once to labels and once to shares of captions, at every weight decay of ``DECAYS``; what
    is best on validation counts.
    """
    mean, std = features[TRAIN].mean(0), features[TRAIN].std(0).clamp(min=1e-6)
    inputs, validation = ((features[name] - mean) / std for name in (TRAIN, VALIDATION))
    truth = torch.from_numpy(data.photo_labels(VALIDATION))
    best, chosen = -1.0, None
    for given in (data.photo_labels(TRAIN), data.shares(TRAIN)):
        for decay in DECAYS:
            probe = fitted(inputs, torch.from_numpy(given).float(), decay)
            value = mean_average_precision(probe(validation), truth)
            if value > best:
                best, chosen = value, probe
    assert chosen is not None
    probe = chosen
    return lambda rows: probe((rows - mean) / std)


def fitted(inputs: Tensor, targets: Tensor, decay: float) -> Scores:
    """A logistic regression of each label, ``decay`` times half the squared weights added."""
    weight = torch.zeros(targets.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(
            functional.linear(inputs, weight, bias), targets, reduction="sum"
        ) / len(inputs)
        loss = loss + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return lambda rows: functional.linear(rows, weight.detach(), bias.detach())
