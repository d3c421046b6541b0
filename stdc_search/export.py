"""A network as an ONNX file, which needs none of this package to run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from stdc_search.spec.base import write_atomically

if TYPE_CHECKING:
    import onnx

Output = Literal["labels", "logits"]

INPUT = "image"
"""Name of the input: float32, 1, 3, H, W, normalised. The output is named after its kind."""
OPSET = 18
"""The operator set in which torch's exporter is written: it has all that these networks need, and more
runtimes read it than read a later one."""


class Labeller(nn.Module):
    """A network that answers with the best class in place of scores.

    Of pixels: uint8, N, H, W; of an image: int64, N.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network(image)
        labels = logits.argmax(1)
        return labels.to(torch.uint8) if logits.ndim == 4 else labels


def deployed(module: nn.Module, output: Output) -> nn.Module:
    """A copy of a network as it is deployed, in eval mode; the network itself is left as it is."""
    network = copy.deepcopy(module)
    return (Labeller(network) if output == "labels" else network).eval().requires_grad_(False)


def to_onnx(
    module: nn.Module, image_size: tuple[int, int], output: Output = "logits", path: Path | None = None
) -> bytes:
    """Export what `forward` needs, heads that only training uses left out; takes 3 to 6 s.

    Args:
        module: image -> logits; left as it is.
        image_size: (height, width), fixed in the file as is the batch of 1.
        output: `labels` puts the choice of the best class into the graph.
        path: gets the file, all or nothing.

    Returns:
        The file's content.
    """
    program = torch.onnx.export(
        deployed(module, output).cpu(),
        (torch.zeros(1, 3, *image_size),),
        input_names=[INPUT],
        output_names=[output],
        opset_version=OPSET,
        verbose=False,  # else its progress goes to standard output
    )
    assert program is not None
    model = program.model_proto
    _drop_traces(model)
    content = model.SerializeToString()
    if path is not None:
        write_atomically(path, content)
    return content


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the stack trace that the exporter notes at each node: paths and code of this machine."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for item in (model, graph, *graph.node, *values):
        item.ClearField("metadata_props")
