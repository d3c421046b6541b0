"""Losses of STDC-Seg: cross-entropy, OHEM, and the detail guidance's target, BCE and dice (Fan et al. 2021, 3.2.2).

Original code: MichaelFan01/STDC-Seg, `loss/`. Where it differs from the paper, we follow the code and say so below.
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
"""Width of the soft threshold through which a trained fusion kernel gets gradients."""


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the labelled pixels; 0 if there are none.

    With class weights, the mean is weighted too, as in PyTorch.

    Args:
        logits: N, classes, H, W, or N, classes.
        labels: N, H, W, or N, int64; 255 is ignored.
        class_weights: classes.
        label_smoothing: share of the probability that is spread over all classes.
    """
    logits = logits.contiguous()  # one copy here saves cross-entropy several of its own, forward and backward
    total = F.cross_entropy(
        logits,
        labels,
        class_weights,
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    labelled = labels != IGNORED
    # A product, because selecting the labelled pixels would wait for a GPU.
    counted = labelled if class_weights is None else class_weights[labels * labelled] * labelled
    return total / counted.sum().clamp(min=torch.finfo(total.dtype).tiny)


def ohem(
    logits: Tensor,
    labels: Tensor,
    threshold: float = 0.7,
    min_kept: float = 1 / 16,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of the hard pixels (online hard example mining).

    A pixel is hard if the probability of its class is below `threshold`, or if it is among the hardest `min_kept` of
    all pixels. With class weights or smoothing, a pixel is hard if its loss exceeds that of the threshold. Ignored
    pixels have loss 0 and count as pixels, as released; a batch of only ignored pixels has loss 0.

    On a GPU both means are computed and one of them is chosen there: a look at the number of hard pixels would wait for
    all work before it. On a CPU only one is computed.

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
    count = hard.sum()
    enough = count > fewest

    def mean_of_hard() -> Tensor:
        return (losses * hard).sum() / count.clamp(min=1)  # a product keeps NaN, which selecting would hide

    def mean_of_fewest() -> Tensor:
        return losses.flatten().topk(fewest, sorted=False).values.mean()

    if losses.device.type == "cpu" and not torch.compiler.is_compiling():
        return mean_of_hard() if enough else mean_of_fewest()
    return torch.where(enough, mean_of_hard(), mean_of_fewest())


def distillation(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean Kullback-Leibler divergence, over pixels, of a network's probabilities from its teacher's.

    It is multiplied by temperature^2, so that gradients keep their magnitude (Hinton et al. 2015, "Distilling the
    Knowledge in a Neural Network", section 2).

    Args:
        logits: N, classes, H, W.
        teacher: logits of the same shape.
        temperature: divisor of both logits.
    """
    own, goal = ((x.contiguous() / temperature).log_softmax(1) for x in (logits, teacher))
    return F.kl_div(own, goal, reduction="none", log_target=True).sum(1).mean() * temperature**2


def log_weights(shares: Tensor) -> Tensor:
    """Weight of each class by its share of the pixels: 1 / log(1.1 + share), from 1.3 (all pixels) to 10.5 (none)."""
    return 1 / torch.log(1.1 + shares)


def detail_target(
    labels: Tensor,
    strides: Sequence[int] = (1, 2, 4),
    weights: Sequence[float] | Tensor = (0.6, 0.3, 0.1),
    threshold: float = 0.1,
    soft: bool = False,
) -> Tensor:
    """Borders between classes: N, 1, H, W of zeros and ones (paper, Figure 5).

    For each stride, a Laplacian of the class ids is thresholded to 0 or 1 and enlarged to H x W. Their weighted sum is
    thresholded again. As released:

    - 255 counts as the highest id.
    - Only the side of a border with the higher id is marked, and so is the image's frame unless it has id 0.
    - With the default weights, stride 4 never decides a pixel, because its weight 0.1 is not above the threshold 0.1.
    - The paper calls the weights trainable, but the threshold gives them a gradient of zero, so only weight decay
      changes them.

    Args:
        labels: N, H, W, integers.
        strides: strides of the Laplacian.
        weights: one per stride; a parameter gets a gradient, which is zero unless `soft`.
        threshold: values above it become 1, in each map and in their sum.
        soft: whether to threshold the sum with a sigmoid, which passes gradients, instead of a step.
    """
    size = labels.shape[1:]
    kernel = torch.full((1, 1, 3, 3), -1.0, device=labels.device)
    kernel[..., 1, 1] = 8
    edges = F.conv2d(labels.unsqueeze(1).float(), kernel, padding=1)
    weights = torch.as_tensor(weights, device=labels.device).flatten()
    fused = torch.zeros_like(edges)
    for stride, weight in zip(strides, weights, strict=True):
        marked = (edges[..., ::stride, ::stride] > threshold).float()  # as a convolution with this stride
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
        strides: passed to `detail_target`, like `weights`, `threshold` and `soft`.
        weights: one per stride.
        threshold: threshold of the target.
        soft: whether the target passes gradients to the weights.
        dice: the denominator: sums (released code) or sums of squares (paper, Equation 5).
        ignored: whether both losses count pixels without a class, as released, or mask them.
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
