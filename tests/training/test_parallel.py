"""Several processes that train together, as they are started by `torchrun`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stdc_search.records import read

SPEC = """
image_size: [32, 48]
network:
  kind: segmenter
  classes: 3
  backbone:
    stem: [{width: 4}, {width: 4}]
    stages: [{width: 8, depth: 1}, {width: 8, depth: 1}, {width: 16, depth: 1}]
  decoder: {width: 4, fusion_width: 8}
  head: {width: 4}
  auxiliary: {width: 4}
  detail: {width: 4}
data: {kind: folder, class_names: [a, b, c], split: {kind: share, val: 0.4}}
training:
  epochs: 3
  batch: 4
  crop: [32, 32]
  augmentation: {scales: [0.8, 1.2], scale_step: null}
  optimizer: {kind: sgd, learning_rate: 0.02}
  loss: {ohem: null}
  norm_statistics: fixed
  backbone_norms: trained
  schedule: {warmup: 2}
  precision: fp32
  score_every: 2
  seeds: [0, 1]
"""

HALVED_SEARCH = """
search:
  vary: {network.backbone.stages.2.depth: {kind: int, low: 1, high: 8}}
  sampler: {kind: random}
  trials: 8
  halving: {rungs: [1], probation: 4, least_correlation: -1}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A run on 13 images, 5 of them scored, whose pixels all have a class, so that halves of a batch weigh alike."""
    cells = np.random.default_rng(0).integers(3, size=(13, 6, 8), dtype=np.uint8)
    for index, mask in enumerate(cells.repeat(8, 1).repeat(8, 2)):
        for name, picture in (("images", np.stack([mask * 80] * 3, 2)), ("masks", mask)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / name / f"{index}.png")
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path / "spec.yaml"


def run(spec: Path, out: Path, processes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    if processes == 1:
        command = [sys.executable]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "stdc_search", "run", str(spec), "--out", str(out), "--data-root", str(spec.parent)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_two_processes_train_to_the_weights_and_scores_of_one(spec: Path, tmp_path: Path) -> None:
    """With norms that keep their statistics and plain cross-entropy; else each sees its own part of a batch."""
    records = []
    for processes in (1, 2):
        done = run(spec, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
        records += read(tmp_path / str(processes) / "results.jsonl")
    assert [record.state for record in records] == ["complete"] * 2
    for place in ("", "seed-1"):
        one, two = (load_file(tmp_path / n / "networks/0000" / place / "weights.safetensors") for n in "12")
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)
    one, two = (record.score for record in records)
    assert one is not None and two is not None
    assert two.images == one.images == 5
    assert two.seed_miou == pytest.approx(one.seed_miou, abs=0.2)  # a pixel may fall to the other side


@pytest.mark.slow
def test_two_processes_halve_a_search_together(spec: Path, tmp_path: Path) -> None:
    spec.write_text(SPEC.replace("seeds: [0, 1]", "seeds: [0]") + HALVED_SEARCH, encoding="utf-8")
    done = run(spec, tmp_path / "out", 2)
    assert done.returncode == 0, done.stderr
    records = read(tmp_path / "out" / "results.jsonl")
    states = [record.state for record in sorted(records, key=lambda record: record.number)]
    assert states[:4] == ["complete"] * 4
    assert "stopped" in states[4:]
    assert set(states[4:]) <= {"complete", "stopped"}
    assert all(list(record.rungs) == [1] for record in records)


@pytest.mark.slow
def test_a_batch_that_the_processes_cannot_share_is_told(spec: Path, tmp_path: Path) -> None:
    spec.write_text(SPEC.replace("batch: 4", "batch: 3"), encoding="utf-8")
    done = run(spec, tmp_path / "out", 2)
    assert done.returncode != 0
    assert "`training.batch` 3 is shared by 2 processes; use a multiple of 2 that gives each at least 2" in done.stderr
