"""STDC-Seg: backbone, decoder and heads put together (Fan et al. 2021, Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from stdc_search.models.layers import init_fan_in, init_fan_out


class TrainingOutput(NamedTuple):
    """What the losses need."""

    logits: Tensor
    """N, classes, H, W."""
    auxiliary: tuple[Tensor, ...]
    """One a context level: N, classes, H, W."""
    detail: Tensor | None
    """N, 1, h, w at the guided stage's size; none without guidance."""


@dataclass(frozen=True)
class DetailTarget:
    """How labels become the target of the detail head; see `losses.detail_target`."""

    strides: tuple[int, ...]
    weights: tuple[float, ...]
    threshold: float


class Segmenter(nn.Module):
    """Image to class scores a pixel.

    Args:
        backbone: image -> features of every stage.
        context: features -> levels, shallow to deep.
        fusion: first stage and first level -> fused map.
        head: fused map -> scores.
        upsample: scores, image -> scores of the image's size.
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
        auxiliary: Iterable[nn.Module] = (),
        detail: nn.Module | None = None,
        detail_stage: int = 0,
        detail_target: DetailTarget | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.context = context
        self.fusion = fusion
        self.head = head
        self.upsample = upsample
        self.auxiliary = nn.ModuleList(auxiliary)
        self.detail = detail
        self.detail_stage = detail_stage
        self.detail_target = detail_target
        for name, child in self.named_children():
            child.apply(init_fan_out if name == "backbone" else init_fan_in)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(image)  # 1/8, 1/16, 1/32
        levels = self.context(features)  # 1/8, 1/16
        fused = self.fusion(features[0], levels[0])  # 1/8
        return self.upsample(self.head(fused), image)

    def forward_training(self, image: Tensor) -> TrainingOutput:
        """As `forward`, with the heads that only training uses."""
        features = self.backbone(image)
        levels = self.context(features)
        fused = self.fusion(features[0], levels[0])
        heads = zip(self.auxiliary, levels, strict=False)
        return TrainingOutput(
            logits=self.upsample(self.head(fused), image),
            auxiliary=tuple(self.upsample(head(level), image) for head, level in heads),
            detail=self.detail(features[self.detail_stage]) if self.detail is not None else None,
        )
