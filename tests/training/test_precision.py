"""The precision that `auto` stands for, on stand-ins of devices."""

from __future__ import annotations

import pytest
import torch

from stdc_search.training.precision import bf16_is_native, precision_here


def put_in(monkeypatch: pytest.MonkeyPatch, gpu: str | None = None, gpu_has: bool = False, **cpu_has: bool) -> None:
    device = None if gpu is None else torch.device(gpu)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_has and not including_emulation
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **cpu_has}, raising=False)


@pytest.mark.parametrize(
    ("device", "native"),
    [
        ({}, False),
        ({"avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),
        ({"gpu": "cuda", "gpu_has": True}, True),
        ({"gpu": "cuda", "gpu_has": False, "amx_bf16": True}, False),
        ({"gpu": "mps", "amx_bf16": True}, False),
    ],
)
def test_auto_is_bf16_where_the_device_that_trains_has_instructions_for_it(monkeypatch, device, native):
    put_in(monkeypatch, **device)
    assert bf16_is_native() == native
    assert precision_here("auto") == ("bf16" if native else "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_asked_for_stays(monkeypatch, precision):
    put_in(monkeypatch)
    assert precision_here(precision) == precision


@pytest.mark.parametrize("native", [True, False])
def test_a_torch_that_lists_no_instructions_still_tells_those_of_avx512(monkeypatch, native):
    put_in(monkeypatch)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert bf16_is_native() == native


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="this torch does not list the instructions")
def test_the_names_of_instructions_are_those_of_torch():
    has = torch.cpu.get_capabilities()
    if has["architecture"] == "x86_64":
        assert {"avx512_bf16", "amx_bf16"} <= set(has)
