"""The words for each kind of mistake, and where they point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from stdc_search.spec.base import Spec, load
from stdc_search.spec.files import to_yaml
from stdc_search.spec.problems import SpecError, at


class Red(Spec):
    kind: Literal["red"]
    depth: PositiveInt = 1


class Blue(Spec):
    kind: Literal["blue", "navy"]
    depth: PositiveInt = 1
    inner: Annotated[Red | Blue, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _shallow(self) -> Blue:
        if self.depth > 9:
            raise at("depth", f"`depth` {self.depth} is more than 9; write 9")
        return self


Colour = Annotated[Red | Blue, Field(discriminator="kind")]


class Many(Spec):
    colour: Colour = Red(kind="red")
    colours: Annotated[tuple[Colour, ...], Field(min_length=1)] = (Red(kind="red"),)
    named: dict[Literal["a.b", "c"], Red] = {}
    pair: tuple[PositiveInt, PositiveInt] = (1, 1)
    """[height, width] of it: two numbers."""
    stride: Literal[1, 2, 8] = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rate: PositiveFloat = 1.0
    decay: NonNegativeFloat = 0.0
    even: Annotated[int, Field(ge=4, multiple_of=4)] = 4
    few: Annotated[tuple[int, ...], Field(max_length=1)] = ()
    flag: bool = False
    name: str | None = None
    path: Path = Path(".")


class Whole(Spec):
    one: Many = Many()
    must: PositiveInt
    """What it is for. Not this."""


def complaints(folder: Path, **one: Any) -> list[str]:
    """Lines of the error on a file that says `one`."""
    file = folder / "x.yaml"
    file.write_text(to_yaml({"must": 1, "one": one}))
    with pytest.raises(SpecError) as caught:
        load(file, Whole)
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("one", "complaint"),
    [
        ({"colur": 1}, "one.colur: unknown; did you mean `colour`?"),
        ({"colour": {"kind": "red", "width": 1}}, "one.colour.width: unknown; legal: kind, depth"),
        ({"colour": {"kind": "red", "red": 1}}, "one.colour.red: unknown; legal: kind, depth"),
        (
            {"colour": 1},
            'one.colour: must be a mapping of names to values, not 1; such as {"kind": "red", "depth": 1}',
        ),
        ({"colour": "navy"}, "one.colour: must be a mapping of names to values, not 'navy'; write {kind: navy}"),
        ({"colour": "pink"}, "one.colour: must be a mapping of names to values, not 'pink'"),
        ({"colour": 0}, "one.colour: must be a mapping of names to values, not 0"),
        ({"colour": {}}, "one.colour.kind: missing; must be red, blue or navy"),
        ({"colour": {"kind": None}}, "one.colour.kind: missing; must be red, blue or navy"),
        (
            {"colour": {"kind": "nayv"}},
            "one.colour.kind: must be red, blue or navy, not 'nayv'; did you mean navy?",
        ),
        ({"colour": {"kind": "x"}}, "one.colour.kind: must be red, blue or navy, not 'x'"),
        ({"colour": {"kind": "red", "depth": 0}}, "one.colour.depth: must be above 0, not 0; nearest: 1"),
        ({"colour": {"kind": "blue", "depth": 10}}, "one.colour.depth: `depth` 10 is more than 9; write 9"),
        (
            {"colour": {"kind": "navy", "inner": {"kind": "blue", "depth": 11}}},
            "one.colour.inner.depth: `depth` 11 is more than 9; write 9",
        ),
        ({"colours": [{"kind": "red"}, {"kind": "pink"}]}, "one.colours.1.kind: must be red, blue or navy, not 'pink'"),
        ({"colours": []}, "one.colours: must have at least 1 item, not 0"),
        ({"named": {"a.b": {"kind": "red", "depth": 0}}}, "one.named.a.b.depth: must be above 0, not 0; nearest: 1"),
        ({"named": {"a.bb": {"kind": "red"}}}, "one.named.a.bb: must be a.b or c, not 'a.bb'; did you mean a.b?"),
        ({"named": [1]}, "one.named: must be a mapping of names to values, not a list"),
        ({"pair": [1]}, "one.pair.1: missing: [height, width] of it"),
        ({"pair": [1, 2, 3]}, "one.pair: must have at most 2 items, not 3"),
        ({"pair": 5}, "one.pair: must be a list, not 5; such as [5, 5]"),
        ({"pair": [1, "2"]}, "one.pair.1: must be a whole number, not '2'; write 2"),
        ({"pair": [1, 2.0]}, "one.pair.1: must be a whole number, not 2.0; write 2"),
        ({"pair": [1, 2.7]}, "one.pair.1: must be a whole number, not 2.7; nearest: 3"),
        ({"pair": [1, True]}, "one.pair.1: must be a whole number, not true"),
        ({"pair": [1, None]}, "one.pair.1: must be a whole number, not null"),
        ({"pair": [1, {"a": 1}]}, "one.pair.1: must be a whole number, not a mapping"),
        ({"pair": [1, "x" * 99]}, f"one.pair.1: must be a whole number, not '{'x' * 55} ..."),
        ({"stride": 5}, "one.stride: must be 1, 2 or 8, not 5; nearest: 2"),
        ({"stride": 7}, "one.stride: must be 1, 2 or 8, not 7; nearest: 8"),
        ({"stride": "2"}, "one.stride: must be 1, 2 or 8, not '2'; did you mean 2?"),
        ({"share": 1.0}, "one.share: must be below 1, not 1.0"),
        ({"share": 0}, "one.share: must be above 0, not 0"),
        ({"rate": "fast"}, "one.rate: must be a number, not 'fast'"),
        ({"rate": "1e-3"}, "one.rate: must be a number, not '1e-3'; write 0.001"),
        ({"decay": -1}, "one.decay: must be at least 0, not -1"),
        ({"even": 2}, "one.even: must be a multiple of 4, not 2; nearest: 4"),
        ({"even": 10}, "one.even: must be a multiple of 4, not 10; nearest: 8 or 12"),
        ({"few": [1, 2]}, "one.few: must have at most 1 item, not 2"),
        ({"flag": "yes"}, "one.flag: must be true or false, not 'yes'"),
        ({"name": 5}, "one.name: must be text, not 5"),
    ],
)
def test_a_mistake_is_told_with_its_path_the_rule_and_what_works(
    tmp_path: Path, one: dict[str, Any], complaint: str
) -> None:
    assert complaints(tmp_path, **one) == [complaint]


def test_an_infinite_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("must: 1\none: {rate: 1e999}\n")
    with pytest.raises(SpecError, match=r"x.yaml:2: one.rate: must be a finite number, not inf"):
        load(tmp_path / "x.yaml", Whole)


def test_a_missing_field_is_told_with_its_help(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("one: {}\n")
    with pytest.raises(SpecError, match=r"x.yaml:1: must: missing: What it is for$"):
        load(tmp_path / "x.yaml", Whole)


def test_a_list_whose_items_are_all_wrong_is_not_called_too_short(tmp_path: Path) -> None:
    assert complaints(tmp_path, colours=[{"kind": "red", "depth": 0}]) == [
        "one.colours.0.depth: must be above 0, not 0; nearest: 1"
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("one:\n  rate: x\n  colur: 1\n  colour: {kind: red, depth: 0}\nmust: 0\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "x.yaml", Whole)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5]
    assert [problem.path for problem in caught.value.problems] == ["one.rate", "one.colur", "one.colour.depth", "must"]


class Needed(Spec):
    trials: PositiveInt
    seed: int = 0


def test_a_misspelt_field_is_not_also_missing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("trails: 3\n", "utf-8")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "a.yaml", Needed)
    assert [problem.message for problem in caught.value.problems] == ["unknown; did you mean `trials`?"]
