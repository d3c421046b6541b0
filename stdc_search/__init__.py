"""Declared speed-accuracy search around STDC segmentation networks.

    spec = stdc_search.load("specs/stdc1_seg50.yaml")
    net = stdc_search.build(spec.network)
    cost = stdc_search.count(spec.network, spec.image_size)
    stdc_search.load_weights(net, "weights.safetensors")
    labels = stdc_search.predict(net, image, spec.image_size)
    best = stdc_search.Run("runs/quickstart").best(at_most_ms=30)

Importing this loads neither torch nor anything else that is heavy; each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stdc_search.commands.difference import diff as diff
    from stdc_search.commands.fronts import compare as compare
    from stdc_search.commands.results import Run as Run
    from stdc_search.commands.run import run as run
    from stdc_search.evaluation.pixels import predict as predict
    from stdc_search.latency import measure as measure
    from stdc_search.network.builder import build as build
    from stdc_search.network.cost import count as count
    from stdc_search.network.weights import load_weights as load_weights
    from stdc_search.spec.base import dump as dump
    from stdc_search.spec.base import replace as replace
    from stdc_search.spec.run import load as load
    from stdc_search.spec.run import schema as schema

_HOMES = {
    "load": "spec.run",
    "dump": "spec.base",
    "replace": "spec.base",
    "schema": "spec.run",
    "build": "network.builder",
    "count": "network.cost",
    "measure": "latency",
    "predict": "evaluation.pixels",
    "run": "commands.run",
    "Run": "commands.results",
    "compare": "commands.fronts",
    "diff": "commands.difference",
    "load_weights": "network.weights",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]
