"""`syndiff study leak`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from syndiff.errors import SyndiffError
from syndiff.models.settings import Kind
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.uses import Use


@dataclass(kw_only=True)
class Leak(Scored, Configured):
    """How much of a score is leakage: one recipe under splits that keep groups together, and under others."""

    name = "leak"

    methods: tuple[Literal["random", "random-488", "pranet"], ...] = ("random",)
    """Splits that let frames of one group lie on both sides, each beside the split by group."""
    splits: int = 3
    """Splits of each method, drawn with seeds from --seed on."""
    kinds: tuple[Literal["diffusion", "control"], ...] = ("diffusion",)
    """Networks that are trained on each."""
    steps: int | None = None
    """Optimiser steps of every training; replaces training.steps."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use, without_diffusion

        return {
            "study leak": Use(only=("model", "training", "augmentation"), but=("model.kind", "training.real_share")),
            "study leak without the kind diffusion": without_diffusion("control"),
        }

    def grid(self) -> Grid:
        settings = self.settings({"training.steps": self.steps})

        from syndiff.config.uses import check_use
        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.early import check_segmenters
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.training import Training, training_rate
        from syndiff.training.planning import Plan

        name, plain = self.uses()
        check_use(settings, name, None if "diffusion" in self.kinds else plain, uses=self.uses())
        for option, given in (("methods", self.methods), ("kinds", self.kinds)):
            if not given or len(set(given)) < len(given):
                raise SyndiffError(f"--{option} {' '.join(given)}: expected one or more, each once.")
        if self.splits < 1:
            raise SyndiffError(f"--splits is {self.splits}; expected 1 or more.")
        dataset = open_checked(self.data)
        if not dataset.has_groups:
            raise SyndiffError(
                f"{dataset.root} has no groups.csv, so that it cannot be told what leaks; add one (columns case,group: "
                "patient or video)."
            )
        check_segmenters(settings, self.kinds, fetch=not self.dry_run)
        trainings, splits = [], {}
        for number in range(self.seed, self.seed + self.splits):
            for method in ("group", *self.methods):
                path = f"splits/{method}-{number}.json"
                splits[path] = split = stored_split(dataset, self.out / path, method=method, seed=number)
                for kind in self.kinds:
                    chosen = replace(settings, model=replace(settings.model, kind=kind), chosen=frozenset())
                    arm = self._level(method, kind)
                    where = (self.out, f"cells/{arm.replace(', ', '-').replace(' ', '-')}/{number}", arm, self.data)
                    plan = Plan(steps=settings.training.steps)
                    trainings.append(Training(*where, chosen, plan, split, number, self.side, noise_seed=number))
        recorded = settings.recorded()
        used = {section: recorded[section] for section in ("model", "training", "augmentation")}
        return Grid(
            tuple(training.cell() for training in trainings),
            {"data": str(self.data), "seed": self.seed, **used},
            splits=splits,
            rate=lambda: training_rate(trainings),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.leak import conclude

        pairs = {
            self._level(method, kind): self._level("group", kind) for kind in self.kinds for method in self.methods
        }
        sizes = {level: [out.scores["real"] for out in found.of(level=level)] for level in found.levels()}
        return conclude(found.tables(), pairs, sizes, side=self.side)

    def _level(self, method: str, kind: Kind) -> str:
        return f"{method} split" if len(self.kinds) == 1 else f"{method} split, {kind}"
