"""Are placed lesions as large as real ones? Places only, nothing is painted: sizes, distances, misses, seconds.

    python benchmarks/lesion_sizes.py --data ../shared/data/cvc-clinicdb --groups 5 \
        --backgrounds ../shared/data/lesion-free --places 200 --out results/lesion-sizes/backgrounds.json

The training cases are those of `study low-data`: the split by group with seed 0, `--groups` groups of it. Contrast is
left out, since nothing is painted. Seconds are of the process, without waiting.
"""

import argparse
import json
import platform
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.files import write_json
from syndiff.studies.low_data import few_groups
from syndiff.synthesis.placement.measures import measure_shape
from syndiff.synthesis.placement.places import Places
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.settings import SynthesisSettings

NAMES = ("area", "elongation", "distance", "edge")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Place, measure, compare."""
    dataset = Dataset.open(options.data)
    split = few_groups(dataset, make_split(dataset, method="auto", seed=0), options.groups, 0)
    settings = SynthesisSettings(
        background_lesion=options.background_lesion, backgrounds=options.backgrounds, lesions=options.lesions
    )
    places = Places(
        dataset,
        split.train,
        settings,
        seed=options.seed,
        margin=options.margin,
        at_once=options.background_lesion == "replace",
        rules=PlacementRules(),
    )
    begin = time.process_time()
    real = [lesion.shape for lesion in places.album.population.lesions]
    measuring, seconds, shapes = time.process_time() - begin, [], []
    attempts, missed = Counter[int](), Counter[int]()
    for index in range(options.places):
        begin, quarter = time.process_time(), places.target(index).quarter
        placement = places.of(index)
        seconds.append(time.process_time() - begin)
        attempts[quarter] += 1
        if placement is None:
            missed[quarter] += 1
        else:
            shapes.append(measure_shape(placement.lesion_mask, placement.view))
    rng, found = np.random.default_rng(0), {}
    for name in NAMES:
        there, here = (np.array([getattr(shape, name) for shape in each]) for each in (real, shapes))
        chance = [wasserstein_distance(there, rng.choice(there, len(here))) / there.std() for _ in range(300)]
        found[name] = {
            "real": np.quantile(there, [0.25, 0.5, 0.75]).round(4).tolist(),
            "new": np.quantile(here, [0.25, 0.5, 0.75]).round(4).tolist(),
            "distance": round(float(wasserstein_distance(there, here) / there.std()), 3),
            "chance": round(float(np.quantile(chance, 0.95)), 3),
        }
    return {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {"platform": platform.platform(), "numpy": np.__version__},
        "cases": len(split.train),
        "measures": found,
        "found_no_place": {f"quarter {n}": f"{missed[n]} of {attempts[n]}" for n in sorted(attempts)},
        "seconds_to_measure_the_real_lesions": round(measuring, 2),
        "seconds_a_place": {
            "mean": round(float(np.mean(seconds)), 3),
            "median": round(float(np.median(seconds)), 3),
            "largest": round(max(seconds), 2),
        },
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--backgrounds", default="")
    parser.add_argument("--lesions", default="")
    parser.add_argument("--background-lesion", choices=("keep", "remove", "replace"), default="keep")
    parser.add_argument("--margin", type=float, default=0.25, help="painted around a lesion, in its radii")
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = measured(options)
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
