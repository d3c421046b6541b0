"""README and docs: references are current, links lead somewhere, files and commands in them are accepted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path

import pytest
import typer

from docs import generate
from stdc_search.cli import app
from stdc_search.spec import editor
from stdc_search.spec.rules import Spec
from stdc_search.spec.run import RunSpec, load
from tests.locked import made_with

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
WORDS, LINES = 1500, 180
"""What somebody reads who decides in two minutes."""
SECTIONS = {
    "image_size": "image_size: [64, 64]\n",
    "network": "network: {kind: segmenter, classes: 3}\n",
    "data": "data: {kind: folder, images: images, masks: masks, class_names: [a, b, c], split: {kind: share}}\n",
    "training": "training: {epochs: 40, batch: 2, crop: [64, 64]}\n",
    "latency": "latency: {runtime: eager}\n",
    "search": "search:\n",
}
FIELDS = {
    "vary": "  vary: {network.head.width: {kind: int, low: 8, high: 64, step: 8}}\n",
    "objectives": "  objectives: {score.miou: maximize, cost.macs: minimize}\n",
    "trials": "  trials: 20\n",
}
"""What completes a part of a file."""


def yaml_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page.parent.name}-{page.stem}-{i}")
        for page in PAGES
        for i, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE))
    ]


def commands() -> list[object]:
    """Every command line of the command line tool; a comment behind it is none of it."""
    return [
        pytest.param(shlex.split(line, comments=True), id=f"{page.stem}-{i}")
        for page in PAGES
        if page.name != "commands.md"  # made from the commands themselves
        for i, line in enumerate(
            re.findall(r"^ {4,}(?:.*\$ |[A-Z_]+=\S+ )?stdc-search (.*)$", page.read_text("utf-8"), re.MULTILINE)
        )
    ]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("spec.md", generate.spec_reference),
        pytest.param("commands.md", generate.command_reference, marks=made_with("typer")),
        ("baselines.md", generate.baseline_reference),
        (editor.FILE, lambda: editor.text(RunSpec)),
    ],
)
def test_the_references_are_current(name, made):
    assert (ROOT / "docs" / name).read_text("utf-8") == made(), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_link_to_a_heading_finds_it(page):
    links = re.findall(r"\]\(([^)#:]*)#([^)]*)\)", page.read_text("utf-8"))
    assert [(file, name) for file, name in links if name not in anchors(page.parent / file if file else page)] == []


@cache
def anchors(page: Path) -> set[str]:
    """Names of a page's headings; a comment in a block of code is none."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {generate.anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_a_default_is_written_without_the_fields_that_have_theirs():
    text = generate.spec_reference()
    assert "| `auxiliary` | [head](#networkhead) \\| null | `{width: 64}` |" in text
    assert "`[{width: 256}, {width: 512}, {width: 1024}]`" in text
    assert "`{score.miou: maximize, cost.macs: minimize}`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_spec_that_is_named_is_shipped(page):
    named = re.findall(r"\bspecs/\w+\.(?:yaml|json)", page.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("block", yaml_blocks())
def test_every_yaml_block_is_a_legal_part_of_a_file(block, tmp_path):
    whole_of(block, tmp_path)


def whole_of(block: str, folder: Path) -> RunSpec:
    """The run of a block, completed to a whole file."""
    kind = re.search(r"^network:\s+(?:\{)?kind: (\w+)", block, re.MULTILINE)
    if kind is not None and kind[1] not in ("segmenter", "classifier"):  # the sections below fit STDC-Seg
        block += "".join(SECTIONS[name] for name in ("image_size",) if name not in block)
        (folder / "file.yaml").write_text(block, "utf-8")
        return load(folder / "file.yaml")
    sections = {line.split(":")[0] for line in block.splitlines() if re.match(r"\w", line)}
    if "search" not in sections:
        block += SECTIONS["search"]
    fields = {line.split(":")[0].strip() for line in block.partition("search:\n")[2].splitlines()}
    block += "".join(line for name, line in FIELDS.items() if name not in fields)
    whole = "".join(text for name, text in SECTIONS.items() if name not in {*sections, "search"}) + block
    file = folder / "spec.yaml"
    file.write_text(whole, "utf-8")
    return load(file)


def test_every_field_of_a_spec_is_set_in_a_file_or_on_a_page(tmp_path):
    """A field that nothing sets is one that nobody learns to use: show what it is for, or remove it."""
    paths = [path for folder in ("specs", "experiments") for path in (ROOT / folder).rglob("*.yaml")]
    runs = [load(path) for path in paths if path.name != "spec.yaml"]  # those have every field
    runs += [whole_of(block.values[0], tmp_path) for block in yaml_blocks()]
    shown = {field for run in runs for field in (*fields_set(run), *fields_varied(run))}
    every = {place(one, name) for one in spec_classes(Spec) for name in one.model_fields}
    shown |= {("TrainingSpec", "recipe")}  # a spec that was read has none; docs/training.md shows it
    assert sorted(every - shown) == []


def spec_classes(base: type[Spec]) -> Iterator[type[Spec]]:
    """All classes of specs that a file may have; tests have some of their own."""
    for one in base.__subclasses__():
        yield from spec_classes(one)
        if one.__module__.startswith("stdc_search.") and not one.__name__.startswith("_"):
            yield one


def fields_set(value: object) -> Iterator[tuple[str, str]]:
    """Class and name of each field that is written."""
    if isinstance(value, Spec):
        for name, item in value:
            if name in value.model_fields_set or name == "kind":  # it tells a class from others, if only by its default
                yield place(type(value), name)
            yield from fields_set(item)
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from fields_set(item)


def fields_varied(run: RunSpec) -> Iterator[tuple[str, str]]:
    """Class and name of each field that varies."""
    for path in [path for name in run.search.vary for path in run.search.paths(name)] if run.search else ():
        *keys, name = path.split(".")
        holder = reduce(lambda value, key: value[int(key)] if key.isdecimal() else getattr(value, key), keys, run)
        if isinstance(holder, Spec):
            yield place(type(holder), name)


def place(one: type[Spec], name: str) -> tuple[str, str]:
    """A field by the class that defines it."""
    return next(base.__name__ for base in reversed(one.__mro__) if name in getattr(base, "model_fields", {})), name


@pytest.mark.parametrize("words", commands())
def test_every_command_has_the_options_that_it_is_given(words):
    name, *arguments = words
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, [word.removesuffix("...") for word in arguments])


def test_the_readme_has_every_command():
    commands = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"^\| `stdc-search (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)) == commands


def test_the_readme_is_read_in_two_minutes():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= WORDS
    assert len(text.splitlines()) <= LINES
