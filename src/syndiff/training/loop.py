"""The training loop: a step's randomness comes from (seed, step), so the same command resumes to the same weights."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from syndiff.documents import check_object, read_objects
from syndiff.errors import SyndiffError, unquoted
from syndiff.files import write_bytes, write_text
from syndiff.models.hardware import has_fast_bf16
from syndiff.models.stored import DESCRIPTION, read_description
from syndiff.models.tensors import check_fit
from syndiff.training.checkpoints import (
    find_checkpoint,
    go_on_from,
    load_state,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from syndiff.training.ema import MovingAverage
from syndiff.training.run_folder import this_process
from syndiff.training.settings import OptimisationSettings

log = logging.getLogger("syndiff")


class Validation(NamedTuple):
    """How good a model is, and a PNG that shows it, where its task makes one."""

    score: float
    picture: bytes | None = None


class Task(Protocol):
    """What is trained: a model, its losses, and how good it is. Seeds of steps come from `derived_seed`."""

    score_name: str
    """What metrics.jsonl calls the score of a validation."""
    score_sign: int
    """1 where a higher score is better, -1 where a lower one is."""
    begins_trained: bool
    """Whether the model is of use before the first step, so that it is validated then as well, beside the selection."""

    @property
    def model(self) -> nn.Module:
        """What is trained, and what is frozen beside it."""

    def state(self) -> dict[str, Tensor]:
        """The tensors of `model` that are stored, and gone on from: all that it cannot be rebuilt without."""

    @property
    def objective(self) -> nn.Module:
        """A batch -> named, weighted, scalar losses; their sum is minimised."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Everything trained, as optimiser groups: `params` and `rate_scale`, a factor on the learning rate.

        A group with `averaged` False is left out of the moving average.
        """

    def batch(self, step: int, *, process: int, processes: int) -> Sequence[Any]:
        """This process's share of the batch of `step`, on the CPU: a named tuple of tensors and tuples, a row a case.

        What a model needs none of is empty.
        """

    def validate(self) -> Validation:
        """The score of the weights that the model holds now."""

    def describe(self, *, step: int, score: float | None) -> dict[str, Any]:
        """The JSON beside the weights: all that rebuilds the model and its use; its sections say what it is."""


def fit(
    run: Path,
    task: Task,
    settings: OptimisationSettings,
    *,
    seed: int,
    stop_after: int | None = None,
    progress: bool = True,
) -> Path:
    """Train to `settings.steps` or go on from the last checkpoint in `run`; returns the best checkpoint's folder.

    Selection is by the task's score. `stop_after` leaves the run early, at a checkpoint after that step, as a kill
    would; the schedule stays that of `settings.steps`. Pictures of validations go to pictures/<step>.png.

    Raises SyndiffError when a loss is not finite, naming the step and the terms, for a precision that the device does
    not have, and for a batch that several processes cannot share evenly.
    """
    # 1. Everything that is trained, and how.
    if warning := check_machine(settings):
        log.warning(warning)
    accelerator = this_process()
    model = task.model
    objective, optimizer = accelerator.prepare(task.objective, make_optimizer(task, settings))
    live_only = [p for group in optimizer.param_groups if not group.get("averaged", True) for p in group["params"]]
    average = MovingAverage(model, settings.ema_decay, but=live_only)  # empty where the decay is 0

    # 2. Where an earlier run left off.
    step, seconds, best = 0, 0.0, -math.inf
    checkpoint = go_on_from(run, tidies=accelerator.is_main_process)
    if checkpoint is not None:
        check_same_model(checkpoint, task.describe(step=0, score=None))
        tensors, stored = load_state(checkpoint)
        live, averaged = _part(tensors, "live."), _part(tensors, "ema.")
        check_fit(checkpoint / "training_state", live, task.state())
        check_fit(checkpoint / "training_state", averaged, average.average)
        model.load_state_dict(live, strict=False)
        average.load(averaged)
        unpack_optimizer(optimizer, tensors, checkpoint)
        step, seconds = stored["step"], stored["seconds"]
        best = -math.inf if stored.get("best") is None else task.score_sign * stored["best"]
    journal = Journal(run / "metrics.jsonl", step if checkpoint else -1, writes=accelerator.is_main_process)

    def validate() -> float:
        average.swap()
        score, picture = task.validate()
        average.swap()
        if not math.isfinite(score):
            raise SyndiffError(
                f"{run}: the validation of step {step} gives {task.score_name} {score}. Lower learning_rate (now "
                f"{settings.learning_rate}) or set precision to fp32; the checkpoints before this step are kept."
            )
        objective.train()
        journal.write(step=step, **{task.score_name: score})
        if picture and accelerator.is_main_process:
            write_bytes(run / "pictures" / f"{step:06d}.png", picture)
        return score

    # 3. The steps.
    bar = tqdm(
        total=settings.steps * settings.batch_size,
        initial=step * settings.batch_size,
        unit="image",
        desc=run.name,
        disable=not (progress and accelerator.is_main_process),
    )
    if checkpoint is None and task.begins_trained:
        validate()
    objective.train()
    last = min(settings.steps, stop_after or settings.steps)
    while step < last:
        started = time.perf_counter()
        batch = draw_batch(task, step, accelerator)
        rate = settings.learning_rate * rate_factor(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_scale"]
        # dropout, where an encoder has it
        torch.manual_seed(derived_seed(seed, step, 2, accelerator.process_index))
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
            shown = {} if best == -math.inf else {"best": f"{task.score_sign * best:.3f}"}
            bar.set_postfix({"loss": f"{loss.item():.3f}", **shown}, refresh=False)
            images = step * settings.batch_size
            journal.write(step=step, images=images, loss=loss.item(), losses=values, lr=rate, seconds=round(seconds, 2))
        score, improved = None, False
        if step % settings.validate_every == 0 or step == settings.steps:
            score = validate()
            improved = task.score_sign * score > best
            best = max(best, task.score_sign * score)
        if accelerator.is_main_process and (improved or step % settings.checkpoint_every == 0 or step == last):
            save_checkpoint(
                run,
                step,
                weights={**task.state(), **average.average},
                description=task.describe(step=step, score=score),
                state={
                    **{f"live.{name}": value for name, value in task.state().items()},
                    **{f"ema.{name}": value for name, value in average.average.items()},
                    **pack_optimizer(optimizer),
                },
                progress={
                    "step": step,
                    "seconds": seconds,
                    "best": None if best == -math.inf else task.score_sign * best,
                },
                best=improved,
            )
    bar.close()
    accelerator.wait_for_everyone()
    best_checkpoint = find_checkpoint(run, "best") or find_checkpoint(run, "last")
    assert best_checkpoint is not None  # the last step always leaves one
    return best_checkpoint


def check_machine(settings: OptimisationSettings) -> str:
    """What to know about the precision here, as `check_precision` says it.

    `fit` asks too; whoever makes a run folder asks before, since what a folder was made with cannot be changed.

    Raises SyndiffError for a precision that the device does not have, and for a batch that the processes cannot share
    evenly.
    """
    processes = this_process().num_processes
    if settings.batch_size % (shares := processes * settings.accumulation):
        raise SyndiffError(
            f"{settings.section} setting batch_size: {settings.batch_size} cannot be divided among {processes} "
            f"processes x {settings.accumulation} parts; make it a multiple of {shares}."
        )
    return check_precision(settings.precision)


def split_batch(batch: Any, count: int) -> list[Any]:
    """A batch in `count` equal parts."""
    size = max(map(len, batch)) // count
    return [type(batch)(*(value[i * size : (i + 1) * size] for value in batch)) for i in range(count)]


def draw_batch(task: Task, step: int, accelerator: Accelerator) -> Any:
    """This process's share of the batch of `step`, on its device."""
    batch = task.batch(step, process=accelerator.process_index, processes=accelerator.num_processes)
    return moved(batch, accelerator.device)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on `device`."""
    return type(batch)(*(value.to(device) if isinstance(value, Tensor) else value for value in batch))


def backpropagate(
    objective: torch.nn.Module,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    settings: OptimisationSettings,
    accelerator: Accelerator,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Leave the clipped gradient of one batch in the parameters; returns losses, their sum and the norm.

    A batch of several parts (`settings.accumulation`) has the mean of their losses and of their gradients.
    """
    parts: list[dict[str, Tensor]] = []
    for part in split_batch(batch, settings.accumulation):
        with autocast(settings.precision, accelerator.device):
            weighted = {name: value / settings.accumulation for name, value in objective(part).items()}
            loss = torch.stack(list(weighted.values())).sum()
        if not parts:
            optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        parts.append({name: value.detach() for name, value in weighted.items()})
    losses = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
    norm = accelerator.clip_grad_norm_(objective.parameters(), settings.grad_clip)
    return losses, torch.stack(list(losses.values())).sum(), norm


def check_same_model(checkpoint: Path, described: dict[str, Any]) -> None:
    """Raise SyndiffError unless `checkpoint` was written by the model and the autoencoder that are `described`."""
    stored = read_description(checkpoint, {})
    for section in ("model", "autoencoder"):
        before = check_object(f"{checkpoint / DESCRIPTION}: {section}", stored.get(section, {}), {})
        now = described.get(section, {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                there, here = (unquoted(each[name]) if name in each else "absent" for each in (before, now))
                raise SyndiffError(
                    f"{checkpoint} cannot be continued: {section} {name} was {there} there and is {here} now. Use what "
                    "it was made with, or another run folder."
                )


class Journal:
    """metrics.jsonl: one JSON object a line; lines after the step a run resumes from are dropped first.

    So is a last line that a kill cut short. Raises SyndiffError for other damage.
    """

    def __init__(self, path: Path, step: int, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        if writes:
            if step > 0 and not path.is_file():
                log.warning(f"{path} is missing; what it said of the steps up to {step} is lost, and it begins anew.")
            lines = read_objects(path, {"step": int}, drop_cut=True) if path.is_file() else ()
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= step))

    def write(self, **entry: Any) -> None:
        """Append one line."""
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")


def rate_factor(step: int, settings: OptimisationSettings) -> float:
    """Linear warm-up, then a cosine to zero or a constant, as a factor on the rate; `step` counts from 0."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.lr_schedule == "constant":
        return 1.0
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def case_indices(cases: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The cases of one step: consecutive parts of a stream of permutations, one for each epoch."""
    wanted = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng([seed, 0, epoch]).permutation(cases) for epoch in {i // cases for i in wanted}
    }
    return [int(orders[i // cases][i % cases]) for i in wanted]


def derived_seed(seed: int, step: int, purpose: int, process: int) -> int:
    """One of the independent seeds of a step: the same numbers after a resume."""
    return int(np.random.SeedSequence([seed, step, purpose, process]).generate_state(1)[0])


def make_optimizer(task: Task, settings: OptimisationSettings) -> torch.optim.AdamW:
    """AdamW over everything that the task trains."""
    groups = task.parameter_groups()
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def check_precision(precision: str) -> str:
    """What to know about a precision on this machine, empty where there is nothing to say.

    Raises SyndiffError for bf16 on a graphics card without it.
    """
    if precision != "bf16" or has_fast_bf16():
        return ""
    if torch.cuda.is_available():
        raise SyndiffError(
            f"training setting precision: {torch.cuda.get_device_name()} has no bf16 (NVIDIA has it from Ampere on). "
            "Set training.precision to fp32, or to auto, which takes what the hardware has."
        )
    return (
        "training.precision is bf16, which this processor emulates: the results are those of bf16, and fp32 is faster. "
        "Set training.precision to auto to take what the hardware has."
    )


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass; accelerate's own precision cannot change again within a process."""
    bf16 = has_fast_bf16() if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
