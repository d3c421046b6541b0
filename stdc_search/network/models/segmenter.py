"""Segmenters: STDC-Seg, that is backbone, decoder and heads (Fan et al. 2021, Figure 4), and networks of others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stdc_search.network.models.decoder import GatedFusion
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


class Segmenter(nn.Module, ABC):
    """Image to class scores per pixel.

    Subclasses set the attributes, each at its place in the order in which weights are drawn and kept.
    """

    upsample: nn.Module
    """Scores, image -> scores of the image's size."""
    auxiliary: nn.ModuleList
    """Heads of further maps, used in training only."""
    detail_target: DetailTarget | None
    """How labels become the detail head's target; none without a detail head."""

    def forward(self, image: Tensor) -> Tensor:
        return self.upsample(self.scores(image), image)

    @abstractmethod
    def scores(self, image: Tensor) -> Tensor:
        """Scores before up-sampling: N, classes, h, w."""

    @abstractmethod
    def forward_training(self, image: Tensor, *, auxiliary: bool = True, detail: bool = True) -> TrainingOutput:
        """Like `forward`, with all or some of the heads for training."""

    def _auxiliary(self, maps: Sequence[Tensor], image: Tensor) -> tuple[Tensor, ...]:
        """Scores of the auxiliary heads, at the image's size."""
        return tuple(self.upsample(head(x), image) for head, x in zip(self.auxiliary, maps, strict=False))


class Peer(Segmenter):
    """A network that is not made of a backbone and a decoder of this package.

    Args:
        body: image -> scores, the maps of the auxiliary heads, and the map of the detail head if there is one.
        upsample: scores, image -> scores of the image's size.
        auxiliary: heads of these maps, used in training only.
        detail: head of the last map, used in training only.
        detail_target: how labels become its target.
    """

    def __init__(
        self,
        *,
        body: nn.Module,
        upsample: nn.Module,
        auxiliary: Iterable[nn.Module] = (),
        detail: nn.Module | None = None,
        detail_target: DetailTarget | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.upsample = upsample
        self.auxiliary = nn.ModuleList(auxiliary)
        self.detail = detail
        self.detail_target = detail_target
        for child in (self.auxiliary, *([] if detail is None else [detail])):
            child.apply(init_fan_in)

    def scores(self, image: Tensor) -> Tensor:
        return self.body(image)[0]

    def forward_training(self, image: Tensor, *, auxiliary: bool = True, detail: bool = True) -> TrainingOutput:
        scores, *maps = self.body(image)
        return TrainingOutput(
            logits=self.upsample(scores, image),
            auxiliary=self._auxiliary(maps if auxiliary else (), image),
            detail=self.detail(maps[-1]) if self.detail is not None and detail else None,
        )


class StdcSegmenter(Segmenter):
    """STDC-Seg, and every other pair of a backbone and a decoder.

    Args:
        backbone: image -> features of every stage.
        context: tapped features -> levels, shallow to deep.
        fusion: first tapped features and first level -> fused map; none if the first level is that map already.
        head: fused map -> scores.
        upsample: scores, image -> scores of the image's size.
        taps: indices of the tapped stages, shallow to deep.
        spatial: image -> features that replace the first tapped ones.
        auxiliary: heads of the levels, used in training only.
        detail: head of the guided stage, used in training only; a gated fusion has one of its own.
        detail_stage: index of the guided stage.
        detail_target: how labels become the detail head's target.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        context: nn.Module,
        fusion: nn.Module | None,
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

    def scores(self, image: Tensor) -> Tensor:
        """Scores before up-sampling: N, classes, height and width of the first tapped features."""
        return self.head(self._decode(image, self.backbone(image))[0])

    def forward_training(self, image: Tensor, *, auxiliary: bool = True, detail: bool = True) -> TrainingOutput:
        features = self.backbone(image)
        fused, levels = self._decode(image, features)
        head = self.fusion.boundary if isinstance(self.fusion, GatedFusion) else self.detail
        return TrainingOutput(
            logits=self.upsample(self.head(fused), image),
            auxiliary=self._auxiliary(levels if auxiliary else (), image),
            detail=head(features[self.detail_stage]) if head is not None and self.detail_target and detail else None,
        )

    def _decode(self, image: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """The fused map, 1/8, and the decoder's levels: 1/8 and 1/16 in BiSeNet's, the deeper stages in others."""
        tapped = [features[i] for i in self.taps]
        if self.spatial is not None:
            tapped[0] = self.spatial(image)
        levels = self.context(tapped)
        return (levels[0], levels[1:]) if self.fusion is None else (self.fusion(tapped[0], levels[0]), levels)
