"""Rules of the data of labelling tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stdc_search.spec.base import dump
from stdc_search.spec.run import load

HEAD = "network: {kind: segmenter, classes: 2}\ntraining: {epochs: 1}\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("kind: yolo, class_names: [a, b], background: c", "data.background: 'c' is no class; use one of a, b, ignore"),
        ("kind: yolo, class_names: [a, ignore], background: a", "data.class_names: `ignore` means no class; write"),
        ("kind: voc, class_names: [a, b], map: {c: d}", "data.map.c: 'd' is no class; use one of a, b, ignore"),
        (
            "kind: voc, class_names: [a, b], map: {a: b}",
            "data.map.a: 'a' is one of `class_names`; remove it from there",
        ),
        (
            "kind: coco, class_names: [a, b], background: a",
            "data.annotations: is missing; name the JSON file, or write",
        ),
        (
            "kind: coco, class_names: [a, b], background: a, annotations: x, split: {kind: files, train: y, val: z}",
            "data.annotations: has no effect beside `split: {kind: files}`; give one or the other",
        ),
        (
            "kind: coco, class_names: [a, b], background: a, split: {kind: files, train: y, val: y}",
            "data.split.val: y is also `train`; give another file, or split one by share or group",
        ),
        (
            "kind: hub, class_names: [a, b], encoding: {ignore: 1}",
            "data.encoding.ignore: `ignore` 1 is the id of class",
        ),
        ("kind: labelme, class_names: [a, b]", "data.background: missing: Class of the pixels in no shape"),
    ],
)
def test_what_cannot_be_meant_is_refused(data: str, told: str, complaints: Callable[..., list[str]]) -> None:
    assert complaints(f"{HEAD}data: {{{data}}}\n")[0].startswith(f"run.yaml:3: {told}")


@pytest.mark.parametrize("kind", ["voc", "roboflow", "labelme", "yolo", "supervisely", "hub", "coco"])
def test_a_spec_is_loaded_as_it_was_dumped(kind: str, tmp_path: Path) -> None:
    extra = ", background: a" if kind in ("labelme", "yolo", "supervisely", "coco") else ""
    extra += ", annotations: all.json" if kind == "coco" else ""
    extra += "" if kind == "hub" else ', map: {c: ignore, "*": b}'
    (tmp_path / "run.yaml").write_text(f"{HEAD}data: {{kind: {kind}, class_names: [a, b]{extra}}}\n")
    run = load(tmp_path / "run.yaml")
    dump(run, tmp_path / "again.yaml")
    assert load(tmp_path / "again.yaml") == run
