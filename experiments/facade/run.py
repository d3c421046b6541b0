"""STDC1-Seg on LabelMeFacade: the paper's recipe beside that of small data, and rows of Table 4.

OMP_NUM_THREADS=1 python -m experiments.facade.run --data-root FOLDER_OF_FACADE

The first row is a network of experiments/trained_comparison, so it is not trained again.
"""

from pathlib import Path

from experiments.study import main
from stdc_search.spec.run import load

HERE = Path(__file__).parent
PAPER = load(HERE.parent / "camvid_recipe" / "base.yaml").training
assert PAPER is not None

VARIANTS = {
    "recipe_for_small_data": {},
    "no_detail": {"network.detail": None},
    "recipe_of_the_paper": {
        "training.augmentation.jitter": 0.5,
        "training.loss": PAPER.loss,
        "training.optimizer": PAPER.optimizer,
        "training.ema": None,
    },
    "spatial_path": {"network.detail": None, "network.decoder.spatial": {}},
}

if __name__ == "__main__":
    base = HERE.parent / "trained_comparison" / "facade.yaml"
    main(HERE, VARIANTS, "STDC1-Seg on LabelMeFacade val at 192 x 256, 12 epochs", base)
