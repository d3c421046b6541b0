"""STDC-Seg: backbone, decoder and heads put together (Fan et al. 2021, Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stdc_search.network.models.layers import init_fan_in, init_fan_out
from stdc_search.network.models.stdc import Backbone


class TrainingOutput(NamedTuple):
    """Inputs of the losses."""

    logits: Tensor
    """N, classes, H, W."""
    auxiliary: tuple[Tensor, ...]
    """One per context level: N, classes, H, W."""
    detail: Tensor | None
    """N, 1, h, w at the guided stage's size; none without guidance."""


class DetailTarget(nn.Module):
    """How labels become the target of the detail head; `losses.detail_target` computes it.

    Args:
        strides: strides of the Laplacian.
        weights: of the 1x1 convolution that fuses the maps, one per stride.
        threshold: values above it become 1.
        kernel: `constant`, or a parameter. `decayed` has a gradient of zero, so only weight decay changes it. `trained`
            has a gradient through a soft threshold.
    """

    weights: Tensor

    def __init__(
        self,
        strides: Sequence[int],
        weights: Sequence[float],
        threshold: float,
        kernel: Literal["constant", "decayed", "trained"] = "constant",
    ) -> None:
        super().__init__()
        self.strides, self.threshold, self.soft = tuple(strides), threshold, kernel == "trained"
        fusion = torch.tensor(weights).view(1, -1, 1, 1)  # 1x1 convolution: outputs, inputs, height, width
        if kernel == "constant":
            self.register_buffer("weights", fusion, persistent=False)
        else:
            self.weights = nn.Parameter(fusion)


class Segmenter(nn.Module):
    """Image to class scores per pixel.

    Args:
        backbone: image -> features of every stage.
        context: tapped features -> levels, shallow to deep.
        fusion: first tapped features and first level -> fused map.
        head: fused map -> scores.
        upsample: scores, image -> scores of the image's size.
        taps: indices of the tapped stages, shallow to deep.
        spatial: image -> features that replace the first tapped ones.
        auxiliary: heads of the levels, used in training only.
        detail: head of the guided stage, used in training only.
        detail_stage: index of the guided stage.
        detail_target: how labels become the detail head's target.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        context: nn.Module,
        fusion: nn.Module,
        head: nn.Module,
        upsample: nn.Module,
        taps: Sequence[int],
        spatial: nn.Module | None = None,
        auxiliary: Iterable[nn.Module] = (),
        detail: nn.Module | None = None,
        detail_stage: int = 0,
        detail_target: DetailTarget | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.spatial = spatial
        self.context = context
        self.fusion = fusion
        self.head = head
        self.upsample = upsample
        self.taps = tuple(taps)
        self.auxiliary = nn.ModuleList(auxiliary)
        self.detail = detail
        self.detail_stage = detail_stage
        self.detail_target = detail_target
        for child in self.children():
            if isinstance(child, Backbone):
                child.apply(init_fan_out)
            elif child is not backbone:  # a library's trunk keeps its library's initial weights
                child.apply(init_fan_in)

    def forward(self, image: Tensor) -> Tensor:
        return self.upsample(self.scores(image), image)

    def scores(self, image: Tensor) -> Tensor:
        """Scores before up-sampling: N, classes, height and width of the first tapped features."""
        tapped, levels = self._encode(image, self.backbone(image))
        return self.head(self.fusion(tapped[0], levels[0]))

    def forward_training(self, image: Tensor, *, auxiliary: bool = True, detail: bool = True) -> TrainingOutput:
        """Like `forward`, with all or some of the heads for training."""
        features = self.backbone(image)
        tapped, levels = self._encode(image, features)
        heads = zip(self.auxiliary if auxiliary else (), levels, strict=False)
        return TrainingOutput(
            logits=self.upsample(self.head(self.fusion(tapped[0], levels[0])), image),
            auxiliary=tuple(self.upsample(head(level), image) for head, level in heads),
            detail=self.detail(features[self.detail_stage]) if self.detail is not None and detail else None,
        )

    def _encode(self, image: Tensor, features: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Tapped features, 1/8 to 1/32, and the context's levels, 1/8 and 1/16."""
        tapped = [features[i] for i in self.taps]
        if self.spatial is not None:
            tapped[0] = self.spatial(image)
        return tapped, self.context(tapped)
