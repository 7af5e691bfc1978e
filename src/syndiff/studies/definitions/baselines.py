"""`syndiff study baselines`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from syndiff.errors import SyndiffError
from syndiff.models.settings import BaselineKind, Kind
from syndiff.studies.choices import SplitMethod
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use

REFERENCE: Kind = "control"


@dataclass(kw_only=True)
class Baselines(Scored, Configured):
    """The segmenter beside the control and MONAI's networks: trained equally long, several splits, paired."""

    name = "baselines"

    kinds: tuple[Literal["diffusion", BaselineKind], ...] = ("diffusion", "unet", "attention-unet", "segresnet")
    """Networks beside the control; the last three are MONAI's (the extra `baselines`)."""
    splits: int = 1
    """Splits, drawn with seeds from --seed on; every network is trained on each."""
    split_method: SplitMethod = "auto"
    """How cases are divided; auto: by group where groups are known."""
    train_minutes: float | None = None
    """Minutes of training for each network, in place of training.steps; replaces run.minutes."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use, without_diffusion

        used = ("model", "training", "augmentation", "run.minutes")
        return {
            "study baselines": Use(only=used, but=("model.kind", "training.real_share")),
            "study baselines without the kind diffusion": without_diffusion("control"),
            "study baselines while run.minutes is above 0": Use(but=("training.steps",)),
        }

    def grid(self) -> Grid:
        settings = self.settings({"run.minutes": self.train_minutes})
        self._check(settings)

        from syndiff.data.inspection import open_checked
        from syndiff.models.baselines import BASELINES
        from syndiff.pipeline.early import check_segmenters
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.training import USED, Planning, Training, training_rate
        from syndiff.training.planning import Plan

        for kind in self.kinds:
            if kind in BASELINES:
                BASELINES[kind](1)  # a library that is missing shows here, not after hours of training
        dataset = open_checked(self.data)
        check_segmenters(settings, self._arms, fetch=not self.dry_run)
        config = settings.recorded()
        if settings.run.minutes:
            del config["training"]["steps"]  # plan.json has the steps
        trainings, splits = [], {}
        for number in range(self.seed, self.seed + self.splits):
            path = f"splits/{number}.json"
            split = stored_split(dataset, self.out / path, method=self.split_method, seed=number)
            splits[path] = split
            plan: Plan | Planning = Plan(steps=settings.training.steps)
            if settings.run.minutes:
                plan = Planning(self.out, self.data, splits[f"splits/{self.seed}.json"], settings, self._arms)
            for arm in self._arms:
                chosen = replace(settings, model=replace(settings.model, kind=arm))
                where = (self.out, f"cells/{arm}/{number}", arm, self.data)
                trainings.append(Training(*where, chosen, plan, split, split.seed, self.side, noise_seed=split.seed))
        about = {"study": self._about(settings), "data": str(self.data), "seed": self.seed}
        return Grid(
            tuple(training.cell() for training in trainings),
            about | {section: config[section] for section in USED},
            grows=("study.splits", *(() if settings.run.minutes else ("study.kinds",))),
            splits=splits,
            rate=lambda: training_rate(trainings),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.table import conclude_arms

        about = {"study": self._about(self.settings({"run.minutes": self.train_minutes}))}
        return conclude_arms(found.tables(), REFERENCE, about | {"side": self.side, "seed": self.seed}, side=self.side)

    @property
    def _arms(self) -> tuple[Kind, ...]:
        return (REFERENCE, *self.kinds)

    def _about(self, settings: "Settings") -> dict[str, Any]:
        told = {"kinds": list(self._arms), "splits": self.splits, "split_method": self.split_method}
        return told | {"minutes": settings.run.minutes}

    def _check(self, settings: "Settings") -> None:
        from syndiff.config.uses import check_use

        if self.minutes is not None and self.train_minutes is None:
            raise SyndiffError(
                f"--minutes {self.minutes:g} is the time of the whole study, as in every study; the training time of "
                "each network is --train-minutes now. Give --train-minutes, or both (0 takes training.steps)."
            )
        timed, plain = settings.run.minutes > 0, "diffusion" not in self.kinds
        name, without, minutes = self.uses()
        check_use(settings, name, without if plain else None, minutes if timed else None, uses=self.uses())
        if not self.kinds or REFERENCE in self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise SyndiffError(
                f"--kinds {' '.join(self.kinds)}: expected one kind or more, each once; the control is always trained."
            )
        if self.splits < 1:
            raise SyndiffError(f"--splits is {self.splits}; expected 1 or more.")
