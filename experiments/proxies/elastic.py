"""One set of weights for all networks of a space: each network takes its slices of them.

The networks are those that `build` makes; only their weights come from elsewhere. A channel has a name, which is the
same in every network that has this channel. A dimension of a shared weight has the channels of all networks, and a
network's own weight has the rows and columns of the channels that it has.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stdc_search.network.models.classifier import Classifier
from stdc_search.network.models.decoder import AdditiveFusion
from stdc_search.network.models.segmenter import Segmenter
from stdc_search.network.models.stdc import Backbone, StdcModule

Channels = tuple[Hashable, ...]
"""Names of the channels along one dimension."""


class Slice(NamedTuple):
    """What a parameter of a network is among the shared weights."""

    key: str
    """Name of the shared weight."""
    axes: tuple[Channels, ...]
    """Names of the channels along each dimension."""


def slices(module: nn.Module) -> dict[str, Slice]:
    """The slice of each parameter of a network, by the parameter's name.

    Blocks share what has the same place in their module, except the last block, which is its own for each number of
    blocks: it is wider than the block that other modules have there.
    """
    found = {
        name: Slice(name, tuple(tuple(range(size)) for size in parameter.shape))
        for name, parameter in module.named_parameters()
    }
    if not isinstance(module, Segmenter | Classifier) or not isinstance(backbone := module.backbone, Backbone):
        return found  # a library's trunk has the same channels in every network
    channels = found[f"backbone.stem.{len(backbone.stem) - 1}.conv.weight"].axes[0]
    features: list[Channels] = []
    for i, stage in enumerate(backbone.stages):
        for j, part in enumerate(stage):  # pyright: ignore[reportArgumentType]
            channels = _module_slices(found, f"backbone.stages.{i}.{j}", part, channels)
        features.append(channels)
    if isinstance(module, Classifier):
        _takes(found, "conv.conv", features[-1])
        return found
    shallow, *deep = (features[i] for i in module.taps)
    for i, its in enumerate(deep):
        _takes(found, f"context.refine.{i}.conv", its)
        _takes(found, f"context.refine.{i}.conv.conv", its)
    _takes(found, "context.average.1.conv", deep[-1])
    if module.spatial is None:
        if isinstance(module.fusion, AdditiveFusion):
            _takes(found, "fusion.shallow.conv", shallow)
        else:
            context = range(len(found["fusion.conv.conv.weight"].axes[1]) - len(shallow))
            both = [("shallow", channel) for channel in shallow] + [("context", channel) for channel in context]
            _takes(found, "fusion.conv.conv", tuple(both))
    _takes(found, "detail.convs.0.conv", features[module.detail_stage])
    return found


def _module_slices(found: dict[str, Slice], name: str, module: StdcModule, inputs: Channels) -> Channels:
    """Name what an STDC module has, and return the names of its outputs."""
    count = len(module.blocks)
    outputs: list[Hashable] = []
    for i, block in enumerate(module.blocks):
        role = str(i) if i < count - 1 else f"last{count}"
        for parameter, _ in block.named_parameters():
            own = f"{name}.blocks.{i}.{parameter}"
            found[own] = found[own]._replace(key=f"{name}.blocks.{role}.{parameter}")
        outputs += [(role, channel) for channel in found[f"{name}.blocks.{i}.conv.weight"].axes[0]]
    _takes(found, f"{name}.blocks.0.conv", inputs)
    for i, part in enumerate(module.shortcut or ()):  # pyright: ignore[reportArgumentType]
        grouped = isinstance(part, nn.Conv2d) and part.groups > 1
        if isinstance(part, nn.Conv2d) and not grouped:
            _takes(found, f"{name}.shortcut.{i}", inputs)
            inputs = tuple(outputs)
        for parameter, _ in part.named_parameters():
            own = f"{name}.shortcut.{i}.{parameter}"
            found[own] = found[own]._replace(axes=(inputs, *found[own].axes[1:]))
    return tuple(outputs)


def _takes(found: dict[str, Slice], convolution: str, inputs: Channels) -> None:
    """Name the input channels of a convolution, if there is one of that name."""
    if (one := found.get(f"{convolution}.weight")) is not None:
        found[f"{convolution}.weight"] = one._replace(axes=(one.axes[0], inputs, *one.axes[2:]))


class Elastic(nn.Module):
    """The shared weights of the networks of a space.

    Args:
        networks: networks that together have every channel of the space. A weight starts with the value that it has in
            the first of them that has it.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.places: dict[str, list[dict[Hashable, int]]] = {}
        """Of each shared weight, along each dimension, the index of each channel."""
        several = [(dict(module.named_parameters()), slices(module)) for module in networks]
        for _, its in several:
            for key, axes in its.values():
                places = self.places.setdefault(key, [{} for _ in axes])
                for place, axis in zip(places, axes, strict=True):
                    for channel in axis:
                        place.setdefault(channel, len(place))
        shared = {key: torch.full([*map(len, places)], torch.nan) for key, places in self.places.items()}
        for parameters, its in several:
            for name, one in its.items():
                whole, indices = shared[one.key], torch.meshgrid(*self._indices(one), indexing="ij")
                own = parameters[name].detach().to("cpu")
                whole[indices] = torch.where(whole[indices].isnan(), own, whole[indices])
        parts: dict[str, dict[str, nn.Parameter]] = {}
        for key, value in shared.items():  # by the parts of a network, which the optimiser knows
            left = value.isnan()
            value[left] = torch.randn(int(left.sum())) * (value[~left].std() if left.any() else 1.0)
            part, inner = self._names(key)
            parts.setdefault(part, {})[inner] = nn.Parameter(value)
        for part, its in parts.items():
            setattr(self, part, nn.ParameterDict(its))

    def plan(self, module: nn.Module) -> Plan:
        """Where the weights of a network are among the shared ones, by the names of its parameters."""
        found = {}
        for name, one in slices(module).items():
            sizes = [len(place) for place in self.places[one.key]]
            indices = [_shortest(index, size) for index, size in zip(self._indices(one), sizes, strict=True)]
            found[name] = (*self._names(one.key), indices)
        return found

    def weights(self, plan: Plan) -> dict[str, Tensor]:
        """The weights of a network, which depend on the shared ones, by the names of its parameters."""
        found = {}
        for name, (part, inner, indices) in plan.items():
            value = getattr(self, part)[inner]
            for dimension, index in enumerate(indices):
                if isinstance(index, int):
                    value = value.narrow(dimension, 0, index)
                elif index is not None:
                    value = value.index_select(dimension, index.to(value.device))
            found[name] = value
        return found

    def _indices(self, one: Slice) -> list[Tensor]:
        axes = zip(self.places[one.key], one.axes, strict=True)
        return [torch.tensor([place[channel] for channel in axis]) for place, axis in axes]

    @staticmethod
    def _names(key: str) -> tuple[str, str]:
        """Names of the part and, within it, of the weight; `ParameterDict` allows no dots."""
        part, _, inner = key.partition(".")
        return part, inner.replace(".", "/")


Plan = dict[str, tuple[str, str, list[Tensor | int | None]]]
"""Part, name and, along each dimension, which rows: None for all, a number for the first ones, or their indices."""


def _shortest(index: Tensor, size: int) -> Tensor | int | None:
    """The same rows in a form that need not be copied, if there is one."""
    if not torch.equal(index, torch.arange(len(index))):
        return index
    return None if len(index) == size else len(index)


def take(module: nn.Module, elastic: Elastic) -> nn.Module:
    """Give a network its weights; the statistics of its norms are left as they are."""
    with torch.no_grad():
        parameters = dict(module.named_parameters())
        for name, value in elastic.weights(elastic.plan(module)).items():
            parameters[name].copy_(value)
    return module
