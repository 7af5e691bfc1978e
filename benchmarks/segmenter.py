"""Speed and memory of the segmenter beside its control, its many-step self and the paper's network, in one run.

    python benchmarks/segmenter.py --out results/segmenter-speed/preset_all_parts.json

Random weights serve: the time of a network does not depend on them. Every measurement is a process of its own, so that
each peak of memory is its own; what is compared takes turns within one process. Targets: one image end to end at most
1.2 times the control's time and at most a hundredth of the paper's network's; training at 0.8 times the control's
images a second or more; under 4 GB of memory in training and 1.5 GB in prediction. `--only` chooses parts; `paper`
takes a few minutes and 5 GiB. `--set` tries other settings of the preset compact. The machine should have nothing else
to do: its load at the beginning is in the result.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.data.loading import CaseArrays
from syndiff.evaluation.timing import time_predictors
from syndiff.files import write_json
from syndiff.models.folding import fold_batch_norms
from syndiff.models.hardware import channels_last
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.pipeline.run import peak_memory_gib
from syndiff.training.loop import Task, fit
from syndiff.training.planning import step_seconds
from syndiff.training.run_folder import environment
from syndiff.training.segmentation import SegmentationTask

STEPS = (1, 25, 50)
PARTS = ("prediction", "folding", "sampling", "throughput", "training_memory", "prediction_memory", "paper")


def image() -> NDArray[np.uint8]:
    """A frame of 256 x 256 pixels."""
    return np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)


def predictor(settings: SegmenterSettings, name: str, tta: int = 1) -> SegmenterPredictor:
    """A segmenter of random weights."""
    return SegmenterPredictor(initialise(settings, 0), settings.image_size, name=name, tta=tta)


def medians(predictors: list[SegmenterPredictor], repeats: int) -> dict[str, Any]:
    """Milliseconds of an image, in turns, by name."""
    timings = time_predictors(predictors, image(), repeats=repeats, warmup=2)
    return {timing["predictor"]: timing["milliseconds"] for timing in timings}


def prediction(settings: Settings) -> dict[str, Any]:
    """One view and all views of the preset, segmenter and control."""
    model = replace(settings.model, pretrained=False)
    kinds = {"segmenter": model, "control": replace(model, kind="control")}
    views = sorted({1, model.inference_tta})
    found = medians(
        [predictor(chosen, f"{name}, {n} views", n) for n in views for name, chosen in kinds.items()], repeats=20
    )
    ratios = {
        f"{n} views": found[f"segmenter, {n} views"]["total"]["median"]
        / found[f"control, {n} views"]["total"]["median"]
        for n in views
    }
    return {"milliseconds": found, "ratio_to_control": ratios}


@torch.inference_mode()
def folding(settings: Settings) -> dict[str, Any]:
    """The networks with their batch normalisations and without, in turns: milliseconds of one view and of eight."""
    found: dict[str, Any] = {}
    size = settings.model.image_size
    for kind in ("diffusion", "control"):
        plain = initialise(replace(settings.model, kind=kind, pretrained=False), 0).eval()
        networks = {"plain": plain, "folded": channels_last(fold_batch_norms(plain))}
        for views in (1, 8):
            image = torch.rand(views, 3, size, size).contiguous(memory_format=torch.channels_last)
            inputs = (image, torch.randn(views, *plain.noise_shape(size, size)))
            seconds: dict[str, list[float]] = {name: [] for name in networks}
            for _ in range(24):
                for name, network in networks.items():
                    begin = time.perf_counter()
                    network(*inputs)
                    seconds[name].append(time.perf_counter() - begin)
            medians = {name: 1000 * statistics.median(values[4:]) for name, values in seconds.items()}
            found[f"{kind}, {views} views"] = {**medians, "ratio": medians["folded"] / medians["plain"]}
    return found


def sampling(settings: Settings) -> dict[str, Any]:
    """One step against many of the same weights."""
    model = replace(settings.model, pretrained=False)
    found = medians([predictor(replace(model, inference_steps=n), str(n)) for n in STEPS], repeats=10)
    return {
        "milliseconds": found,
        "ratio_to_one_step": {
            str(n): found[str(n)]["total"]["median"] / found["1"]["total"]["median"] for n in STEPS[1:]
        },
    }


def tasks(settings: Settings, *kinds: Literal["control", "diffusion"]) -> dict[str, Task]:
    """The preset's training of each of `kinds`, on random cases."""
    size = settings.model.image_size
    generator = torch.Generator().manual_seed(0)
    cases = CaseArrays(
        tuple(str(i) for i in range(64)),
        torch.randint(0, 255, (64, 3, size, size), generator=generator, dtype=torch.uint8),
        torch.randint(0, 2, (64, 1, size, size), generator=generator, dtype=torch.uint8),
        torch.zeros(64, dtype=torch.int64),
    )
    return {
        kind: SegmentationTask(
            replace(settings.model, kind=kind, pretrained=False),
            settings.training,
            settings.augmentation,
            train_cases=cases,
            val_cases=cases,
            seed=0,
        )
        for kind in kinds
    }


def throughput(settings: Settings) -> dict[str, Any]:
    """Images a second at the preset's batch, in its coarse and in its full-size part."""
    found: dict[str, Any] = {}
    for part, first in (("coarse", 0), ("full size", settings.training.steps)):
        seconds = step_seconds(tasks(settings, "control", "diffusion"), settings.training, first=first)
        rates = {kind: settings.training.batch_size / value for kind, value in seconds.items()}
        found[part] = {"images_a_second": rates, "ratio_to_control": rates["diffusion"] / rates["control"]}
    return found


def training_memory(settings: Settings) -> dict[str, Any]:
    """Peak of a whole training of a few steps, with its validation and checkpoint."""
    training = replace(settings.training, steps=6, coarse_share=0.0, validate_every=3)
    task = tasks(replace(settings, training=training), "diffusion")["diffusion"]
    with tempfile.TemporaryDirectory() as folder:
        fit(Path(folder) / "run", task, training, seed=0, progress=False)
    return {"peak_memory_gib": peak_memory_gib()}


def prediction_memory(settings: Settings) -> dict[str, Any]:
    """Peak of a process that predicts with the preset's views."""
    model = replace(settings.model, pretrained=False)
    predictor(model, "segmenter", model.inference_tta).predict(image(), case_id="a")
    return {"peak_memory_gib": peak_memory_gib()}


def paper(settings: Settings) -> dict[str, Any]:
    """The paper's network and the preset's, one image and one step each, in turns."""
    from diffusers import AutoencoderKL

    from syndiff.models.autoencoder import KL_F8

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        AutoencoderKL(**KL_F8).save_pretrained(Path(folder) / "kl-f8")
        full = load_settings("paper", overrides=[f"model.autoencoder={folder}/kl-f8"]).model
        large = predictor(replace(full, inference_timestep=-1), "paper")
        small = predictor(replace(settings.model, pretrained=False), "compact")
        found = medians([large, small], repeats=3)
    ratio = found["paper"]["total"]["median"] / found["compact"]["total"]["median"]
    return {"milliseconds": found, "times_faster": ratio, "peak_memory_gib": peak_memory_gib()}


def main() -> None:
    """Measure each part in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--set", nargs="+", default=[], help="settings that replace those of the preset compact")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(globals()[options.part](load_settings("compact", overrides=options.set))))
        return
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        "load_average_before": os.getloadavg()[0],
    }
    for part in options.only:
        command = [sys.executable, __file__, "--part", part, *(["--set", *options.set] if options.set else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result[part] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
