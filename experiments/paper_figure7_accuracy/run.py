"""The accuracy half of Figure 7: the number of blocks in an STDC module, with STDC1-Seg on CamVid.

OMP_NUM_THREADS=1 python -m experiments.paper_figure7_accuracy.run --data-root FOLDER_OF_CAMVID
"""

from pathlib import Path

from experiments.baselines.run import SEEDS
from experiments.study import main

VARIANTS = {
    f"{blocks}_blocks": {**SEEDS, **{f"network.backbone.stages.{stage}.blocks": blocks for stage in range(3)}}
    for blocks in range(2, 7)
}

if __name__ == "__main__":
    main(Path(__file__).parent, VARIANTS, "Blocks in a module of STDC1-Seg on CamVid val under specs/camvid_small.yaml")
