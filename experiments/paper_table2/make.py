"""STDC1 and STDC2 a stage, and their totals: `python experiments/paper_table2/make.py`."""

from pathlib import Path

from stdc_search.network.cost import count_parts
from stdc_search.report.costs import parts_frame
from stdc_search.report.tables import save_table
from stdc_search.spec.run import load


def main(folder: Path = Path(__file__).parent) -> None:
    for name in ("stdc1", "stdc2"):
        spec = load(f"specs/{name}.yaml")
        frame = parts_frame(count_parts(spec.network, spec.image_size), spec.image_size)
        save_table(frame, folder / name, caption=f"{name.upper()} at 224 x 224")


if __name__ == "__main__":
    main()
