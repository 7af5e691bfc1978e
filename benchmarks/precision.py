"""Training in bf16 against fp32 on this CPU: milliseconds of a step of each compact network, in turns.

    python benchmarks/precision.py --data ../shared/data/cvc-clinicdb --rounds 2 \
        --out results/bf16-on-cpu/training_step_bf16_against_fp32.json

With one thread and with all. What `precision: auto` means on a CPU rests on it.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.files import write_json
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.hardware import has_fast_bf16
from syndiff.pipeline.adaptation import caption_lesions
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.training.inpainting import InpaintingTask
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.inpainting_pool import encode_crops
from syndiff.training.loop import Task
from syndiff.training.planning import step_seconds
from syndiff.training.segmentation import SegmentationTask
from syndiff.training.settings import OptimisationSettings

SEGMENTERS = {
    "one step, compact": ("model.autoencoder=compact",),
    "one step, mask": ("model.autoencoder=mask",),
    "control": ("model.kind=control",),
}
CASES = 32


def in_turns(make: Callable[[], Task], settings: OptimisationSettings, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step in each precision, and how many times as long one in bf16 takes."""
    taken: dict[Literal["fp32", "bf16"], list[float]] = {"fp32": [], "bf16": []}
    for _ in range(rounds):
        for precision, seconds in taken.items():
            chosen = replace(settings, precision=precision)
            seconds.append(1000 * step_seconds({"": make()}, chosen, rounds=1, repeats=5, warmup=2)[""])
    found = {f"{name}_ms": statistics.median(values) for name, values in taken.items()}
    return {**found, "bf16_over_fp32": found["bf16_ms"] / found["fp32_ms"]}


def segmenter(data: Path, size: int, changes: tuple[str, ...], rounds: int) -> dict[str, float]:
    """A segmenter's training step at `size` pixels."""
    settings = load_settings("compact", None, [f"model.image_size={size}", "training.coarse_share=0", *changes])
    dataset = Dataset.open(data)
    cases = load_cases([(dataset, [case.id for case in dataset.cases[:CASES]])], size)
    return in_turns(
        lambda: SegmentationTask(
            settings.model, settings.training, settings.augmentation, train_cases=cases, val_cases=None, seed=0
        ),
        settings.training,
        rounds,
    )


def inpainter(data: Path, rounds: int) -> dict[str, float]:
    """The compact inpainter's training step."""
    settings, dataset = load_settings("compact", None, []), Dataset.open(data)
    grammar = Grammar.for_dataset(dataset)
    lesions = caption_lesions(dataset, [case.id for case in dataset.cases[:CASES]], grammar)
    crops = encode_crops(
        LesionCrops(dataset, lesions, background=grammar.background.text, progress=False),
        load_autoencoder(settings.inpainter.autoencoder),
        count=64,
        size=settings.inpainter.crop_size,
        settings=settings.adapt,
        entropy=(0, 1),
        augment=True,
        progress=False,
    )
    words = sorted({*grammar.vocabulary})
    return in_turns(
        lambda: InpaintingTask(
            settings.inpainter, settings.adapt, train=crops, val=crops, vocabulary=words, about={}, seed=0
        ),
        settings.adapt,
        rounds,
    )


def main() -> None:
    """Every network with one thread and with all, and the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--rounds", type=int, default=3, help="turns of five steps in each precision")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {
            "platform": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "bf16_instructions": has_fast_bf16(),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "load_average_before": os.getloadavg()[0],
        "threads": {},
    }
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        found = {"inpainter": inpainter(options.data, options.rounds)}
        for size in (128, 192):
            for name, changes in SEGMENTERS.items():
                found[f"{name}, {size} px"] = segmenter(options.data, size, changes, options.rounds)
        result["threads"][threads] = found
        for name, row in found.items():
            print(
                f"{threads} threads, {name}: {', '.join(f'{key} {value:.3g}' for key, value in row.items())}",
                flush=True,
            )
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
