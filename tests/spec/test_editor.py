"""The schema for editors: it accepts what is legal, and what it accepts breaks no rule of a single field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from stdc_search.spec import files
from stdc_search.spec.base import dump, plain
from stdc_search.spec.editor import FILE, modeline
from stdc_search.spec.network import ClassifierSpec, SegmenterSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.recipes import with_recipe
from stdc_search.spec.rules import Spec
from stdc_search.spec.run import RunSpec, schema
from tests.random_networks import networks
from tests.test_docs import spec_classes

Values = Any
"""What a file says, or a part of it."""

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*(ROOT / "specs").rglob("*.yaml"), *(ROOT / "specs").rglob("*.json")])
KEPT = sorted((ROOT / "experiments").glob("*/*.yaml"))
SCHEMA = schema()
CLASSES = {"RunSpec": SCHEMA, **SCHEMA["$defs"]}
SPECS = {one.__name__: one for one in spec_classes(Spec) if one.__name__ in CLASSES}
POOL: list[Values] = [
    *(None, True, False, -1, 0, 1, 2, 3, 4, 5, 300, 70_000, 10**9, 0.5, 1.5, -0.5),
    *("", "x", "7", "stdc", "none", "ssh://a", "ssh://a b", "a(b)", "sqlite://"),
    *([], [1], [0.5, 0.5], [1, 1], [1, 2, 3], [2, 2, 2, 2], ["a", "a"], ["a", "b"], [[1]]),
    *({}, {"kind": "x"}, {"x": 1}, {"0": 1}, {"300": 1}),
]
"""Values of all types."""


def validator(name: str = "RunSpec") -> Draft202012Validator:
    """The schema of a class of specs."""
    return Draft202012Validator(SCHEMA if name == "RunSpec" else {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


WHOLE = validator()


def errors_of_fields(spec: type[BaseModel], values: Values) -> list[Any]:
    """What pydantic rejects, without rules on several fields, and without what no schema can know."""
    try:
        spec.model_validate(plain(values), strict=True, context={"folder": ROOT / "specs"})
    except ValidationError as error:
        unknowable = ("does not exist", "is not a regular expression", "has no group")
        return [
            one
            for one in error.errors(include_url=False)
            if not isinstance(one.get("ctx", {}).get("error"), SpecError)
            and not (one["type"] == "too_short" and one["input"])  # a second error if all items have one
            and not any(words in one["msg"] for words in unknowable)
        ]
    return []


def listed(values: Values) -> Values:
    """Tuples as lists, as JSON has them."""
    return json.loads(json.dumps(values))


@pytest.mark.parametrize("path", [*SHIPPED, *KEPT], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_schema_accepts_every_file_that_is_kept(path: Path) -> None:
    assert [error.message for error in WHOLE.iter_errors(listed(files.read(path).values))] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_shipped_spec_names_the_schema_of_the_checkout(path: Path) -> None:
    text = path.read_text("utf-8")
    first = text.partition("\n")[0]
    named = json.loads(text)["$schema"] if path.suffix == ".json" else first.removeprefix(modeline(""))
    assert (path.parent / named).resolve() == ROOT / "docs" / FILE


def test_the_schema_is_a_legal_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_has_help_and_no_other_names_are_legal(name: str) -> None:
    owner = CLASSES[name]
    assert owner["additionalProperties"] is False
    assert [field for field, its in owner["properties"].items() if not its.get("description")] == []
    legal = {"type", "$ref", "enum", "const", "anyOf", "oneOf"}
    assert [field for field, its in owner["properties"].items() if not legal & its.keys()] == []


@settings(deadline=None)
@given(network=networks)
def test_the_schema_accepts_every_legal_network(network: SegmenterSpec | ClassifierSpec) -> None:
    values = json.loads(RunSpec(network=network).model_dump_json())
    assert [error.message for error in WHOLE.iter_errors(values)] == []


@pytest.mark.parametrize("name", SPECS)
def test_a_value_that_the_schema_accepts_is_legal_in_its_field(name: str) -> None:
    checker = validator(name)
    wrong = []
    for field in (field for field in CLASSES[name]["properties"] if field != "$schema"):
        for value in POOL:
            accepted = not any(field in error.absolute_path for error in checker.iter_errors({field: value}))
            problems = [error for error in errors_of_fields(SPECS[name], {field: value}) if field in error["loc"]]
            if accepted and any(error["type"] != "missing" or len(error["loc"]) > 1 for error in problems):
                wrong.append((field, value, problems[0]["msg"]))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "field", "right", "wrong"),
    [
        ("RuntimeSpec", "on", ["elsewhere", "ssh://pi@raspberrypi:22", None], ["raspberrypi", "ssh://", "ssh://a b"]),
        ("RuntimeSpec", "python", ["python3", "/opt/py/bin/python"], ["python3 -u", "$PY"]),
        ("SearchSpec", "storage", ["postgresql+psycopg://me@host/db", None], ["study.db", "host/db"]),
        ("SplitByGroup", "pattern", ["(.+)_[0-9]+$"], ["[0-9]+"]),
        ("IdsSpec", "map", [{"0": "ignore", "255": 3}], [{"256": 0}, {"road": 0}, {"0": "void"}]),
        ("SctnetSpec", "kernel_size", [1, 7], [0, 4]),
        ("TrainingSpec", "seeds", [[0, 1]], [[0, 0], [], [-1]]),
        ("FolderSpec", "class_names", [["a", "b"]], [["a", "a"], ["a"]]),
        ("DecoderSpec", "width", [64, [64, 32]], [[], 0, [0]]),
        ("SearchSpec", "limits", [{"score.iou.car": {}}], [{"score.iou": {}}, {"latency": {}}]),
        ("SearchSpec", "start", [["stdc1", {"ladder": 3}]], [[{"ladder": 1}], ["stdc1", 2]]),
    ],
)
def test_the_schema_knows_the_rules_of_single_fields(name: str, field: str, right: list, wrong: list) -> None:
    checker = validator(name)

    def accepted(value: Values) -> bool:
        return not any(field in error.absolute_path for error in checker.iter_errors({field: value}))

    assert [value for value in right if not accepted(value)] == []
    assert [value for value in wrong if accepted(value)] == []


def values_of(node: dict[str, Any]) -> st.SearchStrategy[Values]:
    """What a part of the schema accepts."""
    if "$ref" in node:
        return st.deferred(lambda: values_of(CLASSES[node["$ref"].rpartition("/")[2]]))
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum") or [node["const"]])
    if forms := node.get("anyOf") or node.get("oneOf"):
        return st.one_of([values_of({"type": node.get("type"), **form}) for form in forms])
    match node.get("type"):
        case "object":
            return objects(node)
        case "array":
            return arrays(node)
        case "integer":
            return integers(node)
        case "number":
            return numbers(node)
        case "string" if "pattern" in node:
            return st.from_regex(node["pattern"], fullmatch=node["pattern"].endswith("$"))
        case "string":
            return st.text("abc.-_", min_size=node.get("minLength", 0), max_size=5)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.sampled_from([value for value in POOL if isinstance(value, int | str)])


def integers(node: dict[str, Any]) -> st.SearchStrategy[int]:
    low = node.get("minimum", node.get("exclusiveMinimum", -(10**6)) + 1 if "minimum" not in node else 0)
    unit = node.get("multipleOf", 1)
    found = st.integers(-(-low // unit), node.get("maximum", low + 10**6) // unit).map(lambda value: value * unit)
    return found.filter(lambda value: "not" not in node or value % node["not"]["multipleOf"] != 0)


def numbers(node: dict[str, Any]) -> st.SearchStrategy[float]:
    return st.floats(
        node.get("minimum", node.get("exclusiveMinimum", -1e6)),
        node.get("maximum", node.get("exclusiveMaximum", 1e6)),
        exclude_min="exclusiveMinimum" in node,
        exclude_max="exclusiveMaximum" in node,
    )


def arrays(node: dict[str, Any]) -> st.SearchStrategy[list[Values]]:
    if "prefixItems" in node:
        return st.tuples(*map(values_of, node["prefixItems"])).map(list)
    least = node.get("minItems", 0)
    unique = json.dumps if node.get("uniqueItems") else None
    return st.lists(values_of(node["items"]), min_size=least, max_size=least + 2, unique_by=unique)


def objects(node: dict[str, Any]) -> st.SearchStrategy[dict[str, Values]]:
    if "properties" not in node:
        names = values_of({"type": "string", **node.get("propertyNames", {})})
        least = node.get("minProperties", 0)
        return st.dictionaries(names, values_of(node["additionalProperties"]), min_size=least, max_size=least + 1)
    fields = {name: values_of(field) for name, field in node["properties"].items() if name != "$schema"}
    required = {name: fields.pop(name) for name in node.get("required", [])}
    return st.fixed_dictionaries(required, optional=fields)


@pytest.mark.parametrize("name", SPECS)
@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_schema_accepts_breaks_rules_on_several_fields_only(name: str, data: st.DataObject) -> None:
    values = data.draw(values_of(CLASSES[name]))
    assume(validator(name).is_valid(values))
    assert errors_of_fields(SPECS[name], values) == []


def places(values: Values) -> Iterator[tuple[Values, Any]]:
    """Each mapping and list in a document with each of its keys."""
    for key, item in values.items() if isinstance(values, dict) else enumerate(values):
        yield values, key
        if isinstance(item, dict | list):
            yield from places(item)


DOCUMENTS = [listed(files.read(path).values) for path in SHIPPED]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_changed_spec_is_judged_alike_by_schema_and_reader(data: st.DataObject) -> None:
    values = listed(data.draw(st.sampled_from(DOCUMENTS)))
    owner, key = data.draw(st.sampled_from([*places(values)]))
    match data.draw(st.sampled_from(["change", "remove", "misspell"])):
        case "remove":
            del owner[key]
        case "misspell" if isinstance(owner, dict):
            owner[f"{key}x"] = owner.pop(key)
        case _:
            owner[key] = data.draw(st.sampled_from(POOL).filter(lambda value: not isinstance(value, bool)))
    try:
        read = RunSpec.model_validate(plain(with_recipe(values)), strict=True, context={"folder": ROOT / "specs"})
    except ValidationError:
        read = None
    if read is not None:
        assert [error.message for error in WHOLE.iter_errors(values)] == []
        assert WHOLE.is_valid(json.loads(read.model_dump_json())), dump(read)
    if WHOLE.is_valid(values):
        assert errors_of_fields(RunSpec, with_recipe(plain(values))) == []
