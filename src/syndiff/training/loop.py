"""The training loop: a step's randomness comes from (seed, step), so the same command resumes to the same weights."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from syndiff.data.augmentation import Augmentation, AugmentationSettings
from syndiff.data.loading import CaseArrays
from syndiff.errors import SyndiffError
from syndiff.files import read_json, write_text
from syndiff.models.control import ControlUNet
from syndiff.models.hardware import has_fast_bf16
from syndiff.models.prediction import mean_dice, model_description
from syndiff.models.segmenter import DiffusionSegmenter, SegmenterSettings, initialise, trainable_state
from syndiff.models.tensors import check_fit
from syndiff.training.checkpoints import (
    find_checkpoint,
    load_state,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from syndiff.training.ema import MovingAverage
from syndiff.training.objective import Batch, SegmentationObjective, draw_randomness
from syndiff.training.settings import TrainingSettings

Model = DiffusionSegmenter | ControlUNet


def train(
    run: Path,
    *,
    model_settings: SegmenterSettings,
    settings: TrainingSettings,
    augmentation: AugmentationSettings,
    train_cases: CaseArrays,
    val_cases: CaseArrays,
    seed: int,
    stop_after: int | None = None,
    progress: bool = True,
) -> Path:
    """Train to `settings.steps` or go on from the last checkpoint in `run`; returns the best checkpoint's folder.

    Selection is by mean Dice on `val_cases` at the model's resolution. `stop_after` leaves the run early, at a
    checkpoint after that step, as a kill would; the schedule stays that of `settings.steps`.

    Raises SyndiffError when a loss is not finite, naming the step and the terms.
    """
    # 1. Everything that is trained, and how.
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    model = initialise(model_settings, seed)
    objective = SegmentationObjective(model, settings)
    optimizer = make_optimizer(model, settings)
    objective, optimizer = accelerator.prepare(objective, optimizer)
    average = MovingAverage(model, settings.ema)
    augment = Augmentation(augmentation)

    # 2. Where an earlier run left off.
    step, seconds, best = 0, 0.0, -1.0
    checkpoint = find_checkpoint(run, "last")
    if checkpoint is not None:
        check_same_model(checkpoint, model_description(model_settings, model, step=0, val_dice=None))
        tensors, stored = load_state(checkpoint)
        live, averaged = _part(tensors, "live."), _part(tensors, "ema.")
        check_fit(checkpoint / "training_state", live, trainable_state(model))
        check_fit(checkpoint / "training_state", averaged, average.average)
        model.load_state_dict({**model.state_dict(), **live})
        average.load(averaged)
        unpack_optimizer(optimizer, tensors)
        step, seconds, best = stored["step"], stored["seconds"], stored["best"]
    journal = Journal(run / "metrics.jsonl", step, writes=accelerator.is_main_process)

    # 3. The steps.
    bar = tqdm(
        total=settings.steps * settings.batch_size,
        initial=step * settings.batch_size,
        unit="image",
        desc=run.name,
        disable=not (progress and accelerator.is_main_process),
    )
    objective.train()
    last = min(settings.steps, stop_after or settings.steps)
    while step < last:
        started = time.perf_counter()
        batch = make_batch(train_cases, model, model_settings, settings, augment, seed, step, accelerator)
        rate = settings.learning_rate * rate_factor(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_scale"]
        torch.manual_seed(_seed(seed, step, 2, accelerator.process_index))  # dropout, where an encoder has it
        losses, loss, norm = backpropagate(objective, batch, optimizer, settings, accelerator)
        step += 1
        if not torch.isfinite(loss + norm):
            terms = ", ".join(f"{name} {value.item():.4g}" for name, value in {**losses, "gradient": norm}.items())
            raise SyndiffError(
                f"{run}: the loss of step {step} or its gradient is not finite ({terms}). Lower learning_rate (now "
                f"{settings.learning_rate}) or set precision to fp32; the checkpoints before this step are kept."
            )
        optimizer.step()
        average.update(step)
        seconds += time.perf_counter() - started
        bar.update(settings.batch_size)
        if step % 10 == 0 or step == settings.steps:
            values = {name: round(value.item(), 6) for name, value in losses.items()}
            bar.set_postfix(loss=f"{loss.item():.3f}", best=f"{max(best, 0):.3f}", refresh=False)
            images = step * settings.batch_size
            journal.write(step=step, images=images, loss=loss.item(), losses=values, lr=rate, seconds=round(seconds, 2))
        dice, improved = None, False
        if step % settings.validate_every == 0 or step == settings.steps:
            average.swap()
            dice = mean_dice(model, val_cases, batch_size=settings.batch_size)
            average.swap()
            objective.train()
            improved = dice > best
            best = max(best, dice)
            journal.write(step=step, val_dice=dice)
        if accelerator.is_main_process and (improved or step % settings.checkpoint_every == 0 or step == last):
            save_checkpoint(
                run,
                step,
                weights={**trainable_state(model), **average.average},
                description=model_description(model_settings, model, step=step, val_dice=dice),
                state={
                    **{f"live.{name}": value for name, value in trainable_state(model).items()},
                    **{f"ema.{name}": value for name, value in average.average.items()},
                    **pack_optimizer(optimizer),
                },
                progress={"step": step, "seconds": seconds, "best": best},
                best=improved,
            )
    bar.close()
    accelerator.wait_for_everyone()
    best_checkpoint = find_checkpoint(run, "best") or find_checkpoint(run, "last")
    assert best_checkpoint is not None  # the last step always leaves one
    return best_checkpoint


def backpropagate(
    objective: torch.nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    accelerator: Accelerator,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Leave the clipped gradient of one batch in the parameters; returns losses, their sum and the norm."""
    with autocast(settings.precision, accelerator.device):
        losses = objective(batch)
        loss = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(objective.parameters(), settings.clip)
    return losses, loss, norm


def check_same_model(checkpoint: Path, described: dict[str, Any]) -> None:
    """Raise SyndiffError unless `checkpoint` was written by the model and the autoencoder that are `described`."""
    stored = read_json(checkpoint / "model.json")
    for section in ("model", "autoencoder"):
        before, now = stored.get(section, {}), described.get(section, {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise SyndiffError(
                    f"{checkpoint} cannot be continued: {section} {name} was {before.get(name, 'absent')} there and is "
                    f"{now.get(name, 'absent')} now. Use what it was made with, or another run folder."
                )


class Journal:
    """metrics.jsonl: one JSON object a line; lines after the step a run resumes from are dropped first."""

    def __init__(self, path: Path, step: int, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        if writes:
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
            write_text(path, "".join(line + "\n" for line in lines if _step_of(line) <= step))

    def write(self, **entry: Any) -> None:
        """Append one line."""
        if self.writes:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return math.inf  # cut in the middle by a kill


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to zero; `step` counts from 0."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def case_indices(cases: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The cases of one step: consecutive parts of a stream of permutations, one for each epoch."""
    wanted = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng([seed, 0, epoch]).permutation(cases) for epoch in {i // cases for i in wanted}
    }
    return [int(orders[i // cases][i % cases]) for i in wanted]


def make_batch(
    cases: CaseArrays,
    model: Model,
    model_settings: SegmenterSettings,
    settings: TrainingSettings,
    augment: Augmentation,
    seed: int,
    step: int,
    accelerator: Accelerator,
) -> Batch:
    """This process's share of the batch of `step`, augmented, with its noise and timesteps, on its device."""
    indices = case_indices(len(cases), settings.batch_size, seed, step)
    indices = indices[accelerator.process_index :: accelerator.num_processes]
    image, mask = augment(
        cases.images[indices].float() / 255,
        cases.masks[indices].float(),
        seed=_seed(seed, step, 0, accelerator.process_index),
    )
    generator = torch.Generator().manual_seed(_seed(seed, step, 1, accelerator.process_index))
    noise, timestep = draw_randomness(
        model, len(indices), model_settings.image_size, settings.inference_share, generator
    )
    image = image.contiguous(memory_format=torch.channels_last)
    return Batch(*(value.to(accelerator.device) for value in (image, mask, noise, timestep)))


def _seed(seed: int, step: int, purpose: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, purpose, process]).generate_state(1)[0])


def make_optimizer(model: Model, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over everything trained; the pretrained backbone has a rate of its own."""
    backbone = set(_backbone(model))
    groups = [
        {
            "params": [p for p in model.parameters() if p.requires_grad and p not in backbone],
            "rate_scale": 1.0,
        },
        {"params": [p for p in _backbone(model) if p.requires_grad], "rate_scale": settings.backbone_rate},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True)


def _backbone(model: Model) -> Iterator[torch.nn.Parameter]:
    return (model.backbone if isinstance(model, ControlUNet) else model.encoder.backbone).parameters()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass; accelerate's own precision cannot change again within a process."""
    bf16 = has_fast_bf16() if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
