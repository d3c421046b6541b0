"""Which cheap score tells the truth? trainings.csv and zero_cost.csv -> table.csv, .md and .tex.

python -m experiments.proxies.analyse
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from experiments.proxies.measure import HERE, base, networks
from stdc_search.expectation.linked import beside_losses
from stdc_search.expectation.process import GaussianProcess
from stdc_search.network.cost import count
from stdc_search.report.tables import print_table, save_table

Floats = NDArray[np.float64]
DRAWS = 500
"""Bootstrap samples of networks, for intervals."""
EPOCHS = (1, 2, 4, 6, 8, 10, 12)
FULL = 12
"""Epochs of a full training."""
KNOWN = ("multiply-adds", "parameters")
TIMES = HERE.parent / "search_benchmark" / "times.csv"


class Proxy(NamedTuple):
    name: str
    values: Floats
    """[networks, seeds]; the more, the better. One column if it has no seed."""
    epochs: int
    """Of training that it takes."""
    seconds: float = 0.0
    """For a network and seed."""


def measured(schedule: str) -> dict[int, pd.DataFrame]:
    """By epoch, a row for each network and seed; networks without all seeds are left out."""
    whole = pd.read_csv(HERE / "trainings.csv")
    whole = whole[whole["schedule"] == schedule]
    seeds = whole[whole["epoch"] == whole["epoch"].max()].groupby("network")["seed"].nunique()
    whole = whole[whole["network"].isin(seeds.index[seeds == seeds.max()])]
    whole = whole.sort_values(["network", "seed", "epoch"])
    losses = whole.groupby(["network", "seed"])["loss"]
    whole["recent_loss"] = losses.transform(
        lambda loss: [loss.iloc[i // 2 : i].mean() for i in range(1, len(loss) + 1)]
    )
    return {epoch: rows for epoch, rows in whole.groupby("epoch")}


def grid(rows: pd.DataFrame, column: str) -> Floats:
    return rows.pivot(index="network", columns="seed", values=column).to_numpy(float)


def tau(values: Floats, truth: Floats, beside: Floats | None = None) -> float:
    """Kendall's tau; of what `beside` does not explain, if it is given: [networks, costs]."""
    if beside is not None:
        design = np.column_stack([np.ones(len(values)), beside])
        values, truth = (y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in (values, truth))
    return float(kendalltau(values, truth).statistic)


def agreement(proxy: Floats, truth: Floats, some: NDArray[np.intp], beside: Floats | None = None) -> float:
    """Mean over seeds of tau with the truth of the other seeds, so that no luck is shared."""
    costs = None if beside is None else beside[some]
    if proxy.shape[1] == 1:
        return tau(proxy[some, 0], truth[some].mean(1), costs)
    seeds = range(proxy.shape[1])
    return float(np.mean([tau(proxy[some, s], np.delete(truth, s, 1)[some].mean(1), costs) for s in seeds]))


def correlation(proxy: Floats, truth: Floats, some: NDArray[np.intp], seeds: float = 1) -> float:
    """Pearson's correlation of the mean of several seeds with what a network reaches on average.

    Different seeds share no luck, so covariances between them are those of networks without luck.
    """
    its, ends = proxy[some] - proxy[some].mean(0), truth[some] - truth[some].mean(0)
    within = its.T @ its / (len(some) - 1)
    clean = _unlike(within) if len(within) > 1 else within.item()
    noise = (np.trace(within) / len(within) - clean) / seeds
    across = its.T @ ends / (len(some) - 1)
    shared = _unlike(across) if len(across) > 1 else across.mean()
    return float(shared / np.sqrt(max(clean + noise, 1e-9) * max(_unlike(ends.T @ ends / (len(some) - 1)), 1e-9)))


def _unlike(matrix: Floats) -> float:
    """Mean of what is not on the diagonal, which has the same seed twice."""
    rows, columns = np.indices(matrix.shape)
    return float(matrix[rows != columns].mean())


def own_end(proxy: Floats, truth: Floats) -> float:
    """Mean tau with the end of the same training, whose luck the proxy shares."""
    return float(np.mean([tau(proxy[:, seed], truth[:, seed]) for seed in range(truth.shape[1])]))


def reliability(proxy: Floats) -> float:
    """Mean tau between two seeds."""
    if proxy.shape[1] == 1:
        return 1.0
    return float(np.mean([tau(proxy[:, a], proxy[:, b]) for a, b in combinations(range(proxy.shape[1]), 2)]))


def proxies(by_epoch: dict[int, pd.DataFrame]) -> list[Proxy]:
    """What is known of a training after some epochs."""
    ways = {
        "mIoU": ("miou", 1),
        "mIoU, weights not averaged": ("raw_miou", 1),
        "cross-entropy": ("cross_entropy", -1),
        "cross-entropy, weights not averaged": ("raw_cross_entropy", -1),
        "pixel accuracy": ("pixel_accuracy", 1),
        "boundary F": ("boundary_f", 1),
        "training loss": ("recent_loss", -1),
    }
    return [
        Proxy(f"{name} after {epoch}", sign * grid(rows, column), epoch)
        for name, (column, sign) in ways.items()
        for epoch, rows in by_epoch.items()
        if epoch in EPOCHS and rows[column].notna().all()
    ]


def left_out(points: Floats, losses: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """What trainings of all other networks with the same seed say of each network: by their scores, and with their
    losses: [networks, seeds] each."""
    by_scores, by_both = np.zeros_like(scores), np.zeros_like(scores)
    for i, seed in np.ndindex(scores.shape):
        others = np.arange(len(scores)) != i
        known, some, its = points[others], scores[others, seed], points[i : i + 1]
        by_scores[i, seed] = GaussianProcess(known, some).means(its)[0]
        base = GaussianProcess(known, -np.log(losses[others, seed]))
        by_both[i, seed] = beside_losses(base, known, some).means(its)[0]
    return by_scores, by_both


def short(schedule: str, epochs: int, names: Sequence[int]) -> list[Proxy]:
    """The ends of trainings with another schedule, if all networks have them."""
    by_epoch = measured(schedule)
    rows = by_epoch.get(epochs)
    if rows is None or sorted(rows["network"].unique()) != [*names]:
        return []
    ways = {"mIoU": ("miou", 1), "cross-entropy": ("cross_entropy", -1), "training loss": ("recent_loss", -1)}
    return [
        Proxy(f"{name}, {schedule}, {epochs}", sign * grid(rows, column), epochs)
        for name, (column, sign) in ways.items()
    ]


def shared_weights(names: Sequence[int]) -> list[Proxy]:
    """Scores with weights that all networks share, after each training of them."""
    if not (HERE / "inherited.csv").exists():
        return []
    frame = pd.read_csv(HERE / "inherited.csv")
    frame = frame[frame["network"].isin(names)].sort_values("network")
    found = []
    for (epochs, soft, random, epoch, tuned), rows in frame.groupby(["epochs", "soft", "random", "epoch", "tuned"]):
        seconds = rows["seconds"].mean()
        words = f"inherited, {epoch} of {epochs} epochs, {soft} distilled, {random} random"
        columns = (("mIoU", "miou", 1), ("cross-entropy", "cross_entropy", -1), ("training loss", "training_loss", -1))
        for name, column, sign in columns:
            values = sign * rows[[column]].to_numpy(float)
            if np.isnan(values).any():
                continue
            found.append(Proxy(f"{name} {words}{f', {tuned} own epochs' if tuned else ''}", values, 0, seconds))
    return found


def main() -> None:
    by_epoch = measured("decay")
    last = by_epoch[max(by_epoch)]
    truth, numbers = grid(last, "miou"), sorted(last["network"].unique())
    values, run = networks(), base("decay")
    costs = [count(run.candidate(values[number]).network, run.image_size) for number in numbers]
    logs = np.log([[cost.macs, cost.parameters] for cost in costs])
    times = pd.read_csv(TIMES).set_index([*run.required_search.vary])["ms"]
    latency = np.log([times[tuple(values[number].values())] for number in numbers])
    zero = pd.read_csv(HERE / "zero_cost.csv")
    zero = zero[zero["network"].isin(numbers) & zero["seed"].isin(last["seed"].unique())]
    several = [Proxy(name, logs[:, [i]], 0) for i, name in enumerate(("multiply-adds", "parameters"))]
    several.append(Proxy("latency", latency[:, None], 0))
    for name in ("naswot", "synflow", "gradient_norm"):
        several.append(Proxy(name, grid(zero, name), 0, zero[f"seconds_{name}"].mean()))
    several += proxies(by_epoch)
    points = np.column_stack([np.log([[*values[number].values()] for number in numbers]), logs[:, 0]])
    points = (points - points.min(0)) / np.ptp(points, axis=0)
    for epochs in (4, 12):
        rows = by_epoch[epochs]
        unseen = left_out(points, grid(rows, "recent_loss"), grid(rows, "miou"))
        names = (f"other networks' {what} after {epochs}" for what in ("mIoU", "mIoU and training loss"))
        several += [Proxy(name, found, 0) for name, found in zip(names, unseen, strict=True)]
    several += [*short("decay_4", 4, numbers), *short("hold_4", 4, numbers), *shared_weights(numbers)]
    rng, everyone = np.random.default_rng(0), np.arange(len(truth))
    samples = [rng.integers(len(truth), size=len(truth)) for _ in range(DRAWS)]
    rows = []
    epoch_seconds = pd.concat(by_epoch.values())["seconds_train"].mean()
    for name, grid_, epochs, seconds in several:
        drawn = [(agreement(grid_, truth, some), correlation(grid_, truth, some)) for some in samples]
        (low, lowest), (high, highest) = np.nanquantile(drawn, (0.025, 0.975), axis=0)
        seeded = grid_.shape[1] > 1
        rows.append(
            {
                "proxy": name,
                "epochs": epochs,
                "seconds": seconds + epochs * epoch_seconds,
                "tau": agreement(grid_, truth, everyone),
                "from": low,
                "to": high,
                "tau beside costs": agreement(grid_, truth, everyone, logs) if name not in KNOWN else None,
                "r": correlation(grid_, truth, everyone),
                "r from": lowest,
                "r to": highest,
                "r for 12 epochs": correlation(grid_, truth, everyone, FULL / epochs) if seeded and epochs else None,
                "seed to seed": reliability(grid_) if seeded else None,
                "with its own end": own_end(grid_, truth) if grid_.shape == truth.shape else None,
            }
        )
    frame = pd.DataFrame(rows)
    noise = (truth.std(1, ddof=1) ** 2).mean()
    spread = max(truth.mean(1).var(ddof=1) - noise / truth.shape[1], 0.0)
    caption = (
        f"{len(truth)} networks with {truth.shape[1]} seeds. Standard deviations of mIoU: {noise**0.5:.2f} between "
        f"trainings of a network, {spread**0.5:.2f} between networks"
    )
    save_table(frame, HERE / "table", caption=caption)
    print_table(frame, caption)


if __name__ == "__main__":
    main()
