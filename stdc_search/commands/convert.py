"""A checkpoint -> safetensors with the weights of a network."""

from __future__ import annotations

from pathlib import Path

import torch

from stdc_search.errors import UserError
from stdc_search.network.builder import build
from stdc_search.network.weights import Loaded, load_weights, save_weights
from stdc_search.spec.run import RunSpec


def convert(spec: RunSpec, checkpoint: Path, out: Path, *, partial: bool = False) -> Loaded:
    """Write a checkpoint's tensors under the names of a network.

    Args:
        spec: a run; its network decides names and shapes.
        checkpoint: any file that `load_weights` reads.
        out: a `.safetensors` file.
        partial: whether tensors that do not fit are skipped; random weights (seed 0) take their place.

    Returns:
        Which tensors were taken.

    Raises:
        UserError: `out` has another suffix, the file cannot be read, or its tensors do not fit.
    """
    if spec.network.kind == "onnx_file":
        raise UserError("`network.kind` onnx_file: an ONNX file takes no other weights")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: the file name must end in .safetensors")
    torch.manual_seed(0)
    module = build(spec.network)
    loaded = load_weights(module, checkpoint, partial=partial)
    if not loaded.taken:
        raise UserError(f"{checkpoint}: no tensor fits the network:\n  " + "\n  ".join(loaded.misfits))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(module, out)
    return loaded
