"""Checkpoints with the released code's names, and what its layers compute from them, written independently."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
DEPTHS = {"stdc1": (2, 2, 2), "stdc2": (4, 5, 3)}
WIDTHS = (256, 512, 1024)


class Names:
    """Fills a state with random tensors, layer by layer."""

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def conv(self, name: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (inputs * kernel * kernel) ** -0.5
        self.state[f"{name}.weight"] = spread * torch.randn(outputs, inputs, kernel, kernel, generator=self.generator)

    def norm(self, name: str, channels: int, batches: bool = True, negative: bool = False) -> None:
        weight = 0.5 + torch.rand(channels, generator=self.generator)
        if negative:
            weight[::3] *= -1
        self.state[f"{name}.weight"] = weight
        self.state[f"{name}.bias"] = 0.3 * torch.randn(channels, generator=self.generator)
        self.state[f"{name}.running_mean"] = 0.3 * torch.randn(channels, generator=self.generator)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.generator)
        if batches:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv_x(self, name: str, outputs: int, inputs: int, kernel: int, head: bool = False) -> None:
        self.conv(f"{name}.conv", outputs, inputs, kernel)
        self.norm(f"{name}.bn", outputs, batches=not head, negative=head)

    def backbone(self, prefix: str, network: str) -> None:
        self.conv_x(f"{prefix}features.0", 32, 3, 3)
        self.conv_x(f"{prefix}features.1", 64, 32, 3)
        channels, index = 64, 2
        for depth, width in zip(DEPTHS[network], WIDTHS, strict=True):
            for place in range(depth):
                name = f"{prefix}features.{index}"
                half = width // 2
                self.conv_x(f"{name}.conv_list.0", half, channels, 1)
                if place == 0:
                    self.conv(f"{name}.avd_layer.0", half, 1, 3)
                    self.norm(f"{name}.avd_layer.1", half)
                self.conv_x(f"{name}.conv_list.1", width // 4, half, 3)
                self.conv_x(f"{name}.conv_list.2", width // 8, width // 4, 3)
                self.conv_x(f"{name}.conv_list.3", width // 8, width // 8, 3)
                channels, index = width, index + 1
        a, b, c = DEPTHS[network]
        taps = {"x2": [0], "x4": [1], "x8": range(2, 2 + a), "x16": range(2 + a, 2 + a + b)}
        taps["x32"] = range(2 + a + b, 2 + a + b + c)
        for tap, indices in taps.items():
            for i in indices:
                for name in [name for name in self.state if name.startswith(f"{prefix}features.{i}.")]:
                    alias = name.replace(f"{prefix}features.", f"{prefix}{tap}.0.")
                    self.state[alias] = self.state[name]
        self.conv_x(f"{prefix}conv_last", 1024, 1024, 1)
        self.state[f"{prefix}fc.weight"] = 0.03 * torch.randn(1024, 1024, generator=self.generator)
        self.norm(f"{prefix}bn", 1024)
        self.state[f"{prefix}linear.weight"] = 0.03 * torch.randn(1000, 1024, generator=self.generator)


def classification(network: str) -> State:
    names = Names()
    names.backbone("", network)
    return names.state


def segmentation(network: str, classes: int = 19) -> State:
    names = Names()
    names.backbone("cp.backbone.", network)
    for stage, channels in (("16", 512), ("32", 1024)):
        names.conv_x(f"cp.arm{stage}.conv", 128, channels, 3, head=True)
        names.conv(f"cp.arm{stage}.conv_atten", 128, 128, 1)
        names.norm(f"cp.arm{stage}.bn_atten", 128, batches=False, negative=True)
        names.conv_x(f"cp.conv_head{stage}", 128, 128, 3, head=True)
    names.conv_x("cp.conv_avg", 128, 1024, 1, head=True)
    names.conv_x("ffm.convblk", 256, 384, 1, head=True)
    names.conv("ffm.conv1", 64, 256, 1)
    names.conv("ffm.conv2", 256, 64, 1)
    heads = {"conv_out": (256, 256, classes), "conv_out16": (128, 64, classes), "conv_out32": (128, 64, classes)}
    heads |= {f"conv_out_sp{s}": (c, 64, 1) for s, c in ((16, 512), (8, 256), (4, 64), (2, 32))}
    for head, (inputs, width, outputs) in heads.items():
        names.conv_x(f"{head}.conv", width, inputs, 3, head=True)
        names.conv(f"{head}.conv_out", outputs, width, 1)
    return names.state


class Released:
    """The released forward passes, as functions of a state.

    Args:
        state: with the released names.
        activated: whether the norms around the backbone scale by |weight| + 1e-5, as released.
    """

    def __init__(self, state: State, activated: bool = True) -> None:
        self.state = {name: value.double() for name, value in state.items()}
        self.activated = activated

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        if self.activated and "features" not in name and "conv_last" not in name:
            weight = weight.abs() + 1e-5
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv_x(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return self.norm(x, f"{name}.bn").clamp(min=0)

    def conv1(self, x: Tensor, name: str) -> Tensor:
        return torch.einsum("nchw,oc->nohw", x, self.state[f"{name}.weight"][:, :, 0, 0])

    def module(self, x: Tensor, name: str) -> Tensor:
        x = self.conv_x(x, f"{name}.conv_list.0")
        parts = [x]
        if f"{name}.avd_layer.0.weight" in self.state:
            parts = [F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)]  # the padding is counted
            weight = self.state[f"{name}.avd_layer.0.weight"]
            x = self.norm(F.conv2d(x, weight, stride=2, padding=1, groups=len(weight)), f"{name}.avd_layer.1")
        for i in (1, 2, 3):
            x = self.conv_x(x, f"{name}.conv_list.{i}")
            parts.append(x)
        return torch.cat(parts, 1)

    def features(self, image: Tensor, prefix: str = "") -> list[Tensor]:
        x = self.conv_x(self.conv_x(image, f"{prefix}features.0", 2), f"{prefix}features.1", 2)
        found = []
        index = 2
        while f"{prefix}features.{index}.conv_list.0.conv.weight" in self.state:
            if f"{prefix}features.{index}.avd_layer.0.weight" in self.state and index > 2:
                found.append(x)
            x = self.module(x, f"{prefix}features.{index}")
            index += 1
        return [*found, x]

    def classify(self, image: Tensor) -> Tensor:
        x = self.conv_x(self.features(image)[-1], "conv_last")
        x = (x * x).mean((2, 3)) @ self.state["fc.weight"].T
        return x.clamp(min=0) @ self.state["linear.weight"].T

    def refine(self, x: Tensor, name: str) -> Tensor:
        x = self.conv_x(x, f"{name}.conv")
        return (
            x * self.norm(self.conv1(x.mean((2, 3), keepdim=True), f"{name}.conv_atten"), f"{name}.bn_atten").sigmoid()
        )

    def head(self, x: Tensor, name: str) -> Tensor:
        return self.conv1(self.conv_x(x, f"{name}.conv"), f"{name}.conv_out")

    def segment(self, image: Tensor) -> dict[str, Tensor]:
        """Logits of every head, those of classes at the image's size."""
        f8, f16, f32 = self.features(image, "cp.backbone.")
        average = self.conv_x(f32.mean((2, 3), keepdim=True), "cp.conv_avg")
        x = self.refine(f32, "cp.arm32") + average
        cp16 = self.conv_x(F.interpolate(x, size=f16.shape[2:]), "cp.conv_head32")
        x = self.refine(f16, "cp.arm16") + cp16
        cp8 = self.conv_x(F.interpolate(x, size=f8.shape[2:]), "cp.conv_head16")
        x = self.conv_x(torch.cat([f8, cp8], 1), "ffm.convblk")
        weights = self.conv1(self.conv1(x.mean((2, 3), keepdim=True), "ffm.conv1").clamp(min=0), "ffm.conv2").sigmoid()
        x = x * weights + x
        heads = {"conv_out": self.head(x, "conv_out")}
        heads |= {"conv_out16": self.head(cp8, "conv_out16"), "conv_out32": self.head(cp16, "conv_out32")}
        size = image.shape[2:]
        full = {n: F.interpolate(h, size=size, mode="bilinear", align_corners=True) for n, h in heads.items()}
        return {**full, "conv_out_sp8": self.head(f8, "conv_out_sp8")}


def as_mmsegmentation(state: State, network: str, classes: int = 19) -> State:
    """A released segmentation state under mmsegmentation's names, with its heads' biases."""
    generator = torch.Generator().manual_seed(1)
    starts = [2, 2 + DEPTHS[network][0], 2 + sum(DEPTHS[network][:2]), 99]
    parts = {
        "cp.arm32.conv.": "backbone.arms.0.conv_layer.",
        "cp.arm32.conv_atten.": "backbone.arms.0.atten_conv_layer.1.conv.",
        "cp.arm32.bn_atten.": "backbone.arms.0.atten_conv_layer.1.bn.",
        "cp.arm16.conv.": "backbone.arms.1.conv_layer.",
        "cp.arm16.conv_atten.": "backbone.arms.1.atten_conv_layer.1.conv.",
        "cp.arm16.bn_atten.": "backbone.arms.1.atten_conv_layer.1.bn.",
        "cp.conv_head32.": "backbone.convs.0.",
        "cp.conv_head16.": "backbone.convs.1.",
        "cp.conv_avg.": "backbone.conv_avg.",
        "ffm.convblk.": "backbone.ffm.conv0.",
        "ffm.conv1.": "backbone.ffm.attention.1.conv.",
        "ffm.conv2.": "backbone.ffm.attention.2.conv.",
        "conv_out.conv.": "decode_head.convs.0.",
        "conv_out.conv_out.": "decode_head.conv_seg.",
        "conv_out16.conv.": "auxiliary_head.0.convs.0.",
        "conv_out16.conv_out.": "auxiliary_head.0.conv_seg.",
        "conv_out32.conv.": "auxiliary_head.1.convs.0.",
        "conv_out32.conv_out.": "auxiliary_head.1.conv_seg.",
    }
    found: State = {}
    for name, value in state.items():
        for there, here in parts.items():
            if name.startswith(there):
                found[here + name.removeprefix(there)] = value
        if name.startswith("cp.backbone.features."):
            index, rest = name.removeprefix("cp.backbone.features.").split(".", 1)
            rest = rest.replace("conv_list.", "layers.")
            rest = rest.replace("avd_layer.0.", "downsample.conv.").replace("avd_layer.1.", "downsample.bn.")
            i = int(index)
            stage = next(k for k in range(3) if starts[k] <= i < starts[k + 1]) if i > 1 else None
            place = f"{i}" if stage is None else f"{stage + 2}.{i - starts[stage]}"
            found[f"backbone.backbone.stages.{place}.{rest}"] = value
    for head in ("decode_head", "auxiliary_head.0", "auxiliary_head.1"):
        found[f"{head}.conv_seg.bias"] = torch.randn(classes, generator=generator)
    found["auxiliary_head.2.conv_seg.weight"] = torch.zeros(2, 64, 1, 1)
    found["auxiliary_head.2.laplacian_kernel"] = torch.zeros(1, 1, 3, 3)
    return found
