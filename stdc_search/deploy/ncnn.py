"""A network as two files for ncnn: pnnx, ncnn's own converter, writes them."""

from __future__ import annotations

import io
import subprocess
import tempfile
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from stdc_search.deploy.folding import Output
from stdc_search.device.runtimes import UnavailableError, best_class, ncnn_net, ncnn_scores
from stdc_search.errors import UserError

ENDINGS = (".param", ".bin")


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
    contents = _converted(Scores(network).eval(), image.permute(0, 3, 1, 2).float())
    for ending, content in zip(ENDINGS, contents, strict=True):
        (folder / f"network{ending}").write_bytes(content)
    return folder / "network.param"


def to_ncnn(network: nn.Module, image: Tensor, output: Output) -> bytes:
    """Both files in one, which `device/runtimes.py` reads.

    Args:
        network: image float32 1, 3, H, W, normalised -> scores.
        image: one for it.
        output: what is made of the scores there.

    Raises:
        UserError: a package is missing, or pnnx fails.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("output", output)
        for ending, content in zip(ENDINGS, _converted(network, image), strict=True):
            archive.writestr(f"network{ending}", content)
    return buffer.getvalue()


def _converted(network: nn.Module, example: Tensor) -> list[bytes]:
    try:
        import pnnx
    except ImportError as error:
        raise UnavailableError(f"ncnn needs two packages here ({error}); type: pip install ncnn pnnx") from None
    shape = ",".join(map(str, example.shape))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pnnx reads TorchScript, which torch calls deprecated
        torch.jit.save(torch.jit.trace(network, example, check_trace=False), f"{scratch}/network.pt")
        command = [pnnx.EXEC_PATH, "network.pt", f"inputshape=[{shape}]", "fp16=0"]
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        written = [Path(scratch, f"network.ncnn{ending}") for ending in ENDINGS]
        if done.returncode or not all(path.exists() for path in written):
            last = done.stdout.strip().splitlines()[-1:]
            raise UserError(f"pnnx cannot convert this network (exit code {done.returncode}: {' '.join(last)})")
        return [path.read_bytes() for path in written]


def run_ncnn(path: Path, image: Tensor) -> Tensor:
    """Labels of one image, uint8 1, H, W, 3, by ncnn in float32: uint8 1, H, W, or int64 1.

    Raises:
        UserError: a package is missing, or ncnn cannot load the files.
    """
    pixels = image[0].permute(2, 0, 1).float().contiguous().numpy()
    return torch.from_numpy(best_class(ncnn_scores(ncnn_net(path), pixels))[None])
