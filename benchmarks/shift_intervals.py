"""How often the intervals of `study shift` hold the truth.

    OMP_NUM_THREADS=1 python benchmarks/shift_intervals.py --out results/intervals/distributions.json

Real and synthetic pictures are drawn again and again: normal features, alike within a group; the synthetic ones stem
from the same groups, or from others, and are moved by `shift` standard deviations in one of 20 features, or not at all.
Counted is how many intervals of the difference between synthetic and other real pictures hold the truth: zero without
a shift, else its mean over all draws.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.evaluation.distribution import Sample, Scale, against_real, frechet_distance, kernel_distance, precision
from syndiff.files import write_json
from syndiff.training.run_folder import environment

STATISTICS = {"frechet": frechet_distance, "kernel": kernel_distance, "precision": precision}
WIDTH, BETWEEN = 20, 0.7
WORLDS = [
    {"groups": 6, "real": 60, "synthetic": 30, "shift": 0.0, "same_groups": True},
    {"groups": 20, "real": 200, "synthetic": 50, "shift": 0.0, "same_groups": True},
    {"groups": 20, "real": 200, "synthetic": 50, "shift": 1.0, "same_groups": True},
    {"groups": 20, "real": 200, "synthetic": 200, "shift": 0.0, "same_groups": True},
    {"groups": 20, "real": 200, "synthetic": 50, "shift": 0.0, "same_groups": False},
]


def drawn(world: dict[str, Any], seed: int) -> dict[str, tuple[float, float, float]]:
    """Difference and interval of each statistic in one drawn world."""
    rng = np.random.default_rng(seed)
    effects = [BETWEEN * rng.normal(size=(world["groups"], WIDTH)) for _ in range(2)]
    samples = []
    for count, effect in ((world["real"], effects[0]), (world["synthetic"], effects[not world["same_groups"]])):
        group = rng.integers(0, world["groups"], count)
        features = effect[group] + BETWEEN * rng.normal(size=(count, WIDTH))
        samples.append((features, [f"{number}" for number in group]))
    (real, groups), (new, others) = samples
    new[:, 0] += world["shift"]
    if not world["same_groups"]:
        others = [f"other-{name}" for name in others]
    scale = Scale.of(real)
    found = against_real(Sample(scale(real), groups), Sample(scale(new), others), STATISTICS, draws=8, seed=seed)
    return {name: (each.mean, each.low, each.high) for name, each in found.items()}


def main() -> None:
    """Draw every world, count, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for world in WORLDS:
        found = [drawn(world, seed) for seed in range(options.draws)]
        row: dict[str, Any] = {**world}
        for name in STATISTICS:
            mean, low, high = np.array([each[name] for each in found]).T
            truth = mean.mean() if world["shift"] else 0.0
            row[name] = {
                "held": float(((low <= truth) & (truth <= high)).mean()),
                "mean": float(mean.mean()),
                "standard_deviation": float(mean.std()),
                "width": float((high - low).mean()),
            }
        print(row)
        rows.append(row)
    write_json(options.out, {"draws": options.draws, "worlds": rows, "environment": environment()})


if __name__ == "__main__":
    main()
