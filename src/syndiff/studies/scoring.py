"""What studies of trained segmenters share: their names, their split, their scores on one side of it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, evaluate, finished, read_per_case
from syndiff.files import sha256
from syndiff.models.prediction import SegmenterPredictor, chosen_settings
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import DESCRIPTION, read_description, settings_of
from syndiff.studies.choices import Side
from syndiff.studies.grid import Outcome
from syndiff.training.checkpoints import best_checkpoint


def names_of(runs: Sequence[Path]) -> list[str]:
    """A name for each run folder: the shortest end of their paths that tells them apart.

    Raises SyndiffError for no run, and for one that is given twice.
    """
    parts = [run.resolve().parts for run in runs]
    if not parts or len(set(parts)) < len(parts):
        raise SyndiffError(f"--runs {' '.join(map(str, runs))}: expected one run folder or more, each of them once.")
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("paths that differ have ends that differ")


def same_split(runs: Sequence[Path], dataset: Dataset) -> Split:
    """The split that all runs were trained on. Raises SyndiffError where they differ."""
    splits = [Split.read(run / "split.json") for run in runs]
    for run, split in zip(runs, splits, strict=True):
        split.check(dataset)
        if split != splits[0]:
            raise SyndiffError(f"{run} was trained on another split than {runs[0]}; their scores cannot be compared.")
    return splits[0]


def diffusion_settings(run: Path, checkpoint: Path) -> dict[str, Any]:
    """The model settings of a run's checkpoint. Raises SyndiffError where they are of no diffusion segmenter."""
    described = read_description(checkpoint, {"model": dict})
    kinds = {"kind": str, "timesteps": int, "inference_timestep": int, "inference_steps": int}
    model = check_object(f"{checkpoint / DESCRIPTION}: model", described["model"], kinds)
    if model["kind"] != "diffusion":
        raise SyndiffError(
            f"{run} is of the kind {model['kind']}, which has no timesteps; give runs of the diffusion segmenter."
        )
    return model


def case_scores(
    cell: Path, checkpoint: Path, predictor: SegmenterPredictor, dataset: Dataset, split: Split, side: Side
) -> list[CaseRow]:
    """A segmenter's scores on one side of the split, kept in `cell`/<side> while weights, seed and dataset stay."""
    provenance = {"weights": sha256(checkpoint / "model.safetensors"), "seed": predictor.seed}
    out = cell / side
    judged = {"name": dataset.name, "fingerprint": split.fingerprint}
    if not finished(out, getattr(split, side), provenance=provenance, dataset=judged):
        cases = getattr(split, side)
        evaluate(predictor, dataset, cases, out, fingerprint=split.fingerprint, provenance=provenance, progress=False)
    return read_per_case(out / "per_case.csv")


def mean_case_dice(rows: Sequence[CaseRow]) -> float:
    """Over cases, in [0, 1]."""
    return float(np.mean([row.metrics.dice for row in rows]))


@dataclass(frozen=True)
class Run:
    """A trained segmenter of a study: its run folder, its checkpoint and that one's weights by their hash."""

    folder: Path
    short: str
    checkpoint: Path
    weights: str

    def predictor(self, *, seed: int, timestep: int | None = None, steps: int | None = None) -> SegmenterPredictor:
        """Its predictor with one view an image, so that nothing but what is asked changes."""
        return SegmenterPredictor.load(
            self.checkpoint, name=self.short, seed=seed, timestep=timestep, steps=steps, tta=1
        )

    @property
    def first_timestep(self) -> int:
        """Where its one step starts when nothing else is asked."""
        return self._settings.first_timestep

    @property
    def _settings(self) -> SegmenterSettings:
        described = read_description(self.checkpoint, {"model": dict})
        return settings_of(self.checkpoint, described, SegmenterSettings, what="a segmenter")

    def check_inference(self, *, timestep: int | None = None, steps: int | None = None) -> None:
        """Raise SyndiffError for a timestep, or a number of steps, that its schedule does not have."""
        chosen_settings(self._settings, timestep=timestep, steps=steps, tta=1)


def runs_of(folders: Sequence[Path]) -> list[Run]:
    """The runs of a study. Raises SyndiffError for none, for one that is given twice or holds no trained model."""
    names = names_of(folders)
    found = []
    for folder, short in zip(folders, names, strict=True):
        checkpoint = best_checkpoint(folder)
        found.append(Run(folder, short, checkpoint, sha256(checkpoint / "model.safetensors")))
    return found


@dataclass(frozen=True)
class Scoring:
    """A cell that scores a run's cases on one side with one view, from a timestep or with a number of steps."""

    run: Run
    data: Path
    split: Split
    side: Side
    seed: int
    timestep: int | None = None
    steps: int | None = None

    def decides(self) -> dict[str, Any]:
        """Weights, cases, seed, and how the sampling goes."""
        asked = {"timestep": self.timestep, "steps": self.steps}
        cases = {"split": self.split.hash, "side": self.side}
        return {"weights": self.run.weights, **cases, "seed": self.seed, **asked}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Score every case."""
        predictor = self.run.predictor(seed=self.seed, timestep=self.timestep, steps=self.steps)
        case_scores(folder, self.run.checkpoint, predictor, Dataset.open(self.data), self.split, self.side)
        return Outcome(tables={"": folder / self.side / "per_case.csv"})


def scoring_rate(works: Iterable[tuple[str, Scoring]]) -> Mapping[str, float]:
    """Seconds of a cell by its kind: one case is predicted here."""
    found: dict[str, float] = {}
    for kind, work in works:
        if kind not in found:
            dataset, cases = Dataset.open(work.data), getattr(work.split, work.side)
            predictor = work.run.predictor(seed=work.seed, timestep=work.timestep, steps=work.steps)
            image, _ = dataset.load(dataset[cases[0]])
            predictor.predict(image, case_id=cases[0])
            began = time.perf_counter()
            predictor.predict(image, case_id=cases[0])
            found[kind] = (time.perf_counter() - began) * len(cases)
    return found
