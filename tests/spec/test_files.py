"""The reader's bounds and complaints, and the writer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stdc_search.spec import files
from stdc_search.spec.files import read, to_json, to_yaml
from stdc_search.spec.problems import SpecError
from stdc_search.storage import write_atomically

Complaints = Callable[..., list[str]]


def values(folder: Path, text: str, name: str = "x.yaml") -> dict[str, Any]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read(file).values


@pytest.fixture
def complaints(tmp_path: Path) -> Complaints:
    """Lines of what a file's reader finds wrong, with paths from the file's folder."""

    def complain(content: str | bytes) -> list[str]:
        file = tmp_path / "run.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            problems = read(file).problems
        except SpecError as error:
            problems = error.problems
        return [str(problem).replace(f"{tmp_path}/", "") for problem in problems]

    return complain


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("5e-4", 5e-4),
        ("12.0e9", 12.0e9),
        ("12", 12),
        ("-3", -3),
        ("017", 17),
        ("0x1F", 31),
        ("1_000", 1000),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("=", "="),
        ("[1, a, [2.5]]", (1, "a", (2.5,))),
        ("{b: 1, a: 2}", {"b": 1, "a": 2}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: object) -> None:
    read_value = values(tmp_path, f"x: {written}\n")["x"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_a_directive_for_yaml_1_1_changes_no_scalar(tmp_path: Path) -> None:
    assert values(tmp_path, "%YAML 1.1\n---\nx: no\n") == {"x": "no"}


def test_json_reads_like_yaml(tmp_path: Path) -> None:
    text = '{\n\t"a": [1, 2.5e1, true, null],\r\n\t"b": {"c": "\\u00e4 \\ud83d\\ude00 \\/"}}'
    assert values(tmp_path, text, "x.json") == {"a": (1, 25.0, True, None), "b": {"c": "ä 😀 /"}}


@pytest.mark.parametrize("text", ['{"$schema": "spec.json", "a": 1}', "$schema: spec.json\na: 1\n"])
def test_a_reference_to_a_schema_is_for_the_editor(tmp_path: Path, text: str) -> None:
    assert values(tmp_path, text) == {"a": 1}


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    assert values(tmp_path, "\ufeffa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_an_alias_stands_for_its_anchor(tmp_path: Path) -> None:
    assert values(tmp_path, "a: &stage {width: 64}\nb: [*stage, *stage]\n") == {
        "a": {"width": 64},
        "b": ({"width": 64}, {"width": 64}),
    }


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("# head\na:\n  - 1\n  - b:\n      c.d: 2\n")
    lines = {"": 2, "a": 2, "a.0": 3, "a.1": 4, "a.1.b": 4, "a.1.b.c.d": 5}
    assert read(file).lines == lines


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "run.yaml:1: empty; a spec has at least a `network`"),
        (b"# only a comment\n", "run.yaml:1: empty; a spec has at least a `network`"),
        (b"\n---\n", "run.yaml:3: empty; a spec has at least a `network`"),
        (b"# a list\n- a\n", "run.yaml:2: a list, no mapping; a spec has at least a `network`"),
        (b"network\n", "run.yaml:1: 'network', no mapping; a spec has at least a `network`"),
        (b"a: \x00", "run.yaml: a binary file; a spec is YAML or JSON in UTF-8"),
        (b"\xff\xfea\x00:\x00", "run.yaml: a binary file; a spec is YAML or JSON in UTF-8"),
        (b"name: caf\xe9", "run.yaml: not UTF-8 (byte 9); save it as UTF-8"),
        (b"a: 1\nb: \x07\n", r"run.yaml:2: the character '\x07' is not allowed; remove it"),
        (b"a" * (256 * 1024 + 1), "run.yaml: larger than 256 KiB, the limit for a spec"),
        (b"a:\n\tb: 1\n", "run.yaml:2: a tab where YAML allows only spaces; replace it by spaces"),
        (b"\ta: 1\n", "run.yaml:1: a tab where YAML allows only spaces; replace it by spaces"),
        (
            b"a: 1\n---\nb: 1\n",
            "run.yaml:2: a second document begins; a spec is one document: remove the other",
        ),
        (
            b"a: !!python/object/apply:os.system [ls]\n",
            "run.yaml:1: a: the tag !!python/object/apply:os.system is not supported; remove it",
        ),
        (b"a: !mine 1\n", "run.yaml:1: a: the tag !mine is not supported; remove it"),
        (b"1.5: a\n", "run.yaml:1: 1.5: this key is not text; fix the name, or quote it"),
        (b"a: {true: 1}\n", "run.yaml:1: a.true: this key is not text; fix the name, or quote it"),
        (b"a: 1\n? [b]\n: 2\n", "run.yaml:2: a key is not text; write `name: value`"),
        (b"a: *b\n", "run.yaml:1: a: *b refers to no value: no anchor &b ends before it"),
        (b"a: &a [1, *a]\n", "run.yaml:1: a.1: *a refers to no value: no anchor &a ends before it"),
        (b"a: .inf\n", "run.yaml:1: a: '.inf' cannot be read as a finite number"),
        (
            b"a: [1, 2\nb: 3\n",
            "run.yaml:2: is not YAML: expected ',' or ']', but got ':' while parsing a flow sequence from line 1",
        ),
        (
            b"a: b: c\n",
            "run.yaml:1: is not YAML: mapping values are not allowed here; quote text that contains `: `, "
            "or fix the indentation",
        ),
        (
            b"a: @b\n",
            "run.yaml:1: is not YAML: found character '@' that cannot start any token; quote the text",
        ),
    ],
)
def test_what_is_no_single_mapping_in_yaml_is_refused(complaints: Complaints, content: bytes, complaint: str) -> None:
    assert complaints(content) == [complaint]


def test_a_number_of_thousands_of_digits_is_refused(complaints: Complaints) -> None:
    (complaint,) = complaints("a: " + "9" * 5000)
    assert complaint.startswith("run.yaml:1: a: '999")
    assert complaint.endswith("... cannot be read as a finite number")


def test_each_key_that_is_written_twice_is_named_with_both_lines(complaints: Complaints) -> None:
    assert complaints("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n") == [
        "run.yaml:4: b.c: written twice, first in line 3; keep one",
        "run.yaml:5: a: written twice, first in line 1; keep one",
    ]


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: " + "[" * 5000 + "]" * 5000, "{a: " * 5000], ids=["open", "closed", "mappings"]
)
def test_thousands_of_nested_brackets_never_reach_the_parser(
    complaints: Complaints, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(files, "YAML", None)
    assert complaints(text) == ["run.yaml:1: nested more than 32 levels deep; is a bracket left open?"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("- " * 5000, 1), ("\n".join(" " * depth + "a:" for depth in range(700)), 33)],
    ids=["items", "keys"],
)
def test_deep_nesting_without_brackets_is_refused(complaints: Complaints, text: str, line: int) -> None:
    assert complaints(text) == [f"run.yaml:{line}: nested more than 32 levels deep; is a bracket left open?"]


def test_aliases_that_explode_are_refused_before_they_are_built(complaints: Complaints) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert complaints("\n".join(rows)) == [
        "run.yaml:5: more than 10,000 values, with aliases expanded; a spec must have fewer"
    ]


def test_more_values_than_any_spec_has_are_refused(complaints: Complaints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_VALUES", 9)
    assert complaints(f"a: [{'1,' * 8}]") == [
        "run.yaml:1: more than 9 values, with aliases expanded; a spec must have fewer"
    ]


def test_a_missing_file_is_told_with_the_most_similar_name(tmp_path: Path) -> None:
    (tmp_path / "stdc1_seg50.yaml").touch()
    (tmp_path / "stdc1_seg50.md").touch()
    with pytest.raises(SpecError) as caught:
        read(tmp_path / "stdc_seg50.yml")
    assert str(caught.value) == f"{tmp_path}/stdc_seg50.yml: does not exist; did you mean `stdc1_seg50.yaml`?"


def test_a_missing_file_in_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"x.yaml: does not exist; there is no folder .*nowhere"):
        read(tmp_path / "nowhere" / "x.yaml")


def test_a_folder_is_refused_with_the_specs_in_it(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").touch()
    with pytest.raises(SpecError, match=r": a folder; give a spec in it: spec.yaml$"):
        read(tmp_path)


def test_what_the_system_does_not_open_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").touch()
    with pytest.raises(SpecError, match=r"x.yaml/y.yaml: cannot be read: Not a directory"):
        read(tmp_path / "x.yaml" / "y.yaml")


def test_what_is_short_and_innermost_is_written_on_one_line() -> None:
    long = {f"a_rather_long_name_{i}": i for i in range(5)}
    content = {"size": [512, 1024], "b": [{"width": 32, "stride": 2}], "none": None, "long": long}
    assert to_yaml(content) == (
        "size: [512, 1024]\nb:\n- {width: 32, stride: 2}\nnone: null\nlong:\n"
        + "".join(f"  {key}: {value}\n" for key, value in long.items())
    )


@pytest.mark.parametrize("write", [to_yaml, to_json])
@pytest.mark.parametrize(
    "text",
    ["no", "1e3", ".5e3", "0o7", "2020-01-01", "", " a", "a: b", "#", "\x85", "\x7f", "\u2028", "😀", "\r", "=", "<<"],
)
def test_every_text_reads_back_as_it_was_written(tmp_path: Path, write: Callable[..., str], text: str) -> None:
    assert values(tmp_path, write({"x": text, "y": [text]})) == {"x": text, "y": (text,)}


def test_equal_lists_are_written_out_without_aliases() -> None:
    shared = [1, 2]
    assert to_yaml({"a": shared, "b": shared}) == "a: [1, 2]\nb: [1, 2]\n"


def test_a_file_is_replaced_in_one_step_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    write_atomically(file, "old\n")
    with pytest.raises(IsADirectoryError) as error:
        write_atomically(file.parent, "new\n")
    assert error.value.filename == str(file.parent)
    write_atomically(file, b"new\n")
    assert file.read_bytes() == b"new\n"
    assert os.listdir(tmp_path) == ["x.yaml"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("old\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(file, "new\n")
    assert file.read_text("utf-8") == "old\n"
    assert os.listdir(tmp_path) == ["x.yaml"]


@pytest.mark.parametrize(
    ("content", "line"),
    [('a: 1\nb: "\\U7fffffff"', 2), ('b: "\\UFFFFFFFF"', 1), ("%YAML " + "1" * 5000 + ".2\n---\na: 1", 1)],
)
def test_numbers_that_the_parser_does_not_check_are_refused_with_their_line(
    complaints: Complaints, content: str, line: int
) -> None:
    assert complaints(content) == [f"run.yaml:{line}: is not YAML: a number in an escape or a directive is too large"]


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 20, "-9223372036854775809"])
def test_a_number_beyond_64_bits_is_refused(complaints: Complaints, number: str) -> None:
    (complaint,) = complaints(f"a: {number}")
    assert complaint.endswith("is beyond 64 bits; write a smaller number")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(SpecError, match="a pipe or a device; give a file"):
        read(tmp_path / "run.yaml")
