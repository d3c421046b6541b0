"""A network as an ONNX file, which needs none of this package to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from stdc_search.deploy import Output, deployed
from stdc_search.spec.base import write_atomically

if TYPE_CHECKING:
    import onnx

INPUT = "image"
"""Name of the input: float32, N, 3, H, W, normalised. The output is named after its kind."""
OPSET = 18
"""The operator set in which torch's exporter is written: it has all that these networks need, and more
runtimes read it than read a later one."""


def to_onnx(
    module: nn.Module,
    image_size: tuple[int, int],
    output: Output = "logits",
    path: Path | None = None,
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> bytes:
    """Export what `forward` needs, heads that only training uses left out; takes 3 to 6 s.

    Args:
        module: image -> logits; left as it is.
        image_size: (height, width), fixed in the file as is the batch.
        output: `labels` puts the choice of the best class into the graph.
        path: gets the file, all or nothing.
        batch: images a call.
        dtype: of weights and features.

    Returns:
        The file's content.
    """
    program = torch.onnx.export(
        deployed(module, output, dtype).cpu(),
        (torch.zeros(batch, 3, *image_size),),
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
