"""What an error says and holds."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stdc_search.errors import closest
from stdc_search.spec.problems import Problem, SpecError, at

FILE = Path("x.yaml")


def test_a_problem_prints_what_is_known_of_its_place() -> None:
    assert str(Problem("a.b", "is wrong", FILE, 3)) == "x.yaml:3: a.b: is wrong"
    assert str(Problem("", "is wrong", FILE, 3)) == "x.yaml:3: is wrong"
    assert str(Problem("", "is wrong", FILE)) == "x.yaml: is wrong"
    assert str(Problem("a.b", "is wrong")) == "a.b: is wrong"


def test_an_error_prints_a_line_a_problem_and_one_line_in_brief() -> None:
    error = SpecError(Problem("a", "is wrong"), Problem("b", "too"))
    assert str(error) == "a: is wrong\nb: too"
    assert error.brief == "a: is wrong; b: too"


def test_an_error_of_a_message_has_no_place() -> None:
    assert str(SpecError.of("is wrong")) == "is wrong"


def test_an_error_survives_another_process() -> None:
    error = SpecError(Problem("a", "is wrong", FILE, 3))
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


@pytest.mark.parametrize(
    ("path", "line"), [("a.b.c", 3), ("a.b.c.d", 3), ("a.x", 1), ("z", 9), ("", 9), ("v.p.q", 5), ("v.p.q.low", 5)]
)
def test_a_path_that_is_not_written_has_the_line_of_the_nearest_around_it(path: str, line: int) -> None:
    lines = {"": 9, "a": 1, "a.b": 2, "a.b.c": 3, "v": 4, "v.p.q": 5}
    assert Problem(path, "is wrong").located(FILE, lines).line == line


def test_a_problem_of_another_file_keeps_its_place() -> None:
    problem = Problem("a", "is wrong", FILE, 3)
    assert problem.within("b") == problem
    assert problem.located(Path("y.yaml"), {"a": 8}) == problem


def test_a_validators_path_starts_from_its_own_spec() -> None:
    (problem,) = at("b", "is wrong").problems
    assert problem.within("a.0").path == "a.0.b"
    assert problem.within("").path == "b"
    assert Problem("", "is wrong").within("a").path == "a"


def test_the_most_similar_word_is_asked_for_and_all_are_named_where_none_is() -> None:
    assert closest("widht", ["width", "depth"]) == "did you mean `width`?"
    assert closest("x", ["width", "depth"]) == "legal: width, depth"
    assert closest(7, range(3)) == "legal: 0, 1, 2"
    assert closest("x", []) == "legal: none"
