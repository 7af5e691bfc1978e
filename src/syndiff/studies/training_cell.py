"""One training of a study: done once, in its run folder, and scored on one side of its split."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.data.splits import Split
from syndiff.evaluation.evaluate import CaseRow
from syndiff.models.prediction import SegmenterPredictor
from syndiff.pipeline.training import train_segmenter
from syndiff.studies.cells import case_scores, in_processes, mean_case_dice
from syndiff.studies.choices import Side
from syndiff.training.checkpoints import steps_done
from syndiff.training.planning import Plan

log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class TrainingCell:
    """A training of the arm `arm` in the run folder `folder`, with the cases of `added` beside the real ones.

    `noise_seed` seeds the noise of the predictions that are scored.
    """

    folder: Path
    arm: str
    settings: Settings
    plan: Plan
    split: Split
    seed: int
    noise_seed: int = 0
    added: tuple[Dataset, Sequence[str]] | None = None

    def train_and_score(self, dataset: Dataset, side: Side, *, progress: bool) -> list[CaseRow]:
        """Train or go on; the scores of the best checkpoint on one side of the split."""
        size = self.settings.model.image_size
        best = train_segmenter(
            self.folder,
            self.settings,
            self.plan,
            self.split,
            load_cases([(dataset, self.split.train), *([self.added] if self.added else [])], size),
            load_cases([(dataset, self.split.val)], size),
            synthetic=self.added[0].root if self.added else None,
            seed=self.seed,
            progress=progress,
        )
        predictor = SegmenterPredictor.load(best, name=self.arm, seed=self.noise_seed)
        return case_scores(self.folder / "eval", best, predictor, dataset, self.split, side)


def finish_cells(
    cells: Iterable[TrainingCell], dataset: Dataset, side: Side, workers: int
) -> dict[str, list[list[CaseRow]]]:
    """The scores of every cell, by arm, `workers` trainings at a time; finished ones are kept."""
    every = list(cells)
    finish = partial(_finish, dataset=dataset, side=side, progress=workers == 1)
    tables: dict[str, list[list[CaseRow]]] = {}
    for cell, rows in zip(every, in_processes(finish, every, workers), strict=True):
        tables.setdefault(cell.arm, []).append(rows)
        dice = f"mean {side} Dice {mean_case_dice(rows):.3f}"
        log.info(f"{cell.folder}: {dice} after {steps_done(cell.folder):,} steps")
    return tables


def _finish(cell: TrainingCell, *, dataset: Dataset, side: Side, progress: bool) -> list[CaseRow]:
    return cell.train_and_score(dataset, side, progress=progress)
