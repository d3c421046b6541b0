"""Networks of timm and torchvision, up to their last tap (Fan et al. 2021, Table 3)."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from stdc_search.errors import brief

Library = Literal["timm", "torchvision"]
Purpose = Literal["trunk", "segmentation", "classification"]
SIZE = (256, 512)
"""Height and width of the trial image. They differ, to tell the two dimensions of a map apart."""


class Trunk(nn.Module):
    """A model reduced to the layers that its taps need, with the library's initial weights.

    Args:
        library: where the model comes from.
        model: its name there.
        taps: modules whose outputs are the features, shallow to deep.
    """

    def __init__(self, library: Library, model: str, taps: Sequence[str]) -> None:
        super().__init__()
        self.library: Library = library
        self.name = model
        if library == "timm":
            from timm.models import create_feature_extractor
        else:
            from torchvision.models.feature_extraction import create_feature_extractor
        nodes = {tap: str(i) for i, tap in enumerate(taps)}
        whole = make_model(library, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchvision warns of nodes that differ in training
            self.model = create_feature_extractor(whole, return_nodes=nodes)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """N, 3, H, W -> the features of each tap."""
        return tuple(self.model(image).values())


class LibrarySegmenter(nn.Module):
    """A segmentation network of torchvision: image -> its scores, before they are up-sampled to the image's size."""

    def __init__(self, classes: int, model: str) -> None:
        from torchvision.models.segmentation import LRASPP

        super().__init__()
        self.levels: tuple[int, ...] = ()
        self.model: Any = make_model("torchvision", model, classes)
        self.takes_all = isinstance(self.model, LRASPP)  # its head sees a shallow map, too

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.model.backbone(image)
        return (self.model.classifier(features if self.takes_all else features["out"]),)


class LibraryClassifier(nn.Module):
    """A classification network of a library: image -> its scores, without those that some have in training only."""

    def __init__(self, classes: int, library: Library, model: str) -> None:
        super().__init__()
        self.model = make_model(library, model, classes)

    def forward(self, image: Tensor) -> Tensor:
        scores = self.model(image)
        return scores[0] if isinstance(scores, tuple) else scores  # GoogLeNet and Inception have three in training


class Features(NamedTuple):
    """Channels and reductions of a trunk's outputs."""

    channels: tuple[int, ...]
    reductions: tuple[int, ...]
    """Image size divided by feature size."""


@cache
def features_of(library: Library, model: str, taps: tuple[str, ...], truncated: bool = False) -> Features:
    """Channels and reductions at the taps of a model, found by running the whole model on the `meta` device.

    Raises:
        ValueError: the library, model or tap does not exist; the model needs images of a fixed size; a tap's output is
            not a map; the taps do not get deeper; or, unless `truncated`, another module follows a tap at its size, or
            follows the last tap at any size. Modules with only 1x1 convolutions are exempt: they belong to the
            classifier's head, as in EfficientNet.
    """
    with torch.device("meta"):
        whole = make_model(library, model).eval()
        image = torch.empty(1, 3, *SIZE)
    modules = dict(whole.named_modules())
    for tap in taps:
        if tap not in modules:
            raise ValueError(f"{model} has no module `{tap}`; {_like(tap, modules)}")
    ran: list[tuple[str, Any]] = []
    depths = {tap.count(".") for tap in taps}
    for name, module in modules.items():
        if name.count(".") in depths:
            module.register_forward_hook(lambda _module, _inputs, output, name=name: ran.append((name, output)))
    try:
        with torch.no_grad():
            whole(image)
    except Exception as error:  # a library's model can raise anything
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{model} cannot be a trunk: it fails on an image of {SIZE[0]} x {SIZE[1]}: {told}") from None
    ends = {name: i for i, (name, _) in enumerate(ran)}  # if a module runs twice, the last run counts
    outputs = dict(ran)
    reductions = []
    for tap in taps:
        output = outputs.get(tap)
        if not _is_map(output) or (down := _reduction(output)) is None:
            raise ValueError(f"`{tap}` of {model} does not output a map of N, C, H, W; tap a module that does")
        reductions.append(down)
        if down < max(reductions):
            raise ValueError(f"`{tap}` of {model} is at 1/{down}, after one at 1/{max(reductions)}; taps must deepen")
        after = [
            name
            for name, end in ends.items()
            if end > ends[tap]
            and name.count(".") == tap.count(".")
            and _is_map(outputs[name])
            and (tap == taps[-1] or outputs[name].shape[2:] == output.shape[2:])
            and any(isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1 for part in modules[name].modules())
        ]
        if after and not truncated:
            follow = "follows" if len(after) == 1 else "follow"
            raise ValueError(
                f"`{', '.join(after)}` of {model} {follow} `{tap}` and would be left out of its features; "
                f"tap the last of them, `{after[-1]}`, or allow it with `truncated: true`"
            )
    return Features(tuple(outputs[tap].shape[1] for tap in taps), tuple(reductions))


def _reduction(feature: Tensor) -> int | None:
    """Image size divided by a map's size; None if height and width disagree, as for N, H, W, C."""
    (height, width), (rows, columns) = SIZE, feature.shape[2:]
    return round(height / rows) if round(height / rows) == round(width / columns) else None


def _is_map(output: Any) -> TypeGuard[Tensor]:
    return isinstance(output, Tensor) and output.ndim == 4


def check_model(library: Library, model: str, purpose: Purpose = "trunk") -> None:
    """Check that a library has a model for a purpose.

    Raises:
        ValueError: the library is not installed or has no such model.
    """
    if library == "torchvision":
        from torchvision import models

        names = models.list_models({"segmentation": models.segmentation, "classification": models}.get(purpose))
    else:
        try:
            import timm
        except ImportError:
            raise ValueError("timm is not installed; type: pip install timm") from None
        names = timm.list_models()
    if model not in names:
        noun = {"trunk": "model", "segmentation": "segmentation network", "classification": "classifier"}[purpose]
        raise ValueError(f"{library} has no {noun} `{model}`; {_like(model, names)}")


def make_model(library: Library, model: str, classes: int | None = None) -> nn.Module:
    """A library's model with its initial weights.

    Args:
        library: where the model comes from.
        model: its name there.
        classes: number of its outputs; default: the library's.

    Raises:
        ValueError: the library is not installed or has no such model.
    """
    check_model(library, model)
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if library == "timm":
        import timm

        return _made(lambda: timm.create_model(model, **options))
    from torchvision import models

    if model in (*models.list_models(models.segmentation), *models.list_models(models.detection)):
        options["weights_backbone"] = None
    return _made(lambda: models.get_model(model, weights=None, **options))


def trained_weights(library: Library, model: str, weights: str) -> dict[str, Tensor]:
    """A library's trained weights of a model, from its cache; those that are not there are downloaded first.

    Loading them runs no code of their authors: they are safetensors, or read with `weights_only`.

    Args:
        library: where the model comes from.
        model: its name there.
        weights: their name there, such as IMAGENET1K_V1 of torchvision, or a1_in1k of timm.

    Raises:
        ValueError: there are none of that name, or they are neither in the cache nor can be downloaded.
    """
    check_model(library, model)
    known = _known_weights(library, model)
    if weights not in known:  # torchvision's DEFAULT neither, which changes from version to version
        raise ValueError(f"{library} has no weights `{weights}` of {model}; it has {', '.join(known) or 'none'}")
    try:
        return _load_torchvision(model, weights) if library == "torchvision" else _load_timm(model, weights)
    except Exception as error:  # of the network, of a hub, of pickle
        get, cache = {
            "torchvision": (f"torchvision.models.get_model('{model}', weights='{weights}')", "~/.cache/torch"),
            "timm": (f"timm.create_model('{model}.{weights}', pretrained=True)", "~/.cache/huggingface"),
        }[library]
        raise ValueError(
            f"{library}'s weights {weights} of {model} cannot be loaded: {brief(error).rstrip('.')}. If this one is "
            f'offline, run `python -c "import {library}; {get}"` on another machine and copy its {cache} here'
        ) from None


def _known_weights(library: Library, model: str) -> list[str]:
    if library == "torchvision":
        from torchvision import models

        return [one.name for one in models.get_model_weights(model)]
    import timm

    return [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]


def _load_torchvision(model: str, weights: str) -> dict[str, Tensor]:
    from torchvision import models

    url = models.get_model_weights(model)[weights].url
    return torch.hub.load_state_dict_from_url(
        url, map_location="cpu", progress=False, check_hash=True, weights_only=True
    )


def _load_timm(model: str, weights: str) -> dict[str, Tensor]:
    import timm

    with torch.random.fork_rng(devices=[]):  # the model draws weights first, which are replaced
        return timm.create_model(f"{model}.{weights}", pretrained=True).state_dict()


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    """A model on the default device, built on the CPU first if it cannot be built on `meta`."""
    try:
        return make()
    except NotImplementedError:
        device = torch.get_default_device()
        with torch.device("cpu"):
            return make().to(device)


def _like(word: str, words: Sequence[str] | dict[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(words), n=3, cutoff=0.5) or list(words)[-3:]
    return f"there is {', '.join(f'`{name}`' for name in near)}"
