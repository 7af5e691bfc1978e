"""One training of a study as a cell: done once, in its run folder, and scored on one side of its split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.data.splits import Split
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.settings import Kind
from syndiff.pipeline.provenance import folder_name
from syndiff.pipeline.training import plan_segmenters, train_segmenter
from syndiff.studies.choices import Side
from syndiff.studies.grid import Cell, Outcome
from syndiff.studies.scoring import case_scores, mean_case_dice
from syndiff.studies.shared import held, once
from syndiff.training.checkpoints import steps_done
from syndiff.training.planning import PLAN, Plan, read_plans

USED = ("model", "training", "augmentation")
"""Sections that a training depends on."""


class Added(Protocol):
    """Cases beside the real ones of the split."""

    def decides(self) -> Mapping[str, Any]:
        """What they depend on."""

    def make(self, *, progress: bool) -> None:
        """Make them, where they have to be made."""

    def cases(self, dataset: Dataset, split: Split) -> tuple[Dataset, Sequence[str]]:
        """Where they lie, and which of them."""


@dataclass(frozen=True)
class Planning:
    """The shared step that turns minutes into steps, once for all cells of a study, on this machine.

    A step of each kind of network is timed alone, with one worker's part of the threads.
    """

    study: Path
    data: Path
    split: Split
    settings: Settings
    kinds: tuple[Kind, ...]
    name: str = "plan"

    def decides(self) -> dict[str, Any]:
        """Nothing: what was measured counts, whatever a later measurement would say."""
        return {}

    def make(self, folder: Path, *, progress: bool) -> None:
        """Measure, and write `PLAN` into the folder of the study."""
        folder.mkdir(exist_ok=True)  # that it is there says that it was made
        size, detail = self.settings.model.image_size, self.settings.augmentation.detail
        cases = load_cases([(Dataset.open(self.data), self.split.train)], size, detail=detail)
        plan_segmenters(self.study / PLAN, self.settings, cases, self.kinds, told=progress)

    def plan(self, kind: Kind, *, progress: bool) -> Plan:
        """Of a kind of network."""
        once(self, progress=progress)
        return read_plans(self.study / PLAN, [kind])[kind]


@dataclass(frozen=True)
class Training:
    """A training with the cases of `added` beside the real ones, and its scores on one side of the split.

    study, name: it lies in `study / name`, as its cell does. arm: its row of the table. plan: its steps; or what
    measures them. noise_seed: of the predictions that are scored. others: further datasets whose cases are scored too,
    by name.
    """

    study: Path
    name: str
    arm: str
    data: Path
    settings: Settings
    plan: Plan | Planning
    split: Split
    seed: int
    side: Side
    noise_seed: int = 0
    added: Added | None = None
    others: Mapping[str, tuple[Path, Split]] = field(default_factory=dict)

    def decides(self) -> dict[str, Any]:
        """Settings, cases and seeds."""
        recorded = self.settings.recorded()
        used: dict[str, Any] = {section: dict(recorded[section]) for section in USED}
        del used["training"]["steps"]
        return {
            **used,
            "steps": self.plan.steps if isinstance(self.plan, Plan) else f"{self.settings.run.minutes:g} minutes",
            "split": self.split.hash,
            "seed": self.seed,
            "noise_seed": self.noise_seed,
            "side": self.side,
            "added": dict(self.added.decides()) if self.added else None,
            **({"others": {name: split.hash for name, (_, split) in self.others.items()}} if self.others else {}),
        }

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Train or go on; score the best checkpoint."""
        best, sizes = self.train(progress=progress)
        predictor = SegmenterPredictor.load(best, name=self.arm, seed=self.noise_seed)
        dataset = Dataset.open(self.data)
        places = {"": (dataset, self.split, folder / "eval")}
        for name, (path, split) in self.others.items():
            places[name] = (Dataset.open(path), split, folder / "eval-elsewhere" / folder_name(name))
        rows = {
            name: case_scores(out, best, predictor, judged, split, self.side)
            for name, (judged, split, out) in places.items()
        }
        steps = steps_done(folder)
        told = f"mean {self.side} Dice {mean_case_dice(rows['']):.3f} after {steps:,} steps"
        tables = {name: out / self.side / "per_case.csv" for name, (_, _, out) in places.items()}
        return Outcome({**sizes, "steps": steps, "told": told}, tables)

    def train(self, *, progress: bool) -> tuple[Path, dict[str, int]]:
        """The best checkpoint, and how many real and added cases stand behind it. Another process is waited for."""
        if self.added:
            self.added.make(progress=progress)
        plan = self.plan if isinstance(self.plan, Plan) else self.plan.plan(self.settings.model.kind, progress=progress)
        with held(self.study, self.name):
            dataset, size = Dataset.open(self.data), self.settings.model.image_size
            added = [self.added.cases(dataset, self.split)] if self.added else []
            best = train_segmenter(
                self.study / self.name,
                self.settings,
                plan,
                self.split,
                load_cases([(dataset, self.split.train), *added], size, detail=self.settings.augmentation.detail),
                load_cases([(dataset, self.split.val)], size),
                synthetic=added[0][0].root if added else None,
                seed=self.seed,
                progress=progress,
            )
        return best, {"real": len(self.split.train), "added": len(added[0][1]) if added else 0}

    def cell(self, repeat: str = "", kind: str = "") -> Cell:
        """It as a cell of a grid; its seed is its repeat where nothing else is."""
        kind = kind or self.settings.model.kind
        return Cell(self.arm, repeat or str(self.seed), self.name, self, tag=self.side, kind=kind)


def training_rate(trainings: Iterable[Training]) -> dict[str, float]:
    """Seconds of a training by its cell's kind: a few steps are timed here, or the minutes are taken."""
    found: dict[str, float] = {}
    for training in trainings:
        kind = training.cell().kind
        if kind in found:
            continue
        settings = training.settings
        if isinstance(training.plan, Planning):
            found[kind] = 60 * settings.run.minutes
            continue
        size, detail = settings.model.image_size, settings.augmentation.detail
        cases = load_cases([(Dataset.open(training.data), training.split.train)], size, detail=detail)
        timed = timed_plan(replace(settings, training=replace(settings.training, steps=training.plan.steps)), cases)
        found[kind] = timed.steps * timed.seconds_per_step
    return found


def timed_plan(settings: Settings, cases: Any) -> Plan:
    """The plan of a training with what a step of it takes here."""
    from syndiff.training.planning import with_times
    from syndiff.training.segmentation import SegmentationTask

    kind, training = settings.model.kind, settings.training

    def tasks() -> dict[str, Any]:
        return {kind: SegmentationTask(settings.model, training, settings.augmentation, train_cases=cases, seed=0)}

    return with_times({kind: Plan(steps=training.steps)}, tasks, training, first_share=training.coarse_share)[kind]
