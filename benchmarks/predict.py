"""`syndiff predict` as a user starts it: a cold start, a folder of images, and what memory it takes of any length.

    python benchmarks/predict.py --out results/segmenter-speed/predict_command_1_to_1000_images.json

Every measurement is a process of its own, from the command to its end. Random weights of the preset serve: neither time
nor memory depends on them. The folders hold one frame of 384 x 288 pixels under many names. Seconds of the first image
are those of a folder of one; of each further image, the difference between two folders over their numbers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from syndiff.config.loading import load_settings
from syndiff.data.loading import CaseArrays
from syndiff.files import write_json
from syndiff.phantom import write_phantom
from syndiff.training.loop import fit
from syndiff.training.run_folder import environment
from syndiff.training.segmentation import SegmentationTask


def random_run(folder: Path) -> Path:
    """A run folder of the preset compact after one step on noise."""
    settings = load_settings("compact")
    size = settings.model.image_size
    generator = torch.Generator().manual_seed(0)
    cases = CaseArrays(
        ("a", "b"),
        torch.randint(0, 255, (2, 3, size, size), generator=generator, dtype=torch.uint8),
        torch.randint(0, 2, (2, 1, size, size), generator=generator, dtype=torch.uint8),
        torch.zeros(2, dtype=torch.int64),
    )
    model = replace(settings.model, pretrained=False)
    training = replace(settings.training, steps=1, batch_size=2, coarse_share=0.0)
    task = SegmentationTask(model, training, settings.augmentation, train_cases=cases, val_cases=cases, seed=0)
    fit(folder, task, training, seed=0, progress=False)
    return folder


def folder_of(count: int, frame: Path, folder: Path) -> Path:
    """`count` names of one frame."""
    folder.mkdir()
    for number in range(count):
        os.link(frame, folder / f"{number:06d}{frame.suffix}")
    return folder


_ALONE = """
import resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""A small process starts the one that is measured: the system counts the memory of the starter as its child's too."""


def measured(command: list[str]) -> dict[str, float]:
    """Wall seconds and peak memory of a process, which must succeed."""
    done = subprocess.run([sys.executable, "-c", _ALONE, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}")
    seconds, kibibytes = map(float, done.stdout.split())
    return {"seconds": seconds, "peak_memory_gib": kibibytes / 2**20}


def main() -> None:
    """Measure each number of images with one view and with the preset's, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 100, 1000], help="images of each folder")
    parser.add_argument("--tta", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "load_average_before": os.getloadavg()[0], "views": {}}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        run = random_run(scratch / "run")
        write_phantom(scratch / "phantom", groups=1, frames=1, height=288, width=384, seed=0)
        frame = next((scratch / "phantom" / "images").iterdir())
        folders = {count: folder_of(count, frame, scratch / str(count)) for count in sorted(options.counts)}
        for views in options.tta:
            found: dict[int, dict[str, float]] = {}
            for count, folder in folders.items():
                command = [sys.executable, "-m", "syndiff", "predict", "--run", str(run), "--images", str(folder)]
                command += ["--out", str(scratch / f"masks-{views}-{count}"), "--tta", str(views)]
                found[count] = measured(command)
            few, many = min(found), max(found)
            further = (found[many]["seconds"] - found[few]["seconds"]) / max(1, many - few)
            result["views"][views] = {"images": found, "seconds_a_further_image": further}
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
