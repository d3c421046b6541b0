"""Fixed work that takes turns with the networks; its time shows whether the machine was busy."""

from __future__ import annotations

from collections.abc import Callable

import torch

from stdc_search.device.disturbance import work_of_cpu
from stdc_search.device.loop import Run


def fixed_work() -> dict[str, Callable[[], Run]]:
    """Makers of the fixed work of each kind of device; a GPU that torch cannot use has none."""
    return {"cpu": work_of_cpu, **({"gpu": _work_of_gpu} if torch.cuda.is_available() else {})}


def _work_of_gpu() -> Run:
    """A convolution of about a millisecond."""
    image, kernel = torch.ones((1, 256, 128, 128), device="cuda"), torch.ones((256, 256, 3, 3), device="cuda")

    @torch.inference_mode()
    def run() -> torch.Tensor:
        result = torch.nn.functional.conv2d(image, kernel, padding=1)
        torch.cuda.synchronize()
        return result

    return run
