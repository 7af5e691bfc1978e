"""What does `run.gap_steps` say of a synthetic set, and after how many steps?

    python benchmarks/domain_gap.py --data ../shared/data/cvc-clinicdb --split runs/low-data/split.json \
        --config runs/low-data/cells/real-only/0/config.yaml --steps 50 100 200 \
        --synthetic runs/low-data/synthetic/* --out results/added-cases/domain_gap.json

For each synthetic dataset folder that was made from the split's training cases, and each number of steps: a segmenter
that learned from the set alone against one that learned from the real training cases, on the validation cases, as `run`
does it before it trains on both. No test case is read.
"""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.data.splits import Split
from syndiff.files import write_json
from syndiff.pipeline.gap import measure_gap
from syndiff.pipeline.provenance import open_synthetic
from syndiff.training.run_folder import environment


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--split", "--config", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[100])
    options = parser.parse_args()
    settings, dataset = load_settings(config=options.config), Dataset.open(options.data)
    split = Split.read(options.split)
    split.check(dataset)
    size, detail = settings.model.image_size, settings.augmentation.detail
    train = load_cases([(dataset, split.train)], size, detail=detail)
    val = load_cases([(dataset, split.val)], size)
    found: dict[str, dict[int, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for folder in options.synthetic:
            synthetic = open_synthetic(folder, split, dataset)
            for steps in options.steps:
                out = Path(scratch) / folder.name / str(steps)
                measure_gap(
                    *(out, settings, dataset, split, synthetic, train, val), steps=steps, seed=0, progress=False
                )
                told = json.loads((out / "gap.json").read_text())
                found.setdefault(folder.name, {})[steps] = told
                alone, real = (told["dice"][name]["mean"] for name in ("synthetic", "real"))
                apart = [told["difference"][name] for name in ("mean", "low", "high")]
                words = f"{folder.name}, {steps} steps: {alone:.3f} against {real:.3f}, difference {apart}"
                print(words, file=sys.stderr, flush=True)
    command = shlex.join(["python", *sys.argv])
    write_json(options.out, {"command": command, "environment": environment(), "gap": found})


if __name__ == "__main__":
    main()
