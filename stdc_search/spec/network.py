"""The network: backbone, decoder, heads (Fan et al. 2021, sections 3.1 and 3.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt, ValidationInfo

from stdc_search.spec.backbone import Backbone, StdcSpec
from stdc_search.spec.base import load
from stdc_search.spec.decoder import Decoder, DecoderSpec
from stdc_search.spec.files import missing
from stdc_search.spec.heads import Classes, DetailSpec, HeadSpec, Task
from stdc_search.spec.peers import AnyPeer
from stdc_search.spec.problems import Problem
from stdc_search.spec.rules import Spec, rule
from stdc_search.spec.whole import LibraryClassifierSpec, LibrarySegmenterSpec, OnnxFileSpec


class SegmenterSpec(Spec):
    """STDC-Seg: image to class scores per pixel. The default is STDC1-Seg for Cityscapes."""

    task: ClassVar[Task] = "segmentation"
    kind: Literal["segmenter"]
    classes: Classes = 19
    """Number of classes, without the ignored one."""
    backbone: Backbone = StdcSpec()
    """Stem and stages of STDC, or a trunk of timm or torchvision."""
    decoder: Decoder = DecoderSpec()
    """How the tapped stages become one map: BiSeNet's decoder as in the paper, or that of PP-LiteSeg or SFNet."""
    head: HeadSpec = HeadSpec()
    """The head that turns the fused features into scores."""
    auxiliary: HeadSpec | None = HeadSpec(width=64)
    """Heads on each level of the decoder, used in training only; null for none. The paper does not mention
    them; the released code has them."""
    detail: DetailSpec | None = DetailSpec()
    """Detail guidance, used in training only; null for none."""

    @property
    def taps(self) -> tuple[int, ...]:
        """Indices of the stages that the decoder fuses, shallow to deep."""
        return self.decoder.taps or tuple(range(self.backbone.levels))

    @rule
    def _stages_for_the_decoder(self) -> Iterator[Problem]:
        levels, taps = self.backbone.levels, self.taps
        if levels < 2:
            yield Problem(
                "backbone.stages",
                f"`backbone.stages` has {levels} stage(s); the decoder fuses the first with the context "
                "of the others: give at least 2",
            )
        elif taps[-1] >= levels:
            yield Problem(
                "decoder.taps", f"`decoder.taps` names {taps[-1]}, and the last of {levels} stages is {levels - 1}"
            )
        elif taps[-1] < levels - 1:
            yield Problem(
                "decoder.taps",
                f"`decoder.taps` ends with {taps[-1]}, so nothing uses the stages after it; "
                f"end with {levels - 1}, or remove those stages",
            )
        else:
            yield from (problem.within("decoder") for problem in self.decoder.misfits(len(taps)))

    @rule
    def _detail_guides_a_stage(self) -> Iterator[Problem]:
        levels = self.backbone.levels
        if self.detail is not None and self.detail.stage >= levels:
            yield Problem(
                "detail.stage",
                f"`detail.stage` {self.detail.stage} does not exist; the last of {levels} stages is {levels - 1}",
            )

    @rule
    def _detail_guides_the_gate(self) -> Iterator[Problem]:
        if not isinstance(self.decoder, DecoderSpec) or self.decoder.fusion != "gated":
            return
        if self.detail is not None and self.detail.stage != self.taps[0]:
            yield Problem(
                "detail.stage",
                f"`detail.stage` is {self.detail.stage}, but `decoder.fusion: gated` has its gate on stage "
                f"{self.taps[0]}; write {self.taps[0]}",
            )
        if self.decoder.spatial is not None:
            message = "takes the place of the stage in which `fusion: gated` finds boundaries; remove one of them"
            yield Problem("decoder.spatial", message)

    @rule
    def _spatial_path_ends_at_the_size_of_its_stage(self) -> Iterator[Problem]:
        if not isinstance(self.decoder, DecoderSpec) or not isinstance(self.backbone, StdcSpec):
            return  # the builder knows a trunk's strides
        if (spatial := self.decoder.spatial) is None:
            return
        if self.taps[0] < self.backbone.levels:
            wanted = self.backbone.reductions[self.taps[0]]
            if spatial.reduction != wanted:
                yield Problem("decoder.spatial.convs", spatial.misfit(self.taps[0], wanted))


class ClassifierSpec(Spec):
    """STDC for classification (paper, Table 2, ConvX6 to FC2). Other stages take other layers at the end."""

    task: ClassVar[Task] = "classification"
    kind: Literal["classifier"]
    classes: Annotated[int, Field(ge=2)] = 1000
    """Number of classes."""
    backbone: StdcSpec = StdcSpec()
    """Stem and stages."""
    width: PositiveInt | None = 1024
    """Channels of ConvX6; null for none, as in ResNet and DF."""
    pooling: Literal["squared", "plain"] = "squared"
    """What is averaged over the image: the squares of ConvX6's outputs, as in the released code, or the outputs, as the
    paper says."""
    hidden: PositiveInt | None = 1024
    """Outputs of FC1; null for none, as in ResNet and DF."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of FC1's outputs that is dropped in training."""
    bias: bool = False
    """Whether the last layer, FC2, has a bias."""

    @rule
    def _something_to_drop(self) -> Iterator[Problem]:
        if self.hidden is None and self.dropout not in (0, 0.2):
            yield Problem("dropout", "has no effect with `hidden: null`; remove it")


NetworkSpec = Annotated[
    SegmenterSpec | ClassifierSpec | AnyPeer | LibrarySegmenterSpec | LibraryClassifierSpec | OnnxFileSpec,
    Field(discriminator="kind"),
]


class _NetworkOf(Spec):
    """Any spec file, of which only the network is read."""

    model_config = ConfigDict(extra="ignore")

    network: NetworkSpec


def network_of(path: str, info: ValidationInfo, words: tuple[str, ...] = ()) -> tuple[str, NetworkSpec]:
    """The stem and the network of a spec's file, whose path starts from the folder of the file being read.

    Raises:
        ValueError: there is no such file; `words` are what else could have been meant.
        SpecError: it holds no network.
    """
    file = Path((info.context or {}).get("folder", "."), path)
    if not os.path.exists(file):  # Path.exists raises where the name is too long
        raise ValueError(f"{file} {missing(file, words)}")
    return file.stem, load(file, _NetworkOf).network
