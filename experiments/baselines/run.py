"""STDC1-Seg and STDC2-Seg under the small protocol, which every study compares with.

OMP_NUM_THREADS=1 python -m experiments.baselines.run --data-root FOLDER_OF_CAMVID
"""

from pathlib import Path

from experiments.study import main

SEEDS = {"training.seeds": (0, 1, 2)}
STDC2 = {f"network.backbone.stages.{stage}.depth": depth for stage, depth in enumerate((4, 5, 3))}
VARIANTS = {"stdc1": SEEDS, "stdc2": {**SEEDS, **STDC2}}

if __name__ == "__main__":
    main(Path(__file__).parent, VARIANTS, "STDC1-Seg and STDC2-Seg on CamVid val under specs/camvid_small.yaml")
