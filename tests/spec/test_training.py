"""Rules of the training that its fields' types do not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stdc_search.spec.base import dump
from stdc_search.spec.run import load

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        (
            "{}",
            "training: neither is given of `epochs` and `steps`; a training has one length: give one of them",
        ),
        (
            "{epochs: 1, steps: 1}",
            "training: both are given of `epochs` and `steps`; a training has one length: give one of them",
        ),
        (
            "{epochs: 1, seeds: [0, 0]}",
            "training.seeds: `seeds` [0, 0] repeats a seed; the same training would run twice",
        ),
        ("{epochs: 1, seeds: []}", "training.seeds: must have at least 1 item, not 0"),
        ("{epochs: 1, batch: 1}", "training.batch: must be at least 2, not 1"),
        (
            "{epochs: 1, augmentation: {scales: [1.5, 0.5]}}",
            "training.augmentation.scales: `scales` [1.5, 0.5] runs downwards; write [0.5, 1.5]",
        ),
        (
            "{epochs: 1, augmentation: {scales: [0.1, 0.1]}}",
            "training.augmentation.scale_step: no multiple of `scale_step` 0.125 lies within `scales` [0.1, 0.1]; "
            "make it smaller, or null",
        ),
        (
            "{epochs: 1, augmentation: {scales: [1.1, 1.2], scale_step: 0.5}}",
            "training.augmentation.scale_step: no multiple of `scale_step` 0.5 lies within `scales` [1.1, 1.2]; "
            "make it smaller, or null",
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
    assert spec.training.start_from == tmp_path / "net.tar"
    dump(spec, tmp_path / "copy.yaml")
    assert load(tmp_path / "copy.yaml") == spec
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
