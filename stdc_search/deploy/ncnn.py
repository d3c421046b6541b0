"""A network as two files for ncnn: pnnx, ncnn's own converter, writes them."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from stdc_search.errors import UserError

INPUT, OUTPUT = "in0", "out0"
"""Names that pnnx gives."""


class Scores(nn.Module):
    """A network that takes pixels as ncnn loads them, float32 1, 3, H, W of 0 to 255, and returns scores.

    Args:
        network: image uint8 N, H, W, 3 -> scores.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image.permute(0, 2, 3, 1))


def save_ncnn(network: nn.Module, image: Tensor, folder: Path) -> Path:
    """Write `network.param` and `network.bin`, in float32.

    Args:
        network: image uint8 1, H, W, 3 -> scores.
        image: one for it.
        folder: an existing folder.

    Returns:
        The path of `network.param`.

    Raises:
        UserError: a package is missing, or pnnx fails.
    """
    pnnx, _ = packages()
    example = image.permute(0, 3, 1, 2).float()
    height, width = example.shape[2:]
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pnnx reads TorchScript, which torch calls deprecated
        torch.jit.save(torch.jit.trace(Scores(network).eval(), example, check_trace=False), f"{scratch}/network.pt")
        command = [pnnx.EXEC_PATH, "network.pt", f"inputshape=[1,3,{height},{width}]", "fp16=0"]
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for ending in ("param", "bin"):
            written = Path(scratch, f"network.ncnn.{ending}")
            if done.returncode or not written.exists():
                last = done.stdout.strip().splitlines()[-1:]
                raise UserError(f"pnnx cannot convert this network (exit code {done.returncode}: {' '.join(last)})")
            (folder / f"network.{ending}").write_bytes(written.read_bytes())
    return folder / "network.param"


def run_ncnn(path: Path, image: Tensor) -> Tensor:
    """Labels of one image, uint8 1, H, W, 3, by ncnn in float32: uint8 1, H, W, or int64 1.

    Raises:
        UserError: a package is missing, or ncnn cannot load the files.
    """
    _, ncnn = packages()
    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise UserError(f"{path.name}: ncnn lacks an operator of this network; choose another format with --to")
    pixels = image[0].permute(2, 0, 1).float().contiguous().numpy()  # a name keeps the memory, which ncnn does not copy
    with net.create_extractor() as run:
        run.input(INPUT, ncnn.Mat(pixels))
        failed, found = run.extract(OUTPUT)
        if failed:
            raise UserError(f"{path.name}: ncnn cannot run this network; choose another format with --to")
        scores = np.array(found)
    best = torch.from_numpy(scores.argmax(0)[None])
    return best.to(torch.uint8) if best.ndim == 3 else best


def packages() -> tuple[ModuleType, ModuleType]:
    """pnnx and ncnn.

    Raises:
        UserError: one is not installed.
    """
    try:
        import ncnn
        import pnnx
    except ImportError as error:
        raise UserError(f"`--to ncnn` needs two packages ({error}); type: pip install ncnn pnnx") from None
    return pnnx, ncnn
