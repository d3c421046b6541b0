"""A finished run in Python: its tables, its best network, and its networks ready to label images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stdc_search.errors import UserError, closest
from stdc_search.report.bounds import make_bounds
from stdc_search.report.choice import Choice, choose, weights_of
from stdc_search.report.reading import Results, read_results
from stdc_search.run_folder import spec_name
from stdc_search.spec.choices import Format
from stdc_search.spec.run import RunSpec, load

if TYPE_CHECKING:
    from torch import nn


class Run:
    """The results of a run.

    A run with finals has two sets of results: those of the search, and those of `finals`, which have better trained
    networks under the same numbers. `best` looks at both. Files are read when something is first asked for, and kept:
    make a new `Run` to see what a running search has found since.

    Args:
        folder: a run folder, such as `runs/quickstart`.

    Raises:
        UserError: it is not a run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.results: Results = read_results(Path(folder))

    def __repr__(self) -> str:
        trained = f"{len(self.candidates)} candidates, {len(self.front)} on the front"
        finals = "" if self.finals is None else f", {len(self.finals.candidates)} in the finals"
        return f"Run({str(self.folder)!r}): {trained}{finals}"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.results.folder

    @property
    def spec(self) -> RunSpec:
        """What it was started with."""
        return self.results.run

    @property
    def candidates(self) -> pd.DataFrame:
        """Every finished candidate with every figure, a row each; a new frame each time.

        Columns have the names of the records: `number`, `name`, `origin`, `front`, `cost.macs`, `latency.median_ms`,
        `score.miou`, `values.NAME` for what varied, and more. Units are those of the names (`_ms`), percent for scores
        and single units for counts. With a search, `expected.score.miou` is the score that a model of all networks
        expects, `interval.score.miou` half of the width of its 95 % interval, `probability` (0 to 1) that of being on
        the front, and `barred` says what keeps a network off it.
        """
        return self.results.frame.copy()

    @property
    def front(self) -> pd.DataFrame:
        """The candidates on the front, in the order of the first minimised objective; columns as of `candidates`."""
        frame = self.candidates
        return frame if frame.empty else frame.loc[frame["front"]].reset_index(drop=True)

    @cached_property
    def finals(self) -> Run | None:
        """The finals, if at least one of their networks is trained."""
        return None if self.results.finals is None else Run(self.results.finals.folder)

    def best(
        self,
        *,
        at_most_ms: float | None = None,
        at_most_macs: float | None = None,
        at_most_parameters: float | None = None,
    ) -> Best:
        """The network with the highest expected accuracy within bounds; of the finals if one of them fits.

        Args:
            at_most_ms: bound of the median time, in milliseconds.
            at_most_macs: bound of the multiply-adds, such as 2e9.
            at_most_parameters: bound of the number of parameters, such as 3e6.

        Raises:
            UserError: no network fits; the message names the nearest.
        """
        return Best.of(choose(self.results, make_bounds(at_most_ms, at_most_macs, at_most_parameters)))

    def network(self, number: int) -> Network:
        """A network with its weights, those of the first seed.

        Args:
            number: as in `candidates`; its folder is `networks/0008` for 8.

        Raises:
            UserError: there is no such network, or its folder or weights were removed.
        """
        return trained_network(self.results, number)


@dataclass(frozen=True, eq=False, repr=False)
class Best(Choice):
    """A choice that can be loaded and exported; printed, it says what `stdc-search best` says."""

    @classmethod
    def of(cls, choice: Choice) -> Best:
        """The same choice."""
        return cls(**{field.name: getattr(choice, field.name) for field in fields(Choice)})

    def network(self) -> Network:
        """The network with its weights."""
        return trained_network(self.results, self.number)

    def export(
        self,
        to: Format = "onnx",
        out: str | Path | None = None,
        *,
        int8: bool = False,
        dynamic: Collection[str] = (),
        data_root: Path | None = None,
    ) -> list[Path]:
        """Write a file to deploy with its example, as `stdc-search export` does.

        Args:
            to: format of the file.
            out: output folder; default: `runs/export` and the name of the run and the network.
            int8: whether to quantize, calibrated on training images.
            dynamic: what the file leaves open: `batch`, `size`.
            data_root: where a relative `data.root` starts, for int8.

        Returns:
            The files written.
        """
        from stdc_search.commands.deliver import deliver

        folder = Path("runs/export") / spec_name(self.spec) if out is None else Path(out)
        return deliver(load(self.spec), self.weights, to, folder, int8=int8, dynamic=dynamic, data_root=data_root)


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network in PyTorch."""

    spec: RunSpec
    """Its spec, which trains it again."""
    module: nn.Module
    """Image float N, 3, H, W, normalised -> scores; in eval mode, on the CPU. Move it to use it elsewhere."""

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8] | int:
        """Label an image as `score` does.

        Args:
            image: H, W, 3, uint8, RGB, of any size. OpenCV gives BGR: pass `image[..., ::-1]`.

        Returns:
            The class of each pixel: H, W; of a classifier, the class of the image.

        Raises:
            UserError: the array is not such an image.
        """
        from stdc_search.commands.labeller import of_module
        from stdc_search.evaluation.pixels import check_image, classify

        if self.spec.network.task == "classification":
            return classify(self.module, image, self.spec.image_size)
        check_image(image)
        return of_module(self.module, self.spec).labels(image)


def trained_network(results: Results, number: int) -> Network:
    """A network of a run with its weights.

    Raises:
        UserError: there is no such network, or its folder or weights were removed.
    """
    numbers = [record.number for record in results.complete]
    if number not in numbers:
        raise UserError(f"{results.folder}: has no finished network {number}; {closest(number, numbers)}")
    path, weights = results.spec_of(number), weights_of(results, number)
    for file in (path, weights):
        if not file.is_file():
            raise UserError(f"{file}: is missing; restore it, or train it again with `stdc-search run`")
    from stdc_search.network.builder import build
    from stdc_search.network.weights import load_weights

    spec = load(path)
    module = build(spec.network)
    load_weights(module, weights)
    return Network(spec, module.eval())
