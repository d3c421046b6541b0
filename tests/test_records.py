"""Records survive what happens to a file."""

import math
import os

import pytest

from stdc_search.records import (
    IMAGE_METRICS,
    METRICS,
    PIXEL_METRICS,
    Cost,
    ImageScore,
    Latency,
    Record,
    Score,
    append,
    read,
    read_machines,
)
from stdc_search.storage import cut_torn_line, write_atomically


def record(number: int, **more) -> Record:
    content = {
        "number": number,
        "state": "complete",
        "origin": "sampler",
        "identity": f"{number:x}",
        "values": {"depth": number},
        "image_size": (32, 64),
        "started": "2026-01-01T00:00:00+00:00",
        "machine": "m",
    }
    return Record(**{**content, **more})


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "results.jsonl"
    written = [record(0), record(1, cost=Cost(parameters=1, macs=2, fvcore_flops=3, paper_flops=4))]
    for one in written:
        append(path, one)
    assert read(path) == written


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, record(0))
    first = read(path)
    first.clear()  # a caller may change the list
    assert read(path) == [record(0)]
    append(path, record(1))
    assert read(path) == [record(0), record(1)]
    text = path.read_bytes()
    write_atomically(path, text.replace(b'"number":1', b'"number":7'))
    os.utime(path, ns=(0, 0))  # another file of this size
    assert [one.number for one in read(path)] == [0, 7]


def test_the_iou_of_a_class_is_a_metric():
    score = Score(
        miou=30, pixel_accuracy=90, iou={"tall weed": 12.5, "gone": None}, constant_miou=20, images=1, seed_miou=(30,)
    )
    found = record(0, score=score)
    assert found.metric("score.iou.tall weed") == 12.5
    assert METRICS["score.iou.tall weed"].title == "tall weed IoU %"
    for name in ("score.iou.gone", "score.iou.other"):
        with pytest.raises(KeyError):
            found.metric(name)


def test_a_metric_that_no_record_has_has_no_title():
    with pytest.raises(KeyError):
        METRICS["score.weed"]


def test_a_constant_prediction_has_the_pixel_accuracy_that_its_miou_says():
    iou = {"soil": 50.0, "weed": 10.0, "gone": None}
    score = Score(miou=30, pixel_accuracy=90, iou=iou, constant_miou=20, images=1, seed_miou=(30,))
    names = ("score.miou", "score.pixel_accuracy", "score.iou.weed", "score.boundary_f")
    assert [score.constant(name) for name in names] == [20, 40, 0, 0]


def test_no_file_has_no_records(tmp_path):
    assert read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_cut_off_and_the_next_record_starts_on_its_own(tmp_path, kept):
    path = tmp_path / "results.jsonl"
    for number in range(3):
        append(path, record(number))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    assert [one.number for one in read(path)] == [0, 1]
    cut_torn_line(path)
    append(path, record(7))
    assert [one.number for one in read(path)] == [0, 1, 7]


def test_a_damaged_line_within_the_file_is_not_passed_over(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, record(0))
    path.write_bytes(b'{"format": 1}\n' + path.read_bytes())
    with pytest.raises(ValueError, match=r"results\.jsonl:1: is not a record"):
        read(path)


def test_a_metric_has_a_dotted_name():
    one = record(0, cost=Cost(parameters=1, macs=2, fvcore_flops=3, paper_flops=4))
    assert one.metric("cost.macs") == 2
    with pytest.raises(KeyError, match=r"score\.miou"):
        one.metric("score.miou")


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="finite"):
        Score(miou=math.nan, pixel_accuracy=1, iou={}, constant_miou=1, images=1, seed_miou=(1,))


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"a": {"id": "a"}}'])
def test_a_damaged_description_of_machines_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "machine.json").write_text(content)
    assert read_machines(tmp_path / "machine.json") == {}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_a_number_of_a_record(name):
    section, field = name.split(".")
    sections = {"cost": (Cost,), "latency": (Latency,), "score": (Score, ImageScore)}[section]
    assert any(field in one.model_fields for one in sections)


def test_no_two_metrics_share_a_title():
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    assert len({metric.axis for metric in METRICS.values()}) == len(METRICS)


def test_a_segmenter_and_a_classifier_have_the_scores_of_their_records():
    assert PIXEL_METRICS == ("score.miou", "score.pixel_accuracy", "score.boundary_f")
    assert IMAGE_METRICS == ("score.top1", "score.top5")
