"""Surface inspection: two classes, 2 % of the pixels are defects, grey images of 40 sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from stdc_search.commands.init import init
from stdc_search.commands.run import run
from stdc_search.records import read
from stdc_search.run_folder import RESULTS
from stdc_search.spec.base import replace
from stdc_search.spec.run import RunSpec, load

COUNT = 80


def write_surfaces(root: Path) -> None:
    """Brushed metal with scratches and pits that are a little darker, in images of 40 sizes."""
    for number in range(COUNT):
        draw = np.random.default_rng(number)
        height, width = 100 + number % 40, 128 + 2 * (number % 40)
        brushed = draw.normal(0, 12, (height, 1)) + draw.normal(130, 8, (height, width))
        mask = Image.new("L", (width, height))
        pen = ImageDraw.Draw(mask)
        for _ in range(draw.integers(1, 3)):
            x, y = draw.integers(10, width - 10), draw.integers(10, height - 10)
            pen.line((x, y, x + draw.integers(-30, 30), y + draw.integers(-30, 30)), fill=1, width=4)
        x, y, r = draw.integers(10, width - 10), draw.integers(10, height - 10), draw.integers(3, 7)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=1)
        soft = np.asarray(mask.point(lambda id: 255 * id).filter(ImageFilter.GaussianBlur(1)), np.float64) / 255
        image = Image.fromarray((brushed - 45 * soft).clip(0, 255).astype(np.uint8))
        for folder, picture in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            picture.save(root / folder / f"{number:03d}.png")


def iou_of_defects(spec: RunSpec, folder: Path) -> float:
    run(spec, folder)
    (record,) = read(folder / RESULTS)
    assert record.score is not None
    return record.score.iou["class_1"] or 0.0


@pytest.mark.slow
def test_what_init_writes_finds_rare_defects_where_the_papers_recipe_finds_none(tmp_path: Path) -> None:
    write_surfaces(tmp_path / "surfaces")
    init(tmp_path / "surfaces", tmp_path / "spec.yaml", 0.2, lambda *_: None)
    spec = replace(load(tmp_path / "spec.yaml"), {"search": None, "latency": None, "training.epochs": 30})
    ours = iou_of_defects(spec, tmp_path / "ours")

    text = (tmp_path / "spec.yaml").read_text("utf-8").replace("recipe: scratch", "recipe: paper")
    (tmp_path / "paper.yaml").write_text(text, "utf-8")
    how = {"batch": 8, "crop": spec.training.crop, "schedule.warmup": 24, "epochs": 30} if spec.training else {}
    plain = replace(load(tmp_path / "paper.yaml"), {"search": None, "latency": None})
    plain = replace(plain, {f"training.{name}": value for name, value in how.items()})
    papers = iou_of_defects(plain, tmp_path / "paper")
    print(f"IoU of defects: {ours:.1f} % with init's recipe, {papers:.1f} % with the paper's")
    assert ours > 20 and papers < 5  # measured: 36 and 0
