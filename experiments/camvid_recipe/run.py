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
EMA = {"training.ema": {"decay": 0.999}}
BATCH = {"training.batch": 4}
WHOLE = {"training.crop": (180, 240), "training.augmentation.scales": (0.5, 1.0)}
VARIANTS = {
    "paper": {},
    "no_jitter": {"training.augmentation.jitter": 0.0},
    "adamw": ADAMW,
    "adamw_weights": {**ADAMW, "training.loss.class_weights": "log"},
    "adamw_plain": PLAIN,
    "adamw_plain_weights": WEIGHTED,
    "adamw_plain_weights_rate_4e-3": {**WEIGHTED, "training.optimizer.learning_rate": 4e-3},
    "adamw_plain_weights_cosine": {
        **WEIGHTED,
        "training.schedule": {"kind": "cosine", "warmup": 50, "warmup_start": 0.01},
    },
    "adamw_plain_weights_ema": {**WEIGHTED, **EMA},
    "adamw_plain_weights_batch_4": {**WEIGHTED, **BATCH},
    "adamw_plain_weights_whole_images": {**WEIGHTED, **WHOLE},
    "all": {**WEIGHTED, **EMA, **BATCH, **WHOLE},
    "all_bf16": {**WEIGHTED, **EMA, **BATCH, **WHOLE, "training.precision": "bf16"},
}

if __name__ == "__main__":
    folder = Path(__file__).parent
    main(folder, VARIANTS, "Recipes for STDC1-Seg on CamVid val at 180 x 240, seed 0", folder / "base.yaml")
