"""Losses of STDC-Seg: cross-entropy, OHEM, and the detail guidance's target, BCE and dice (Fan et al. 2021, 3.2.2).

Original code: MichaelFan01/STDC-Seg, `loss/`. Where it differs from the paper, it is followed; the differences are
named below.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stdc_search.records import IGNORED

SOFTNESS = 0.05
"""Width of the soft threshold that a trained fusion kernel passes gradients through."""


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the labelled pixels, 0 where there are none.

    As in PyTorch, the mean is weighted where classes are.

    Args:
        logits: N, classes, H, W, or N, classes.
        labels: N, H, W, or N, int64; 255 is ignored.
        class_weights: classes.
        label_smoothing: share of the probability that is spread over all classes.
    """
    logits = logits.contiguous()  # one copy here spares cross-entropy, forward and backward, several of its own
    total = F.cross_entropy(
        logits,
        labels,
        class_weights,
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    labelled = labels != IGNORED
    count = labelled.sum() if class_weights is None else class_weights[labels[labelled]].sum()
    return total / count.clamp(min=torch.finfo(total.dtype).tiny)


def ohem(
    logits: Tensor,
    labels: Tensor,
    threshold: float = 0.7,
    min_kept: float = 1 / 16,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of the hard pixels (online hard example mining).

    Hard are the pixels whose class has a probability under `threshold`, but at least the hardest `min_kept` of all;
    with class weights or smoothing, those whose loss is above that of the threshold. Ignored pixels have loss 0 and
    count among all, as released; a batch of nothing else has loss 0.

    Args:
        logits: N, classes, H, W.
        labels: N, H, W, int64; 255 is ignored.
        threshold: probability, above 0 and below 1.
        min_kept: share of the pixels, above 0 and at most 1.
        class_weights: classes.
        label_smoothing: share of a pixel's probability that is spread over all classes.
    """
    logits = logits.contiguous()
    losses = F.cross_entropy(
        logits, labels, class_weights, ignore_index=IGNORED, reduction="none", label_smoothing=label_smoothing
    )
    fewest = max(1, int(losses.numel() * min_kept))
    hard = losses.detach() > -log(threshold)
    count = int(hard.sum())
    if count > fewest:
        return (losses * hard).sum() / count  # a product keeps NaN, where selecting the hard ones would hide it
    return losses.flatten().topk(fewest, sorted=False).values.mean()


def distillation(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over pixels of the Kullback-Leibler divergence of a network's probabilities from its teacher's.

    Times temperature^2, so that gradients keep their size (Hinton et al. 2015, "Distilling the Knowledge in a Neural
    Network", section 2).

    Args:
        logits: N, classes, H, W.
        teacher: logits of the same shape.
        temperature: what both are divided by first.
    """
    own, goal = ((x.contiguous() / temperature).log_softmax(1) for x in (logits, teacher))
    return F.kl_div(own, goal, reduction="none", log_target=True).sum(1).mean() * temperature**2


def log_weights(shares: Tensor) -> Tensor:
    """Weight of each class by its share of the pixels: 1 / log(1.1 + share), from 1.3 for all to 10.5 for none."""
    return 1 / torch.log(1.1 + shares)


def detail_target(
    labels: Tensor,
    strides: Sequence[int] = (1, 2, 4),
    weights: Sequence[float] | Tensor = (0.6, 0.3, 0.1),
    threshold: float = 0.1,
    soft: bool = False,
) -> Tensor:
    """Where labels change: N, 1, H, W of zeros and ones (paper, Figure 5).

    A Laplacian of the class ids for each stride, each made 0 or 1 and enlarged to H x W, then their weighted sum made
    0 or 1. As released, 255 takes part as the highest id, only the side of a border that has the higher id is marked,
    so is the frame of the image unless it has id 0, and with the default weights stride 4 never decides a pixel: its
    0.1 is not above 0.1. The paper calls the weights trainable; the threshold gives them a gradient of zero, so that as
    released weight decay alone moves them.

    Args:
        labels: N, H, W, integers.
        strides: strides of the Laplacian.
        weights: one a stride; a parameter gets a gradient, of zero unless `soft`.
        threshold: what is above it becomes 1, in each map and in their sum.
        soft: whether the sum passes a sigmoid around the threshold in place of a step, which passes gradients.
    """
    size = labels.shape[1:]
    kernel = torch.full((1, 1, 3, 3), -1.0, device=labels.device)
    kernel[..., 1, 1] = 8
    edges = F.conv2d(labels.unsqueeze(1).float(), kernel, padding=1)
    weights = torch.as_tensor(weights, device=labels.device).flatten()
    fused = torch.zeros_like(edges)
    for stride, weight in zip(strides, weights, strict=True):
        marked = (edges[..., ::stride, ::stride] > threshold).float()  # what a convolution of this stride gives
        fused = fused + weight * F.interpolate(marked, size=size, mode="nearest")
    if soft:
        return torch.sigmoid((fused - threshold) / SOFTNESS)
    target = (fused > threshold).float()
    return target + 0 * weights.sum() if weights.requires_grad else target


def detail(
    logits: Tensor,
    labels: Tensor,
    strides: Sequence[int] = (1, 2, 4),
    weights: Sequence[float] | Tensor = (0.6, 0.3, 0.1),
    threshold: float = 0.1,
    *,
    soft: bool = False,
    dice: Literal["linear", "squared"] = "linear",
    ignored: Literal["counted", "masked"] = "counted",
) -> tuple[Tensor, Tensor]:
    """BCE and dice loss of the detail head; the paper adds them with equal weight.

    Args:
        logits: N, 1, h, w; enlarged to the labels' size.
        labels: N, H, W, integers; 255 has no class.
        strides: as `weights`, `threshold` and `soft`, of the target (`detail_target`).
        weights: one a stride.
        threshold: of the target.
        soft: whether the target passes gradients to the weights.
        dice: denominator, of sums (released code) or sums of squares (paper, Equation 5).
        ignored: whether pixels without a class count, as released, or are left out of both losses.
    """
    target = detail_target(labels, strides, weights, threshold, soft)
    logits = F.interpolate(logits, size=target.shape[2:], mode="bilinear", align_corners=True)
    found = logits.sigmoid()
    if ignored == "counted":
        bce = F.binary_cross_entropy_with_logits(logits, target)
    else:
        counted = (labels != IGNORED).unsqueeze(1)
        bce = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted).sum()
        bce = bce / counted.sum().clamp(min=1)
        found, target = found * counted, target * counted
    found, target = found.flatten(1), target.flatten(1)
    power = 1 if dice == "linear" else 2
    overlap = (found * target).sum(1)
    total = found.pow(power).sum(1) + target.pow(power).sum(1)
    return bce, (1 - (2 * overlap + 1) / (total + 1)).mean()
