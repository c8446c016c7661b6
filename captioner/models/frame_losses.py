"""What labels of frames cost in training, with unlabelled frames left out.

A frame, or a label of a frame, whose target is -1 costs nothing and gives no gradient. That serves
padding as well as frames that nobody labelled. Every loss is a mean over what counts, so that a
batch's padding does not weigh; a batch without anything that counts costs zero.

Letters: B clips, T frames, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from captioner.metrics.segments import IGNORED


def frame_loss(
    stages: Sequence[Tensor],
    targets: Tensor,
    *,
    multi_label: bool = False,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    smoothing: float = 0.15,
    tau: float = 4.0,
) -> Tensor:
    """MS-TCN's loss, ``Σ_stages (classification + smoothing · TMSE)`` (arXiv 1903.01945, 3.3).

    ``stages``: the logits ``(B, T, C)`` of each of a labeller's stages. ``targets``: class numbers
    ``(B, T)``, or with ``multi_label`` 1, 0 or -1 of each label, ``(B, T, C)``. ``weight (C,)`` is
    that of the classes, with ``multi_label`` that of the positive targets. ``label_smoothing``: the
    share of probability that one of many classes gives up to all of them. ``smoothing=0`` leaves
    the second term out.
    """
    counts = (targets != IGNORED).any(2) if multi_label else targets != IGNORED
    total = stages[0].new_zeros(())
    for logits in stages:
        if multi_label:
            total = total + frame_binary_cross_entropy(logits, targets, weight)
        else:
            total = total + frame_cross_entropy(
                logits, targets, weight, label_smoothing=label_smoothing
            )
        if smoothing:
            smooth = smoothing_loss(logits, counts, tau=tau, multi_label=multi_label)
            total = total + smoothing * smooth
    return total


def frame_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy of ``logits (B, T, C)``, the mean over the labelled frames.

    ``targets (B, T)`` int64, -1 where a frame has none. ``weight (C,)``: of each class; the mean is
    then one weighted by the frames' classes, as torch's.
    """
    counted = targets != IGNORED
    total = functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        weight,
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    if weight is None:
        return total / counted.sum().clamp(min=1)
    mass = weight[targets.clamp(min=0)][counted].sum()
    return total / mass.clamp(min=torch.finfo(mass.dtype).tiny)


def frame_binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    *,
    mask: Tensor | None = None,
) -> Tensor:
    """Sigmoid cross-entropy of ``logits (B, T, C)``, the mean over the targets that count.

    ``targets (B, T, C)`` are 1, 0 or -1, which does not count; ``mask (B, T)`` is false where a
    whole frame does not. ``weight (C,)`` multiplies the cost of positive targets.
    """
    counted = targets != IGNORED
    if mask is not None:
        counted = counted & mask.unsqueeze(2)
    # Zeros in place of what does not count: a NaN there must not reach the sum or its gradient.
    losses = functional.binary_cross_entropy_with_logits(
        logits.masked_fill(~counted, 0.0),
        targets.clamp(min=0).to(logits.dtype),
        pos_weight=weight,
        reduction="none",
    )
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def smoothing_loss(
    logits: Tensor, mask: Tensor | None = None, *, tau: float = 4.0, multi_label: bool = False
) -> Tensor:
    """The truncated mean squared error between neighbours' log-probabilities, MS-TCN's TMSE.

    ``mean(min(Δ², τ²))`` with ``Δ = log y_t - log y_{t-1}`` (arXiv 1903.01945, 3.3), over
    all classes and the pairs of neighbours that count, both of whose frames are true in
    ``mask (B, T)``; the public code divides by padded ones, too. No gradient goes to the earlier
    frame, and none to a jump beyond ``tau``. With ``multi_label`` each label is a softmax of two,
    on and off.
    """
    if multi_label:
        both = torch.stack([logits, -logits], 3)
        log_probs = functional.logsigmoid(both).flatten(2)
    else:
        log_probs = logits.log_softmax(2)
    steps = (log_probs[:, 1:] - log_probs[:, :-1].detach()).square().clamp(max=tau**2).mean(2)
    if mask is None:
        return steps.sum() / max(1, steps.numel())
    pairs = mask[:, 1:] & mask[:, :-1]
    return steps.masked_fill(~pairs, 0.0).sum() / pairs.sum().clamp(min=1)
