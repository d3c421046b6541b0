"""The precision of training on this machine."""

from __future__ import annotations

import torch

from stdc_search.spec.choices import FloatPrecision, TrainingPrecision

EMULATED = 12
"""Ratio of the times of a training step of STDC1-Seg (8 x 128 x 160) in bf16 and in fp32, on a CPU without bf16
instructions: 11.5 to 13.2 in four interleaved pairs on an AMD EPYC (Zen 3)."""


def bf16_is_native() -> bool:
    """Whether the training device has bf16 instructions; emulation is many times slower than fp32."""
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # as in torch 2.8; Arm's instructions stay unknown then
        return torch.cpu._is_avx512_bf16_supported()  # also true of every CPU with AMX
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one: Arm


def precision_here(precision: TrainingPrecision) -> FloatPrecision:
    """Resolve `auto` for this machine; any other precision is returned as it is."""
    if precision == "auto":
        return "bf16" if bf16_is_native() else "fp32"
    return precision
