"""Reading weights from files: our own, the released code's and mmsegmentation's.

Released files are those of MichaelFan01/STDC-Seg. The classification files hold every backbone tensor twice. The
segmentation files have activated batch norms outside the backbone, which scale by |weight| + 1e-5. We fold that into
the weights, so outputs equal the released evaluation. mmsegmentation's files have plain norms, and heads with biases.
"""

from __future__ import annotations

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from stdc_search.errors import UserError, brief
from stdc_search.network.models.library import Trunk, trained_weights
from stdc_search.network.onnx_file import file_in
from stdc_search.storage import is_endless, write_atomically

Kind = Literal["own", "released classification", "released segmentation", "mmsegmentation", "library"]
State = Mapping[str, Tensor]
EPSILON = 1e-5
"""An activated batch norm adds this to the absolute value of its weights."""
MMSEGMENTATION = re.compile(r"\bstages\.\d+\.\d+\.layers\.0\.conv\.weight$")
KNOWN = re.compile(
    rf"(?:^|(?<=\.))(?:cp\.backbone\.|features\.0\.conv\.weight$|backbone\.(?:stem|model)\.|body\."
    rf"|{MMSEGMENTATION.pattern})"
)
"""Names that identify the kind of a file, starting where the network's own names start."""
WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts of a name that torch.compile, FSDP and activation checkpointing insert."""
AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|average)", re.IGNORECASE)
"""Names under which training tools keep averaged weights."""
TRAINING_HEADS = ("auxiliary.", "detail.", "detail_target.")
SHOWN = 8
"""Number of names that a message lists; it only counts the others."""


class WeightsError(UserError):
    """A weights file cannot be read, or does not fit the network."""


@dataclass(frozen=True)
class Loaded:
    """The result of loading a file's tensors."""

    kind: Kind
    where: str
    """Path of the weights in the file, such as `ema.module`; empty at top level. File names are relative to it."""
    taken: tuple[str, ...]
    """The module's tensors that were loaded, by its own names."""
    missing: tuple[str, ...]
    """The module's tensors that the file lacks."""
    unexpected: tuple[str, ...]
    """The file's tensors that the module does not have, by the file's names."""
    misshapen: tuple[str, ...]
    """The module's tensors that have another shape or kind of number in the file, with both."""
    set_aside: tuple[str, ...]
    """The file's tensors that inference does not need: copies, training heads, layers that are never called."""
    converted: tuple[str, ...] = ()
    """The types, such as float64, that tensors were converted from."""

    @property
    def misfits(self) -> list[str]:
        """The mismatches, one line per kind."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "with a different shape or type": self.misshapen,
        }
        return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]

    def __str__(self) -> str:
        wanted = len(self.taken) + len(self.missing) + len(self.misshapen)
        under = f" under `{self.where}`" if self.where else ""
        text = f"{self.kind}{under}: {len(self.taken)} of {wanted} tensors taken"
        text += f", {len(self.set_aside)} of the file set aside" if self.set_aside else ""
        return text + (f", converted from {' and '.join(self.converted)}" if self.converted else "")


def load_weights(module: nn.Module, path: str | Path, *, partial: bool = False) -> Loaded:
    """Copy a file's tensors into a module.

    Args:
        module: `Segmenter` or `Classifier`.
        path: our own safetensors or checkpoint, or a file of the released code or of mmsegmentation; of an ONNX file,
            the file itself.
        partial: whether to take what fits; else all must.

    Raises:
        WeightsError: the file is damaged, would run code, has an unknown kind, or contains NaN, infinity or a negative
            variance; or, unless `partial`, something in it does not fit. The module is then as it was.
    """
    path = Path(path)
    if (file := file_in(module)) is not None:
        if not (path.is_file() and path.samefile(file.path)):
            raise WeightsError(f"{path}: the network is an ONNX file, which holds its weights; give {file.path}")
        return Loaded("own", "", (), (), (), (), ())
    own = module.state_dict()
    found, fitting = _matched(own, _fit_best(_read(path), own))
    if found.misfits and not partial:
        under = f" under `{found.where}`" if found.where else ""
        raise WeightsError(
            f"{path}: {found.kind} weights{under} that do not fit:\n  "
            + "\n  ".join(found.misfits)
            + "\nThese may be weights of another network: give the `spec.yaml` that lies beside them."
        )
    fitting = {name: tensor.to(own[name].dtype) for name, tensor in fitting.items()}
    if broken := [name for name, tensor in fitting.items() if not _is_sound(name, tensor)]:
        raise WeightsError(
            f"{path}: {len(broken)} tensors contain NaN, infinity or a negative variance: {_listed(broken)}; its "
            "training failed, or the file is damaged; give weights of an earlier epoch"
        )
    module.load_state_dict(fitting, strict=False)
    return found


def load_library_weights(module: nn.Module, weights: str) -> Loaded:
    """Copy a library's trained weights into the backbone of a network, which is that library's model.

    Args:
        module: `Segmenter` or `Classifier`.
        weights: their name in the library.

    Raises:
        WeightsError: the backbone is not of a library, or the library does not have them here.
    """
    trunk = next(((place, one) for place, one in module.named_modules() if isinstance(one, Trunk)), None)
    if trunk is None:
        raise WeightsError(f"{weights}: these are weights of a library's model, but the backbone is none")
    place, model = trunk
    try:
        tensors = trained_weights(model.library, model.name, weights)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    own = module.state_dict()
    named = {name: (f"{place}.model.{name}", tensor) for name, tensor in tensors.items()}
    state = {ours: (name, tensor) for name, (ours, tensor) in named.items() if ours in own}
    beyond = [name for name, (ours, _) in named.items() if ours not in own]  # after the last tap
    found, fitting = _matched(own, _Recognised("library", "", state, beyond))
    module.load_state_dict(fitting, strict=False)
    return found


def _matched(own: State, file: _Recognised) -> tuple[Loaded, dict[str, Tensor]]:
    """How a file's tensors compare with a module's, and those to load."""
    kind, prefix, state, set_aside = file
    absent = tuple(head for head in TRAINING_HEADS if not any(name.startswith(head) for name in own))
    for name in [name for name in state if name.startswith(absent)]:
        set_aside.append(state.pop(name)[0])
    fitting = {name: tensor for name, (_, tensor) in state.items() if name in own and _like(tensor, own[name])}
    types = {tensor.dtype for name, tensor in fitting.items() if not _is_counter(name)} - {torch.float32}
    found = Loaded(
        kind=kind,
        where=prefix.removesuffix("."),
        taken=tuple(name for name in fitting if not _is_counter(name)),
        missing=tuple(name for name in own if name not in state and not _is_dispensable(name)),
        unexpected=tuple(there for name, (there, _) in state.items() if name not in own and not _is_counter(name)),
        misshapen=tuple(
            f"{name} {_described(state[name][1])} in the file, {_described(tensor)} here"
            for name, tensor in own.items()
            if name in state and name not in fitting
        ),
        set_aside=tuple(set_aside),
        converted=tuple(sorted(_type(one) for one in types)),
    )
    return found, fitting


def _like(tensor: Tensor, own: Tensor) -> bool:
    """Whether a tensor can take the place of another; whole numbers are not weights, but those of a quantized one."""
    return tensor.shape == own.shape and (tensor.is_floating_point() or not own.is_floating_point())


def _is_sound(name: str, tensor: Tensor) -> bool:
    """Whether a network can compute with it."""
    return bool(tensor.isfinite().all()) and not (name.endswith("running_var") and (tensor < 0).any())


def _described(tensor: Tensor) -> str:
    """Its shape, and its type if that is one of whole numbers."""
    return str(tuple(tensor.shape)) if tensor.is_floating_point() else f"{tuple(tensor.shape)} {_type(tensor.dtype)}"


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors, atomically."""
    # safetensors rejects channels_last
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    write_atomically(path, safetensors.torch.save(state))


def _read(path: Path) -> dict[str, Tensor]:
    """Every plain tensor in a file by its dotted path, such as `model.module.backbone.stem.0.conv.weight`."""
    if is_endless(path):
        raise WeightsError(f"{path}: is a pipe or a device, not a file")
    try:
        content = _content(path)
    except FileNotFoundError:
        raise WeightsError(f"{path}: does not exist") from None
    except pickle.UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
        if refused is None and not path.read_bytes()[:2].startswith((b"\x80", b"PK")):  # of pickles and PyTorch's files
            raise WeightsError(
                f"{path}: is damaged, or no file of weights; give one that ends in .safetensors, .pth, .pt or .tar"
            ) from None
        wants = f" ({refused[1]})" if refused else ""
        raise WeightsError(
            f"{path}: is damaged, or a pickle that runs code when it is loaded{wants}, so it was not loaded; if you "
            "trust it, load it with `torch.load(..., weights_only=False)` and save its `state_dict()` with `torch.save`"
        ) from None
    except Exception as error:  # a damaged or foreign file can raise almost anything
        raise WeightsError(f"{path}: cannot be read as weights: {brief(error)}") from None
    tensors = dict(_leaves(content))
    plain = {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items() if _is_plain(tensor)}
    if not plain:
        holds = f"none of its {len(tensors)} tensors is dense and real" if tensors else "it holds no tensors"
        raise WeightsError(f"{path}: {holds}{_top_level(content)}")
    if not _prefixes(plain):
        raise WeightsError(
            f"{path}: weights of an unknown kind; supported are stdc-search's own, the released code's and "
            f"mmsegmentation's. Its tensors are {_listed(plain)}{_top_level(content)}"
        )
    return plain


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals(_plain_types()):
        warnings.simplefilter("ignore", UserWarning)  # about old pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def _leaves(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Dotted path and tensor of everything in nested mappings and lists; visits each container once."""
    seen: set[int] = set()
    todo = [("", content)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, Tensor):
            yield path, value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += reversed([(f"{path}.{key}" if path else str(key), item) for key, item in items])


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_complex() or tensor.is_quantized)


def _top_level(content: Any) -> str:
    """Text that lists a file's top-level keys, unless these are just the names of tensors."""
    nested = isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values())
    return f"; its top-level keys are {_listed(map(str, content))}" if nested else ""


def _plain_types() -> list[Any]:
    """Harmless types that training tools store beside the weights: NumPy's and argparse's, which only hold values."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    before_numpy_2 = [(scalar, "numpy.core.multiarray.scalar"), (array, "numpy.core.multiarray._reconstruct")]
    numbers = {type(np.dtype(kind)) for kind in ("?", "u1", "u4", "u8", "f4", "f8", "i4", "i8")}
    return [scalar, array, *before_numpy_2, np.ndarray, np.dtype, *numbers, Namespace]


Translated = dict[str, tuple[str, Tensor]]
"""Our name -> the file's name and tensor."""


class _Recognised(NamedTuple):
    """Tensors under one prefix of a file, read as weights of a known kind."""

    kind: Kind
    prefix: str
    state: Translated
    set_aside: list[str]


def _fit_best(tensors: State, own: State) -> _Recognised:
    """The prefix under which most of a module's tensors are found.

    Averaged weights win over others that fit equally well, as in timm, because training evaluated the averaged ones.
    """
    found = [_recognised(tensors, prefix) for prefix in _prefixes(tensors)]

    def fit(one: _Recognised) -> tuple[int, int, bool, int]:
        named = [name for name in one.state if name in own and not _is_counter(name)]
        shaped = sum(one.state[name][1].shape == own[name].shape for name in named)
        return shaped, len(named), AVERAGED.search(one.prefix) is not None, one.prefix.count(".")

    return max(found, key=fit)


def _prefixes(tensors: State) -> list[str]:
    """Every possible prefix of weights of a known kind, in the file's order."""
    starts = dict.fromkeys(name[: match.start()] for name in tensors if (match := KNOWN.search(name)))
    return list(dict.fromkeys(start[: end.end()] for start in starts for end in re.finditer(r"^|\.", start)))


def _recognised(tensors: State, prefix: str) -> _Recognised:
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if any(name.startswith("cp.backbone.") for name in state):
        return _Recognised("released segmentation", prefix, *_translated(state, _released_segmentation(state)))
    if "features.0.conv.weight" in state:
        return _Recognised("released classification", prefix, *_translated(state, _released_classification(state)))
    if any(MMSEGMENTATION.search(name) for name in state):
        return _Recognised("mmsegmentation", prefix, *_translated(state, _mmsegmentation(state)))
    return _Recognised("own", prefix, {name: (name, tensor) for name, tensor in state.items()}, [])


Rename = Callable[[str], str | None]
"""A file's name -> ours, or None for a tensor that inference does not need."""


def _translated(state: State, rename: Rename) -> tuple[Translated, list[str]]:
    translated: Translated = {}
    set_aside = []
    for there, tensor in state.items():
        try:
            name = rename(there)
        except ValueError:  # it only starts like a known name
            name = there
        if name is None:
            set_aside.append(there)
        else:
            translated[name] = (there, tensor)
    return translated, set_aside


def _released_classification(state: State, prefix: str = "") -> Rename:
    modules = _places(state, re.compile(re.escape(prefix) + r"features\.(\d+)\.(?:conv_list|(avd_layer))\."))
    after = {"conv_last": "conv", "fc": "hidden.linear", "bn": "hidden.bn", "linear": "out"}

    def rename(name: str) -> str | None:
        part, _, rest = name.removeprefix(prefix).partition(".")
        if re.fullmatch(r"x\d+", part):
            return None  # a copy
        if part in after and not prefix:
            return f"{after[part]}.{rest}"
        if part in after:
            return None  # the segmenter's backbone contains the classifier's layers
        if part != "features":
            return name
        index, _, rest = rest.partition(".")
        if int(index) not in modules:
            return f"backbone.stem.{index}.{rest}"
        stage, place = modules[int(index)]
        rest = re.sub(r"^conv_list\.", "blocks.", rest)
        return f"backbone.stages.{stage}.{place}.{re.sub(r'^avd_layer[.]', 'down.', rest)}"

    return rename


def _released_segmentation(state: dict[str, Tensor]) -> Rename:
    """Names of a released segmenter; also folds the activated norms outside the backbone, in place."""
    for name, tensor in state.items():
        if re.search(r"\.bn(?:_atten)?\.weight$", name) and not name.startswith("cp.backbone."):
            state[name] = tensor.float().abs() + EPSILON
    backbone = _released_classification(state, "cp.backbone.")
    parts = {
        "cp.arm16.conv": "context.refine.0.conv",
        "cp.arm16.conv_atten": "context.refine.0.attention.1",
        "cp.arm16.bn_atten": "context.refine.0.attention.2",
        "cp.arm32.conv": "context.refine.1.conv",
        "cp.arm32.conv_atten": "context.refine.1.attention.1",
        "cp.arm32.bn_atten": "context.refine.1.attention.2",
        "cp.conv_head16": "context.smooth.0",
        "cp.conv_head32": "context.smooth.1",
        "cp.conv_avg": "context.average.1",
        "ffm.convblk": "fusion.conv",
        "ffm.conv1": "fusion.attention.1",
        "ffm.conv2": "fusion.attention.3",
        "conv_out.conv": "head.convs.0",
        "conv_out.conv_out": "head.out",
        "conv_out16.conv": "auxiliary.0.convs.0",  # on the level at 1/8, despite its name
        "conv_out16.conv_out": "auxiliary.0.out",
        "conv_out32.conv": "auxiliary.1.convs.0",
        "conv_out32.conv_out": "auxiliary.1.out",
        "conv_out_sp8.conv": "detail.convs.0",
        "conv_out_sp8.conv_out": "detail.out",
    }

    def rename(name: str) -> str | None:
        if name.startswith("cp.backbone."):
            return backbone(name)
        if re.match(r"conv_out_sp(2|4|16)\.", name):
            return None  # detail heads of other stages
        return _by_parts(name, parts)

    return rename


def _mmsegmentation(state: State) -> Rename:
    prefix = next(match[1] for name in state if (match := re.match(r"(.*?)stages\.\d+\.\d+\.layers\.", name)))
    stem = len({name for name in state if re.match(re.escape(prefix) + r"stages\.\d+\.conv\.", name)})
    parts = {
        "backbone.arms.0.conv_layer": "context.refine.1.conv",  # 1/32 comes first
        "backbone.arms.0.atten_conv_layer.1.conv": "context.refine.1.attention.1",
        "backbone.arms.0.atten_conv_layer.1.bn": "context.refine.1.attention.2",
        "backbone.arms.1.conv_layer": "context.refine.0.conv",
        "backbone.arms.1.atten_conv_layer.1.conv": "context.refine.0.attention.1",
        "backbone.arms.1.atten_conv_layer.1.bn": "context.refine.0.attention.2",
        "backbone.convs.0": "context.smooth.1",
        "backbone.convs.1": "context.smooth.0",
        "backbone.conv_avg": "context.average.1",
        "backbone.ffm.conv0": "fusion.conv",
        "backbone.ffm.attention.1.conv": "fusion.attention.1",
        "backbone.ffm.attention.2.conv": "fusion.attention.3",
        "decode_head.convs.0": "head.convs.0",
        "decode_head.conv_seg": "head.out",
        "auxiliary_head.0.convs.0": "auxiliary.0.convs.0",
        "auxiliary_head.0.conv_seg": "auxiliary.0.out",
        "auxiliary_head.1.convs.0": "auxiliary.1.convs.0",
        "auxiliary_head.1.conv_seg": "auxiliary.1.out",
    }

    def rename(name: str) -> str | None:
        if name.startswith(f"{prefix}stages."):
            index, place, rest = name.removeprefix(f"{prefix}stages.").split(".", 2)
            if not place.isdecimal():
                return f"backbone.stem.{index}.{place}.{rest}"
            for there, here in (("layers.", "blocks."), ("downsample.conv.", "down.0."), ("downsample.bn.", "down.1.")):
                rest = re.sub(f"^{re.escape(there)}", here, rest)
            return f"backbone.stages.{int(index) - stem}.{place}.{rest}"
        if name.startswith(("auxiliary_head.2.", f"{prefix}final_conv.")) or re.search(r"(^|\.)x(2|4|8|16|32)\.", name):
            return None  # a two-channel detail head, the classifier's layer, copies left by its converter
        return _by_parts(name, parts)

    return rename


def _places(state: State, module: re.Pattern[str]) -> dict[int, tuple[int, int]]:
    """Stage of each module in a flat list, and its index there; a module that halves its map starts a stage."""
    found = [match for name in state if (match := module.match(name))]
    strided = {int(match[1]) for match in found if match[2]}
    places: dict[int, tuple[int, int]] = {}
    stage, place = -1, 0
    for index in sorted({int(match[1]) for match in found}):
        stage, place = (stage + 1, 0) if index in strided or stage < 0 else (stage, place + 1)
        places[index] = stage, place
    return places


def _is_dispensable(name: str) -> bool:
    """Whether a file may lack this tensor: a batch counter, or the fusion kernel, which no released file has."""
    return _is_counter(name) or name.startswith("detail_target.")


def _is_counter(name: str) -> bool:
    """Whether this is a norm's batch counter, which our norms do not need and activated norms do not have."""
    return name.endswith("num_batches_tracked")


def _by_parts(name: str, parts: Mapping[str, str]) -> str:
    for there, here in parts.items():
        if name.startswith(f"{there}."):
            return here + name.removeprefix(there)
    return name


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
