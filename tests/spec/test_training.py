"""Rules of the training that its fields' types do not say."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from stdc_search.spec.base import dump, replace
from stdc_search.spec.run import load

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        (
            "{}",
            "training: neither is given of `epochs` and `steps`; give one of them",
        ),
        (
            "{epochs: 1, steps: 1}",
            "training: both are given of `epochs` and `steps`; give one of them",
        ),
        (
            "{epochs: 1, seeds: [0, 0]}",
            "training.seeds: `seeds` [0, 0] contains a seed twice; the same training would run twice",
        ),
        ("{epochs: 1, seeds: []}", "training.seeds: must have at least 1 item, not 0"),
        ("{epochs: 1, batch: 1}", "training.batch: must be at least 2, not 1"),
        (
            "{epochs: 1, augmentation: {scales: [1.5, 0.5]}}",
            "training.augmentation.scales: `scales` [1.5, 0.5] decreases; write [0.5, 1.5]",
        ),
        (
            "{epochs: 1, augmentation: {scales: [0.1, 0.1]}}",
            "training.augmentation.scale_step: no multiple of `scale_step` 0.125 is within `scales` [0.1, 0.1]; "
            "make it smaller, or write null",
        ),
        (
            "{epochs: 1, augmentation: {scales: [1.1, 1.2], scale_step: 0.5}}",
            "training.augmentation.scale_step: no multiple of `scale_step` 0.5 is within `scales` [1.1, 1.2]; "
            "make it smaller, or write null",
        ),
        (
            "{epochs: 1, optimizer: {kind: adam}}",
            "training.optimizer.kind: must be sgd or adamw, not 'adam'; did you mean adamw?",
        ),
        (
            "{epochs: 1, optimizer: {kind: adamw, momentum: 0.9}}",
            "training.optimizer.momentum: unknown; legal: kind, learning_rate, betas, weight_decay",
        ),
        (
            "{epochs: 1, optimizer: {kind: sgd, learning_rate: 1e-4x}}",
            "training.optimizer.learning_rate: must be a number, not '1e-4x'",
        ),
    ],
)
def test_what_cannot_be_trained_is_told(complaints: Complaints, training: str, complaint: str) -> None:
    text = f"network: {{kind: segmenter, classes: 11}}\ndata: {{kind: scenes}}\n\ntraining: {training}\n"
    assert complaints(text) == [f"run.yaml:4: {complaint}"]


def test_weights_to_start_from_lie_beside_the_spec_wherever_its_copy_lies(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    path = tmp_path / "specs" / "run.yaml"
    text = (
        "network: {{kind: segmenter, classes: 11}}\ndata: {{kind: scenes}}\ntraining: {{epochs: 1, start_from: {}}}\n"
    )
    path.write_text(text.format("../net.tar"))
    spec = load(path)
    assert spec.training is not None
    assert spec.training.start_from is not None
    assert spec.training.start_from.path == tmp_path / "net.tar"
    dump(spec, tmp_path / "copy.yaml")
    assert load(tmp_path / "copy.yaml") == spec
    assert f"start_from: {tmp_path / 'net.tar'}" in (tmp_path / "copy.yaml").read_text("utf-8")
    (tmp_path / "net.tar").write_bytes(b"weights")
    (tmp_path / "copy.tar").write_bytes(b"weights")
    (tmp_path / "other.tar").write_bytes(b"others")
    same = [load(path).identity]
    path.write_text(text.format("../copy.tar"))
    same.append(load(path).identity)
    path.write_text(text.format("../other.tar"))
    assert same[0] == same[1] != load(path).identity
    path.write_text(text.format("null"))
    assert load(path).identity not in same


TEACHER = """\
network: {kind: segmenter, classes: 11}
data: {kind: scenes}
training:
  epochs: 1
  start_from: net.tar
  loss: {distillation: {network: {kind: segmenter, classes: 11}, weights: teacher.pt}}
search: {trials: 3, vary: {network.head.width: {kind: int, low: 1, high: 3}}}
"""


def test_each_file_of_weights_is_read_once_when_the_spec_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("net.tar", "teacher.pt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "run.yaml").write_text(TEACHER)
    opened: list[str] = []
    usual = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *how: opened.append(path.name) or usual(path, *how))
    spec = load(tmp_path / "run.yaml")
    assert sorted(opened) == ["net.tar", "run.yaml", "teacher.pt"]
    candidates = [spec.candidate({"network.head.width": width}) for width in (1, 2, 3)]
    copies = [spec.model_copy(), pickle.loads(pickle.dumps(spec)), replace(spec, {"training.epochs": 2})]
    copies.append(replace(spec, {"training": spec.training}))
    assert len({one.identity for one in (spec, *candidates, *copies)}) == 5
    assert len(opened) == 3


def test_a_spec_that_was_read_keeps_its_identity_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    for name in ("net.tar", "teacher.pt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "run.yaml").write_text(TEACHER)
    spec = load(tmp_path / "run.yaml")
    before = spec.identity
    (tmp_path / "net.tar").write_text("others")
    (tmp_path / "teacher.pt").unlink()
    assert pickle.loads(pickle.dumps(spec)).identity == spec.identity == before
    assert load(tmp_path / "run.yaml").identity != before


@pytest.mark.parametrize("value", ["5", "[a]", "{path: a, digest: b}"])
def test_weights_to_start_from_are_a_path(complaints: Complaints, value: str) -> None:
    text = "network: {kind: segmenter, classes: 11}\ndata: {kind: scenes}\ntraining: {epochs: 1, start_from: VALUE}\n"
    (complaint,) = complaints(text.replace("VALUE", value))
    assert complaint.startswith("run.yaml:3: training.start_from")
    assert "must be a path, not " in complaint
