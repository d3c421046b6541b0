"""Imports point down the list of rooms, and what must start fast loads nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "stdc_search"


class Room(NamedTuple):
    """A folder of the package, or a single module."""

    name: str
    holds: str
    torch: bool = True
    """Whether it may need PyTorch."""


FLOORS = (
    (Room("cli", "the command line: arguments in, tables out", torch=False),),
    (Room("commands", "one file per command"),),
    (
        Room("search", "proposes candidates, has them tried and learns from their records"),
        Room("report", "records -> tables, plots, overlays; the only room that draws", torch=False),
    ),
    (Room("trial", "one candidate: RunSpec -> Record"),),
    (
        Room("latency", "times networks on runtimes, and predicts times from tables of parts"),
        Room("tasks", "what is learned: segmentation or classification, with its samples, loss and score"),
    ),
    (
        Room("deploy", "networks as files: folding, export, quantization"),
        Room("evaluation", "counts of what is right, and the views of an image"),
        Room("training", "the loop, batches, optimizer, losses, several processes"),
    ),
    (
        Room("expectation", "records -> what the networks of a search score on average over all seeds", torch=False),
        Room("network", "spec -> module, cost and weights; `models/` never see a spec"),
        Room("data", "one file per data set or label format, transforms, survey"),
    ),
    (
        Room("records", "what a run writes, and the list of metrics", torch=False),
        Room("doubt", "why a measured time is not to be trusted", torch=False),
        Room("ranking", "Pareto fronts, hypervolume, rank correlation", torch=False),
        Room("spec", "what a person may write in a file", torch=False),
        Room("palette", "the colours of classes, and label maps in them", torch=False),
        Room("run_folder", "the file names of a run and of a candidate, and the folder's lock", torch=False),
    ),
    (Room("device", "what measures; it also runs alone on another device", torch=False),),
    (
        Room("errors", "errors that a person can fix, and the words that messages share", torch=False),
        Room("storage", "atomic writes, and appending a line", torch=False),
    ),
)
"""A room may import the floors below its own and, on its floor, what stands to its left."""

ROOMS = {room.name: room for room in chain.from_iterable(FLOORS)}
MODELS_AND_MEASURES = sorted(
    f"{PACKAGE}.{'.'.join(path.relative_to(ROOT / PACKAGE).with_suffix('').parts)}"
    for pattern in ("network/models/[a-z]*.py", "training/losses.py", "evaluation/metrics.py")
    for path in (ROOT / PACKAGE).glob(pattern)
)
HEAVY = {"torch", "optuna", "onnx", "onnxruntime", "pandas", "matplotlib", "numpy"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Dotted names that the import statements among the nodes name: `a.b.c` for `from a.b import c`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


TREES = {module_name(path): ast.parse(path.read_text("utf-8"), path) for path in (ROOT / PACKAGE).rglob("*.py")}
IMPORTS = {module: imported(ast.walk(tree)) for module, tree in TREES.items()}
"""Of each module, those inside functions and those only for types included: they are dependencies, too."""


def room_of(name: str) -> str:
    """`spec` for `stdc_search.spec.network.StageSpec`, an empty string for the package itself."""
    first = name.removeprefix(PACKAGE).removeprefix(".").split(".")[0]
    return "" if first.startswith("__") else first


def rooms_imported_by(module: str) -> set[str]:
    ours = {name for name in IMPORTS[module] if name.split(".")[0] == PACKAGE}
    return {room_of(name) for name in ours} - {"", room_of(module)}


def modules_in(*rooms: str) -> list[str]:
    return sorted(module for module in IMPORTS if room_of(module) in rooms)


def allowed(room: str) -> set[str]:
    floor = next(floor for floor in FLOORS if ROOMS[room] in floor)
    to_the_left = floor[: floor.index(ROOMS[room])]
    below = chain.from_iterable(FLOORS[FLOORS.index(floor) + 1 :])
    return {other.name for other in (*to_the_left, *below)}


def test_every_module_has_its_room_in_the_list() -> None:
    assert {room_of(module) for module in IMPORTS} - {""} == set(ROOMS)


@pytest.mark.parametrize("module", modules_in(*ROOMS))
def test_imports_point_down_the_list(module: str) -> None:
    assert rooms_imported_by(module) <= allowed(room_of(module))


def test_records_know_no_spec_and_specs_know_of_records_alone() -> None:
    """Specs name the metrics that records have."""
    assert set().union(*map(rooms_imported_by, modules_in("records"))) <= {"errors", "storage"}
    assert set().union(*map(rooms_imported_by, modules_in("spec"))) <= {"errors", "storage", "records"}


@pytest.mark.parametrize("module", MODELS_AND_MEASURES)
def test_models_losses_and_metrics_know_no_spec(module: str) -> None:
    assert "spec" not in rooms_imported_by(module)


def test_the_builder_alone_knows_the_networks_spec_and_its_modules() -> None:
    spec = f"{PACKAGE}.spec.network"
    both = {
        module
        for module, names in IMPORTS.items()
        if any(name.startswith(spec) for name in names)
        and any(name.startswith(f"{PACKAGE}.network.models") for name in names)
    }
    assert both == {f"{PACKAGE}.network.builder"}


def loaded_by_importing(*modules: str) -> set[str]:
    """Top-level names in a new interpreter after it has imported the modules."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.split()}


def test_rooms_without_torch_reach_it_by_no_detour() -> None:
    assert "torch" not in loaded_by_importing(*modules_in(*(room.name for room in ROOMS.values() if not room.torch)))


def test_only_reports_draw() -> None:
    draws = {module for module, names in IMPORTS.items() if any(name.split(".")[0] == "matplotlib" for name in names)}
    assert {room_of(module) for module in draws} == {"report"}


def test_the_command_line_and_the_specs_start_light() -> None:
    assert HEAVY.isdisjoint(loaded_by_importing(PACKAGE, *modules_in("cli", "spec")))


NEEDED_BY_A_LIBRARY = {
    "mlflow-skinny": "accelerate, to log to MLflow",
    "wandb": "accelerate, to log to Weights & Biases",
    "psycopg": "SQLAlchemy, for PostgreSQL",
    "tabulate": "pandas.DataFrame.to_markdown",
    "tensorboard": "torch.utils.tensorboard",
}
"""Distributions that only an optional feature of another library imports, and the feature."""


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "dev"]
    return {normalised(re.split(r"[\[<>=]", line)[0]) for line in chain(project["dependencies"], *extras)}


def distributions_imported() -> dict[str, set[str]]:
    """Of each foreign package that is imported, the distributions that may hold it."""
    foreign = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    homes = packages_distributions()
    return {name: {*map(normalised, homes.get(name, [name]))} for name in foreign - {PACKAGE, *sys.stdlib_module_names}}


def test_what_is_imported_is_declared() -> None:
    assert [name for name, homes in distributions_imported().items() if declared().isdisjoint(homes)] == []


def test_what_is_declared_is_imported_or_needed_by_a_library() -> None:
    imported = set().union(*distributions_imported().values())
    assert declared() - imported == NEEDED_BY_A_LIBRARY.keys()


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def print_rooms() -> None:
    """The rooms from the top floor to the bottom."""
    width = max(map(len, ROOMS))
    for floor in FLOORS:
        for room in floor:
            print(f"{room.name:{width}}  {room.holds}{'' if room.torch else ' (starts without PyTorch)'}")
        print()
    print("A room imports only the floors below its own and, on its own floor, the rooms listed before it.")


if __name__ == "__main__":
    print_rooms()
