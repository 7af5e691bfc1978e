"""The paper's networks at full size, with random weights: one training step and one prediction, time and peak memory.

Run by hand: `python benchmarks/paper_step.py > results/paper-and-sdxl/paper_training_step_and_prediction.json`. Takes
minutes and 8 GiB of memory; random weights serve for both, and no weights are downloaded. One process for each
measurement, so that each peak is its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.data.loading import CaseArrays
from syndiff.models.autoencoder import KL_F8
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import initialise
from syndiff.pipeline.run import peak_memory_gib
from syndiff.training.batches import Batches
from syndiff.training.ema import MovingAverage
from syndiff.training.loop import backpropagate, make_optimizer
from syndiff.training.run_folder import environment
from syndiff.training.segmentation import SegmentationTask

TIMESTEPS = {
    "T-1, one step": (-1, 1),
    "t=50, one step": (50, 1),
    "T-1, 25 DDIM steps": (-1, 25),
    "T-1, 50 DDIM steps": (-1, 50),
}
PARTS = ("prediction", "training_step")


def settings(autoencoder: str) -> Settings:
    """The preset, but for what weights cost to fetch and bf16, which this CPU would only emulate."""
    changes = ["training.precision=auto", f"model.autoencoder={autoencoder}"]
    return load_settings("paper", overrides=changes)


def training_step(autoencoder: str, batch: int) -> dict[str, object]:
    """Draw, forward, backward, AdamW, moving average: what `fit` does in a step."""
    chosen = settings(autoencoder)
    training = replace(chosen.training, batch_size=max(2, batch))
    size = chosen.model.image_size
    generator = torch.Generator().manual_seed(0)
    cases = CaseArrays(
        tuple("abcd"),
        torch.randint(0, 255, (4, 3, size, size), generator=generator, dtype=torch.uint8),
        torch.randint(0, 2, (4, 1, size, size), generator=generator, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.int64),
    )
    task = SegmentationTask(chosen.model, training, chosen.augmentation, train_cases=cases, seed=0)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    optimizer = make_optimizer(task, training)
    average, batches = MovingAverage(task.model, training.ema_decay), Batches(task, accelerator)
    task.objective.train()
    before = peak_memory_gib()
    seconds, cpu_seconds = [], []
    for step in range(2):  # the second one has AdamW's moments
        started, busy = time.perf_counter(), time.process_time()
        _, loss, norm = backpropagate(task.objective, batches.draw(step), optimizer, training, accelerator)
        optimizer.step()
        average.update(step + 1)
        seconds.append(round(time.perf_counter() - started, 1))
        cpu_seconds.append(round(time.process_time() - busy, 1))
        assert torch.isfinite(loss + norm)
    return {
        "batch": training.batch_size,
        "gradient_checkpointing": training.gradient_checkpointing,
        "trained_parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "peak_memory_gib_before_the_first_step": round(before, 2),
    }


def prediction(autoencoder: str, batch: int) -> dict[str, object]:
    """One image of CVC-ClinicDB's size, after one to warm up, for each of TIMESTEPS."""
    chosen = settings(autoencoder).model
    image = np.random.default_rng(0).integers(0, 255, (288, 384, 3), dtype=np.uint8)
    model = initialise(chosen, 0)
    found: dict[str, object] = {}
    for name, (timestep, steps) in TIMESTEPS.items():
        model.settings = replace(chosen, inference_timestep=timestep, inference_steps=steps)
        predictor = SegmenterPredictor(model, chosen.image_size, name=name)
        if not found:
            predictor.predict(image, case_id="a")
        stages = predictor.predict(image, case_id="a").seconds
        found[name] = {"seconds": round(sum(stages.values()), 2), **{k: round(v, 2) for k, v in stages.items()}}
    return {**found, "peak_memory_gib": round(peak_memory_gib(), 2)}


def main() -> None:
    """Measure in processes of their own and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--autoencoder", help=argparse.SUPPRESS)  # folder that the first process wrote
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(globals()[arguments.only](arguments.autoencoder, arguments.batch)))
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        AutoencoderKL(**KL_F8).save_pretrained(Path(folder) / "kl-f8")
        result: dict[str, dict] = {"environment": environment()}
        for only in arguments.parts:
            command = [sys.executable, __file__, "--only", only, "--batch", str(arguments.batch)]
            done = subprocess.run(
                [*command, "--autoencoder", str(Path(folder) / "kl-f8")], check=True, capture_output=True, text=True
            )
            result[only] = json.loads(done.stdout.splitlines()[-1])
            result[only]["load_average_after"] = os.getloadavg()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
