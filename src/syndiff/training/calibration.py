"""How long a training step takes on this machine, so that two architectures can be given the same time."""

import statistics
import time
from dataclasses import replace

import torch
from accelerate import Accelerator

from syndiff.data.augmentation import Augmentation, AugmentationSettings
from syndiff.data.loading import CaseArrays
from syndiff.models.segmenter import SegmenterSettings, initialise
from syndiff.training.loop import backpropagate, make_batch, make_optimizer
from syndiff.training.objective import SegmentationObjective
from syndiff.training.settings import TrainingSettings


def step_seconds(
    model_settings: SegmenterSettings,
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    cases: CaseArrays,
    *,
    repeats: int = 10,
    warmup: int = 3,
) -> dict[str, float]:
    """Median seconds of one optimiser step of the "control" and of the "diffusion" segmenter.

    Real steps on throw-away models; the two take turns, so that a busy moment of the machine touches both.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    augment = Augmentation(augmentation)
    makers = {}
    for kind in ("control", "diffusion"):
        described = replace(model_settings, kind=kind)
        model = initialise(described, 0)
        optimizer = make_optimizer(model, settings)
        objective, optimizer = accelerator.prepare(SegmentationObjective(model, settings), optimizer)
        makers[kind] = (model, described, objective, optimizer)
    taken: dict[str, list[float]] = {kind: [] for kind in makers}
    for step in range(warmup + repeats):
        for kind, (model, described, objective, optimizer) in makers.items():
            started = time.perf_counter()
            batch = make_batch(cases, model, described, settings, augment, 0, step, accelerator)
            _, loss, _ = backpropagate(objective, batch, optimizer, settings, accelerator)
            optimizer.step()
            loss.item()  # waits for a device that works ahead
            if step >= warmup:
                taken[kind].append(time.perf_counter() - started)
    return {kind: statistics.median(values) for kind, values in taken.items()}
