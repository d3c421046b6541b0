"""Search space -> a folder to carry to a device that cannot be reached; it learns the times of parts there."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stdc_search.commands.calibrate import check_profiled, network_of, sample
from stdc_search.device.bundle import JOB, NETWORKS
from stdc_search.device.hardware import physical_cores
from stdc_search.device.runtimes import Settings, open_file
from stdc_search.device.wire import to_bytes
from stdc_search.errors import UserError
from stdc_search.latency.remote import OLDEST, program
from stdc_search.latency.runtimes import file_content
from stdc_search.latency.typical import with_regions
from stdc_search.network.builder import build
from stdc_search.spec.measurement import ELSEWHERE, RuntimeSpec
from stdc_search.spec.run import RunSpec
from stdc_search.storage import write_atomically

PROGRAM, SCRIPT = "measure.zip", "run.sh"
BLOCK = 4096
"""Weights that a network repeats; so a file of 50 MB shrinks to a few hundred kB."""
RUN = f"""\
#!/bin/sh
# Measures the networks of this folder and writes times.json. It needs Python 3.9 or newer with NumPy and {{runtime}};
# PYTHON=/path/to/python ./{SCRIPT} takes another Python. Once stopped, it goes on where it was.
exec "${{{{PYTHON:-python3}}}}" "$(dirname "$0")/{PROGRAM}"
"""


def bundle(
    spec: RunSpec, runtime: RuntimeSpec, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a folder with a program and the networks that together have every part of a space.

    Args:
        spec: a run with a search.
        runtime: ONNX Runtime or OpenVINO, not in int8.
        folder: a new or empty folder.
        progress: called with the number of networks written and of all.

    Raises:
        UserError: the folder is not empty, the runtime does not report times of nodes, or the precision is int8.
    """
    check_profiled(runtime)
    fields = runtime.model_dump(include=set(RuntimeSpec.model_fields))
    runtime = RuntimeSpec(**{**fields, "on": ELSEWHERE, "python": "python3"})
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; a bundle has a folder of its own, so give another one with `--out`")
    learnt, held_out = sample(spec)
    runs = [spec, *learnt, *held_out]
    folder.mkdir(parents=True, exist_ok=True)
    about: list[dict[str, Any]] = []
    with zipfile.ZipFile(folder / NETWORKS, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, run in enumerate(runs):
            network = network_of(run, runtime.model_dump_json())
            about.append({**network._asdict(), **_add(archive, f"{number:04d}", run, runtime)})
            if progress is not None:
                progress(number + 1, len(runs))
    job = {"runtime": runtime.model_dump(mode="json"), "learnt": len(learnt), "networks": about}
    write_atomically(folder / JOB, json.dumps(job) + "\n")
    write_atomically(folder / PROGRAM, _with_main(program()))
    write_atomically(folder / SCRIPT, RUN.format(runtime=runtime.runtime))
    (folder / SCRIPT).chmod(0o755)


def _add(archive: zipfile.ZipFile, name: str, run: RunSpec, runtime: RuntimeSpec) -> dict[str, str]:
    """Add a network, an image and its result to the archive.

    Returns:
        The names of their files.
    """
    torch.manual_seed(0)
    images = torch.randn((runtime.batch, 3, *run.image_size))
    module = with_regions(repetitive(build(run.network)), images)
    content = file_content(runtime, module, images, None)
    here = open_file(Settings("onnxruntime", "cpu", "fp32", physical_cores()), content)
    result = here.fetch(here.run(here.load(images.numpy())))
    height, width = run.image_size
    files = {"file": f"{name}.onnx", "result": f"{name}.npy", "image": f"image_{height}x{width}.npy"}
    archive.writestr(files["file"], content)
    archive.writestr(files["result"], to_bytes(result))
    if files["image"] not in archive.namelist():
        archive.writestr(files["image"], to_bytes(images.numpy()))
    return files


def repetitive(module: nn.Module) -> nn.Module:
    """Replace large weights, in place, by short random blocks again and again; their values do not matter to times."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.numel() > BLOCK:
                block = weight.flatten()[:BLOCK].clone()
                weight.copy_(torch.cat([block] * -(-weight.numel() // BLOCK))[: weight.numel()].view_as(weight))
    return module


MAIN = """
try:
    from stdc_search.device.bundle import main
except ModuleNotFoundError as error:
    sys.exit("This Python lacks %s; type: python3 -m pip install numpy onnxruntime (or openvino)" % error.name)
main()
"""


def _with_main(content: bytes) -> bytes:
    """A zip file that Python runs."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("__main__.py", f"{OLDEST}{MAIN}")
    return buffer.getvalue()
