"""What helps STDC1-Seg from random weights on CamVid: the paper's recipe, changed step by step.

OMP_NUM_THREADS=1 python -m experiments.camvid_recipe.run --data-root FOLDER_OF_CAMVID
"""

from pathlib import Path

from experiments.study import main

ADAMW = {
    "training.augmentation.jitter": 0.0,
    "training.optimizer": {"kind": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01},
    "training.loss.auxiliary_weight": 0.4,
}
PLAIN = {**ADAMW, "training.loss.ohem": None}
WEIGHTED = {**PLAIN, "training.loss.class_weights": "log"}
VARIANTS = {
    "paper": {},
    "no_jitter": {"training.augmentation.jitter": 0.0},
    "adamw": ADAMW,
    "adamw_plain": PLAIN,
    "adamw_plain_weights": WEIGHTED,
    "adamw_plain_weights_cosine": {
        **WEIGHTED,
        "training.schedule": {"kind": "cosine", "warmup": 50, "warmup_start": 0.01},
    },
    "adamw_plain_weights_ema": {**WEIGHTED, "training.ema": {"decay": 0.999}},
    "adamw_plain_weights_batch_4": {**WEIGHTED, "training.batch": 4},
    "adamw_plain_weights_whole_images": {
        **WEIGHTED,
        "training.crop": (180, 240),
        "training.augmentation.scales": (0.5, 1.0),
    },
}

if __name__ == "__main__":
    folder = Path(__file__).parent
    main(folder, VARIANTS, "Recipes for STDC1-Seg on CamVid val at 180 x 240, seed 0", folder / "base.yaml")
