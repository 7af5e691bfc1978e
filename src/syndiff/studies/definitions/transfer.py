"""`syndiff study transfer`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import SyndiffError
from syndiff.studies.choices import Side, SplitMethod
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Study

if TYPE_CHECKING:
    from syndiff.config.uses import Use


@dataclass(kw_only=True)
class Transfer(Study, Configured):
    """What a segmenter of one centre is worth at another: trained on each of several datasets, tested on all."""

    name = "transfer"

    data: tuple[Path, ...]
    """Dataset folders, two or more, with names of their own and no picture in common."""
    side: Side = "val"
    """Cases of each dataset that are scored; test is for the end."""
    split_method: SplitMethod = "auto"
    """How cases are divided; auto: by group where groups are known."""
    steps: int | None = None
    """Optimiser steps of every training; replaces training.steps."""
    repeats: int = 1
    """Trainings on each dataset, with seeds from --seed on."""

    @property
    def stem(self) -> str:
        return f"{super().stem}_{self.side}"

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        used = ("model", "training", "augmentation")
        return {"study transfer": Use(only=used, but=("model.kind", "training.real_share"))}

    def grid(self) -> Grid:
        settings = self.settings({"training.steps": self.steps})

        from syndiff.config.uses import check_use
        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.early import check_segmenters
        from syndiff.pipeline.provenance import folder_name
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.training import Training, training_rate
        from syndiff.studies.transfer import check_apart
        from syndiff.training.planning import Plan

        check_use(settings, *self.uses(), uses=self.uses())
        if len(self.data) < 2 or self.repeats < 1:
            raise SyndiffError(
                f"study transfer: found {len(self.data)} dataset and repeats={self.repeats}; expected two folders or "
                "more at --data, and 1 repeat or more."
            )
        datasets = [open_checked(folder, one_class_for="syndiff study transfer") for folder in self.data]
        check_apart(datasets)
        check_segmenters(settings, ["diffusion"], fetch=not self.dry_run)
        paths = {dataset.name: f"splits/{folder_name(dataset.name)}.json" for dataset in datasets}
        splits = {
            dataset.name: stored_split(
                dataset, self.out / paths[dataset.name], method=self.split_method, seed=self.seed
            )
            for dataset in datasets
        }
        every = {dataset.name: (dataset.root, splits[dataset.name]) for dataset in datasets}
        plain, plan = replace(settings, chosen=frozenset()), Plan(steps=settings.training.steps)
        trainings = [
            Training(
                *(self.out, f"cells/{folder_name(name)}/{seed}", name, root, plain, plan, split, seed, self.side),
                others={other: place for other, place in every.items() if other != name},
            )
            for seed in range(self.seed, self.seed + self.repeats)
            for name, (root, split) in every.items()
        ]
        recorded = settings.recorded()
        used = {section: recorded[section] for section in ("model", "training", "augmentation")}
        return Grid(
            tuple(training.cell() for training in trainings),
            {"seed": self.seed, "study": {"split_method": self.split_method}, **used},
            splits={paths[name]: split for name, split in splits.items()},
            rate=lambda: training_rate(trainings[:1]),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.transfer import conclude

        return conclude(found, side=self.side, seed=self.seed)
