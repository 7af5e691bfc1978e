"""The training loop: a step's randomness comes from (seed, step), so the same command resumes to the same weights."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from syndiff.documents import check_object, json_line, read_objects
from syndiff.errors import SyndiffError, unquoted
from syndiff.files import append_json, write_bytes
from syndiff.models.hardware import has_fast_bf16
from syndiff.models.stored import DESCRIPTION, read_description
from syndiff.models.tensors import check_fit
from syndiff.training.batches import Batches, derived_seed, split_batch
from syndiff.training.checkpoints import (
    find_checkpoint,
    go_on_from,
    load_state,
    save_checkpoint,
)
from syndiff.training.ema import MovingAverage
from syndiff.training.optimizer_state import pack_optimizer, unpack_optimizer
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
        """Everything trained, as optimiser groups: `params` and `lr_scale`, a factor on the learning rate.

        A group with `averaged` False is left out of the moving average.
        """

    def batch(self, step: int, *, process: int, processes: int) -> Sequence[Any]:
        """As `batches.Source` says; what a model needs none of is empty."""

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
    if warning := check_machine(settings):
        log.warning(warning)
    state = _Training(run, task, settings, seed)
    bar = tqdm(
        total=settings.steps * settings.batch_size,
        initial=state.step * settings.batch_size,
        unit="image",
        desc=run.name,
        disable=not (progress and state.is_main),
    )
    if state.is_fresh and task.begins_trained:
        state.validate()
    last = min(settings.steps, stop_after or settings.steps)
    with closing(state.batches):
        while state.step < last:
            losses, loss, rate = state.advance()
            step, is_end = state.step, state.step == settings.steps
            bar.update(settings.batch_size)
            if step % 10 == 0 or is_end:
                bar.set_postfix({"loss": f"{loss:.3f}", **state.shown_best()}, refresh=False)
                images, seconds = step * settings.batch_size, round(state.seconds, 2)
                state.journal.write(step=step, images=images, loss=loss, losses=losses, lr=rate, seconds=seconds)
            score, improved = None, False
            if step % settings.validate_every == 0 or is_end:
                score = state.validate()
                improved = state.improve(score)
            if improved or step % settings.checkpoint_every == 0 or step == last:
                state.save(score, best=improved)
    bar.close()
    state.accelerator.wait_for_everyone()
    best_checkpoint = find_checkpoint(run, "best") or find_checkpoint(run, "last")
    assert best_checkpoint is not None  # the last step always leaves one
    return best_checkpoint


class _Training:
    """One training as far as it is: what is trained and how, its step, and the way into a checkpoint and back."""

    def __init__(self, run: Path, task: Task, settings: OptimisationSettings, seed: int) -> None:
        """At the start, or where an earlier run left off."""
        self.run, self.task, self.settings, self.seed = run, task, settings, seed
        self.accelerator = this_process()
        self.batches = Batches(task, self.accelerator)
        self.is_main = self.accelerator.is_main_process
        self.objective, self.optimizer = self.accelerator.prepare(task.objective, make_optimizer(task, settings))
        groups = self.optimizer.param_groups
        live_only = [p for group in groups if not group.get("averaged", True) for p in group["params"]]
        self.average = MovingAverage(task.model, settings.ema_decay, but=live_only)  # empty where the decay is 0
        self.step, self.seconds, self.best, lines = 0, 0.0, -math.inf, None
        checkpoint = go_on_from(run, tidies=self.is_main)
        self.is_fresh = checkpoint is None
        if checkpoint is not None:
            lines = self._resume(checkpoint)
        self.journal = Journal(run / "metrics.jsonl", -1 if self.is_fresh else self.step, lines, writes=self.is_main)
        self.objective.train()

    def _resume(self, checkpoint: Path) -> int | None:
        """Go on from a checkpoint; returns how many lines metrics.jsonl had there, None where it does not say."""
        check_same_model(checkpoint, self.task.describe(step=0, score=None))
        tensors, stored = load_state(checkpoint)
        live, averaged = _part(tensors, "live."), _part(tensors, "ema.")
        check_fit(checkpoint / "training_state", live, self.task.state())
        check_fit(checkpoint / "training_state", averaged, self.average.average)
        self.task.model.load_state_dict(live, strict=False)
        self.average.load(averaged)
        unpack_optimizer(self.optimizer, tensors, checkpoint)
        self.step, self.seconds = stored["step"], stored["seconds"]
        self.best = -math.inf if stored.get("best") is None else self.task.score_sign * stored["best"]
        return stored.get("journal_lines")

    def advance(self) -> tuple[dict[str, float], float, float]:
        """One optimiser step; returns the losses, their sum and the learning rate."""
        settings, started = self.settings, time.perf_counter()
        batch = self.batches.draw(self.step)
        rate = settings.learning_rate * rate_factor(self.step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        # dropout, where an encoder has it
        torch.manual_seed(derived_seed(self.seed, self.step, 2, self.accelerator.process_index))
        losses, loss, norm = backpropagate(self.objective, batch, self.optimizer, settings, self.accelerator)
        self.step += 1
        if not torch.isfinite(loss + norm):
            terms = ", ".join(f"{name} {value.item():.4g}" for name, value in {**losses, "gradient": norm}.items())
            raise self._not_finite(f"the loss of step {self.step} or its gradient is not finite ({terms})")
        self.optimizer.step()
        self.average.update(self.step)
        self.seconds += time.perf_counter() - started
        return {name: round(value.item(), 6) for name, value in losses.items()}, loss.item(), rate

    def validate(self) -> float:
        """The score of the average, or of the live weights where there is none."""
        self.average.swap()
        score, picture = self.task.validate()
        self.average.swap()
        if not math.isfinite(score):
            raise self._not_finite(f"the validation of step {self.step} gives {self.task.score_name} {score}")
        self.objective.train()
        self.journal.write(step=self.step, **{self.task.score_name: score})
        if picture and self.is_main:
            write_bytes(self.run / "pictures" / f"{self.step:06d}.png", picture)
        return score

    def improve(self, score: float) -> bool:
        """Whether a score is the best one so far."""
        signed = self.task.score_sign * score
        improved, self.best = signed > self.best, max(self.best, signed)
        return improved

    def shown_best(self) -> dict[str, str]:
        """The best score so far, for the progress bar."""
        return {} if self.best == -math.inf else {"best": f"{self.task.score_sign * self.best:.3f}"}

    def save(self, score: float | None, *, best: bool) -> None:
        """Write the checkpoint of this step."""
        if not self.is_main:
            return
        live, averaged = self.task.state(), self.average.average
        save_checkpoint(
            self.run,
            self.step,
            weights={**live, **averaged},
            description=self.task.describe(step=self.step, score=score),
            state={
                **{f"live.{name}": value for name, value in live.items()},
                **{f"ema.{name}": value for name, value in averaged.items()},
                **pack_optimizer(self.optimizer),
            },
            progress={
                "step": self.step,
                "seconds": self.seconds,
                "best": None if self.best == -math.inf else self.task.score_sign * self.best,
                "journal_lines": self.journal.lines,
            },
            best=best,
        )

    def _not_finite(self, what: str) -> SyndiffError:
        return SyndiffError(
            f"{self.run}: {what}. Lower learning_rate (now {self.settings.learning_rate}) or set precision to fp32; "
            "the checkpoints before this step are kept."
        )


def check_machine(settings: OptimisationSettings) -> str:
    """What to know about the precision here, as `check_precision` says it.

    `fit` asks too; whoever makes a run folder asks before, since what a folder was made with cannot be changed.

    Raises SyndiffError for a precision that the device does not have, and for a batch that the processes cannot share
    evenly.
    """
    processes = this_process().num_processes
    if settings.batch_size % (shares := processes * settings.accumulation):
        parts = f" x {settings.accumulation} parts" if settings.accumulation > 1 else ""
        raise SyndiffError(
            f"{settings.section}.batch_size is {settings.batch_size} and cannot be divided among {processes} "
            f"processes{parts}; make it a multiple of {shares}."
        )
    return check_precision(settings.precision)


def backpropagate(
    objective: torch.nn.Module,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    settings: OptimisationSettings,
    accelerator: Accelerator,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Leave the clipped gradient of one batch in the parameters; returns losses, their sum and the norm.

    A batch of several parts (`settings.accumulation`), or of several processes, has the mean of their losses and of
    their gradients.
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
    own = torch.stack([torch.stack([part[name] for part in parts]).sum() for name in parts[0]])
    losses = dict(zip(parts[0], accelerator.reduce(own, "mean"), strict=True))
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

    So is a last line that a kill cut short. `lines` is how many it had at that step, where that is known: fewer are
    warned of. Raises SyndiffError for other damage.
    """

    def __init__(self, path: Path, step: int, lines: int | None, *, writes: bool = True) -> None:
        self.path, self.writes, self.lines = path, writes, 0
        if writes:
            there = read_objects(path, {"step": int}, drop_cut=True) if path.is_file() else ()
            kept = [json_line(line) for line in there if line["step"] <= step]
            if lines is not None and len(kept) < lines:
                log.warning(
                    f"{path} has lost {lines - len(kept)} of the {lines} lines that it had at step {step}; the "
                    "training itself goes on whole."
                )
            write_bytes(path, b"".join(kept))
            self.lines = len(kept)

    def write(self, **entry: Any) -> None:
        """Append one line."""
        if self.writes:
            append_json(self.path, entry)
            self.lines += 1


def rate_factor(step: int, settings: OptimisationSettings) -> float:
    """Linear warm-up, then a cosine to zero or a constant, as a factor on the rate; `step` counts from 0."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.lr_schedule == "constant":
        return 1.0
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(task: Task, settings: OptimisationSettings) -> torch.optim.AdamW:
    """AdamW over everything that the task trains."""
    groups = task.parameter_groups()
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def check_precision(precision: str) -> str:
    """What to know about a precision on this machine, empty where there is nothing to say.

    Raises SyndiffError for bf16 on a GPU without it.
    """
    if precision != "bf16" or has_fast_bf16():
        return ""
    if torch.cuda.is_available():
        raise SyndiffError(
            f"training setting precision: {torch.cuda.get_device_name()} has no bf16 (NVIDIA has it from Ampere on). "
            "Set training.precision to fp32, or to auto, which takes what the hardware has."
        )
    return (
        "training.precision is bf16, which this CPU emulates: the results are those of bf16, and fp32 is faster. "
        "Set training.precision to auto to take what the hardware has."
    )


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass; accelerate's own precision cannot change again within a process."""
    bf16 = has_fast_bf16() if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
