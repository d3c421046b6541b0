"""A GPU without a GPU: tensors that have a device, a type and a shape but no values.

PyTorch's FakeTensorMode runs every operation on shapes alone. What mixes devices raises there as on a GPU, and so does
whatever looks at a value: nothing has one. `no_waits` adds the copies that would make the CPU wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.library import _scoped_library
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)


class WaitError(AssertionError):
    """The CPU would wait for the GPU."""


class _NoCopies(TorchDispatchMode):
    """Raises where values would travel between CPU and GPU, other than from pinned memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_") and not kwargs.get("non_blocking", len(args) > 2 and args[2]):
            source = args[-1] if name == "copy_" and len(args) == 2 else args[1] if name == "copy_" else args[0]
            if source.device.type != result.device.type:
                raise WaitError(f"{func} copies from {source.device} to {result.device}")
        return result


class _Mode(FakeTensorMode):
    def __deepcopy__(self, memo: dict[int, Any]) -> _Mode:
        """A copy of a fake tensor is one of the same mode; else the two could not meet in an operation."""
        return self


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run on fake tensors, where `cuda` exists even if there is no GPU."""
    if torch.__version__ < "2.11":  # 2.8 aborts the process in a convolution, which it really tries to run; 2.11 works
        pytest.skip(f"fake tensors of torch {torch.__version__} need a real GPU")
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)  # else no autocast
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)  # its grid sampler has no shapes
    with _scoped_library("aten", "IMPL") as library, _Mode(allow_fallback_kernels=False):
        library.impl("_fused_sgd_", lambda *_, **__: None, "Meta")  # AdamW's is torch's own
        yield


@contextmanager
def counted() -> Iterator[None]:
    """Within `fake_cuda`: let shapes depend on values, as that of `nonzero` does; they are symbols then."""
    with unset_fake_temporarily(), _Mode(allow_fallback_kernels=False, shape_env=ShapeEnv()):
        yield


@contextmanager
def no_waits() -> Iterator[None]:
    """Raise if the CPU would wait for the GPU."""
    with _NoCopies():
        yield


def to_fake_cuda(module: nn.Module) -> nn.Module:
    """Replace the parameters and buffers of a module by ones on the fake GPU, channels last as in training."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, value in held.items():
                if value is None:
                    continue
                layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
                fake = torch.empty(value.shape, dtype=value.dtype, device=CUDA).to(memory_format=layout)
                held[name] = nn.Parameter(fake, value.requires_grad) if isinstance(value, nn.Parameter) else fake
    return module


def backward(loss: Tensor) -> None:
    """`loss.backward()`, which asks the GPU for its streams, here in Python: each node of the graph in turn."""
    assert loss.grad_fn is not None
    waiting: Counter[Any] = Counter()
    seen, stack = {loss.grad_fn}, [loss.grad_fn]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    arrived: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready = [loss.grad_fn]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            given = arrived.pop(node, {})
            gradients = _called(node, given)
            for (after, place), gradient in zip(node.next_functions, gradients, strict=True):
                if after is None:
                    continue
                if gradient is not None:
                    like = after._input_metadata[place]
                    assert gradient.device == like.device, f"{node} gives {after} a gradient on {gradient.device}"
                    gradient = gradient.sum_to_size(like.shape).to(like.dtype)  # what was broadcast is added up
                    sums = arrived.setdefault(after, {})
                    sums[place] = sums[place] + gradient if place in sums else gradient
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)


def _called(node: Any, given: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    if not given:
        return (None,) * len(node.next_functions)
    if hasattr(node, "variable"):  # a parameter
        variable = node.variable
        variable.grad = given[0] if variable.grad is None else variable.grad + given[0]
        return ()
    result = node(*(given.get(place) for place in range(max(given) + 1)))
    return result if isinstance(result, tuple) else (result,)
