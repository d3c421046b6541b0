"""Problems of one kind take one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stdc_search.errors import UserError, alike, alike_in_one, first_of, inert
from stdc_search.spec.problems import Problem

WRONG = [
    f"/my data/masks/{i}.png: has class id {i}, {i + 1} ({i} pixels); legal ids are 0 (a) to 2 (c)" for i in range(60)
]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("miou", "score.miou"),
        ("latency_ms", "latency.median_ms"),
        ("score.miuo", "score.miou"),
        ("x", None),
        ("", None),
    ],
)
def test_a_word_is_meant_that_says_more_or_is_spelt_alike(word, meant):
    assert alike(word, ["cost.macs", "latency.median_ms", "latency.p95_ms", "score.miou"]) == meant


def test_problems_of_a_kind_are_one_line_with_their_number_and_three_files() -> None:
    assert alike_in_one(WRONG) == [f"{WRONG[0]} [and 59 more like this: 1.png, 2.png and 57 more]"]


def test_a_few_problems_are_named_one_by_one() -> None:
    assert alike_in_one(WRONG[:3]) == WRONG[:3]


def test_other_kinds_stay_apart() -> None:
    other = "/d/masks/x.png: is a JPEG"
    assert alike_in_one([*WRONG, other])[1:] == [other]


def test_lists_of_other_lengths_are_of_one_kind() -> None:
    lines = [f"/d/{i}.png: has class id {', '.join('34567'[: i + 1])}; legal are 0 to 2" for i in range(5)]
    assert len(alike_in_one(lines)) == 1


def test_problems_in_one_file_are_counted_without_naming_it_again() -> None:
    lines = [f"/d/a.json: annotation {i} of {i}.jpg has 2 points" for i in range(9)]
    assert alike_in_one(lines) == [f"{lines[0]} [and 8 more like this]"]


def test_an_error_says_where_the_others_are_listed() -> None:
    assert first_of(WRONG[:2]) == "\n".join(WRONG[:2])
    assert first_of(WRONG).endswith("\n60 problems in all; with a spec, `stdc-search data` lists them")
    many = [f"/d/{word}.png: is {word}" for word in ("red", "green", "blue", "tall", "short", "round")]
    assert first_of(many).splitlines() == [*many[:5], "6 problems in all; with a spec, `stdc-search data` lists them"]


def test_text_from_elsewhere_moves_no_cursor_and_changes_no_order() -> None:
    assert inert("a\x1b[2Jb\x9b1mc\u202ed\udcff\te\n") == "a\\x1b[2Jb\\x9b1mc\\u202ed\\udcff\te\n"
    assert inert("Straße, 道路, 🛣") == "Straße, 道路, 🛣"
    assert str(UserError("no file \x1b]0;title\x07")) == r"no file \x1b]0;title\x07"
    assert str(Problem("a\nb", "is wrong", Path("x\ny.yaml"), 3)) == r"x\ny.yaml:3: a\nb: is wrong"
