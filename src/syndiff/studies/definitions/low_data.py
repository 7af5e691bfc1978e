"""`syndiff study low-data`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import SyndiffError
from syndiff.studies.choices import SOURCES, Source
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use

_ELSEWHERE = ("backgrounds", "lesions")


@dataclass(kw_only=True)
class LowData(Scored, Configured):
    """What synthetic cases are worth when few groups are annotated: the same steps for every arm, paired."""

    name = "low-data"

    groups: int = 5
    """Training groups (without groups.csv: cases) that count as annotated."""
    steps: int = 800
    """Optimiser steps of every segmenter."""
    repeats: int = 3
    """Trainings of every arm, with seeds from --seed on."""
    shares: tuple[float, ...] = (0.2, 1.0)
    """Synthetic cases as fractions of the real ones."""
    elsewhere: Path | None = None
    """Run folder of `syndiff adapt` on other data: adds arms painted by that inpainter."""
    backgrounds: str | None = None
    """Folder of frames without any lesion to paint into; replaces synthesis.backgrounds."""
    lesions: str | None = None
    """Folder of another dataset that lends its lesions; replaces synthesis.lesions."""
    others: Path | None = None
    """Another dataset folder: adds arms with as many of its real cases, to hold the synthetic ones against."""
    sources: tuple[Source, ...] = ()
    """Where added cases come from: copy_paste, the inpainter adapted to the few groups (own) or the one of --elsewhere,
    each with and without gates (-ungated), the dataset of --others. Empty: all of them."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        used = ("model", "training", "augmentation", "gates", "compact", "inpainter", "adapt")
        return {
            "study low-data": Use(
                only=(*used, *(f"synthesis.{name}" for name in ("prompts", "background_lesion", *_ELSEWHERE))),
                but=("model.kind", "training.steps", "gates.segmenter", "gates.mode"),
            ),
            "study low-data without a source that has gates": Use(but=("gates",)),
            "study low-data without a synthetic source": Use(but=("synthesis",)),
            "study low-data without an inpainter": Use(but=("compact", "synthesis.background_lesion")),
            "study low-data without the source own": Use(but=("inpainter", "adapt")),
            "study low-data while adapt.minutes is above 0": Use(but=("adapt.steps",)),
        }

    def grid(self) -> Grid:
        settings = self.settings({f"synthesis.{name}": getattr(self, name) for name in _ELSEWHERE})

        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.low_data import Folders, check_cases, chosen_sources, few_groups, trainings
        from syndiff.studies.training import training_rate

        sources = chosen_sources(self.sources, {"elsewhere": self.elsewhere, "others": self.others})
        self._check(settings, sources)
        dataset = open_checked(self.data, one_class_for="syndiff study low-data")
        whole = stored_split(dataset, self.out / "whole_split.json", method="auto", seed=self.seed)
        split = few_groups(dataset, whole, self.groups, self.seed)
        folders = Folders(self.elsewhere, self.others)
        check_cases(
            settings,
            dataset,
            split,
            sources,
            shares=self.shares,
            folders=folders,
            seed=self.seed,
            fetch=not self.dry_run,
        )
        seeds = range(self.seed, self.seed + self.repeats)
        arms = trainings(
            *(self.out, self.data, split, settings, sources),
            folders=folders,
            steps=self.steps,
            shares=self.shares,
            side=self.side,
            seeds=seeds,
        )
        own = ["an inpainter"] if {"own", "own-ungated"} & {*sources} else []
        sets = [f"a synthetic set of {source}" for source in sources if source != "others"]
        config = {"study": self._about(), "data": str(self.data), "seed": self.seed, **settings.recorded()}
        return Grid(
            tuple(arm.cell() for arm in arms),
            config,
            grows=("study.shares", "study.sources", "study.elsewhere", "study.others"),
            splits={"whole_split.json": whole, "split.json": split},
            shared=(*own, *sets),
            rate=lambda: training_rate(arms[:1]),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.low_data import REAL
        from syndiff.studies.table import conclude_arms

        added = {level: found.of(level=level)[0].scores["added"] for level in found.levels()}
        about = {"study": self._about(), "side": self.side}
        return conclude_arms(found.tables(), REAL, about, side=self.side, added=added)

    def _about(self) -> dict[str, object]:
        about: dict[str, object] = {"groups": self.groups, "steps": self.steps, "shares": list(self.shares)}
        about |= {"elsewhere": str(self.elsewhere or "")} | ({"sources": self._named()} if self.sources else {})
        return about | ({"others": str(self.others)} if self.others is not None else {})

    def _named(self) -> list[Source]:
        return [source for source in SOURCES if source in self.sources]

    def _check(self, settings: "Settings", sources: tuple[Source, ...]) -> None:
        from syndiff.config.uses import check_use

        own, drawn = {"own", "own-ungated"} & {*sources}, {*sources} - {"copy_paste", "others"}
        names = [*self.uses()]
        has = ({"own", "elsewhere"} & {*sources}, sources != ("others",), drawn, own)
        situations = [name for name, there in zip(names[1:5], has, strict=True) if not there]
        situations += names[5:] if own and settings.adapt.minutes else []
        check_use(settings, names[0], *situations, uses=self.uses())
        if self.repeats < 1 or self.groups < 2 or not self.shares or min(self.shares) <= 0:
            raise SyndiffError(
                f"study low-data: found groups={self.groups}, repeats={self.repeats} and shares={list(self.shares)}; "
                "expected 2 groups or more, 1 repeat or more, and shares above 0."
            )
        if len({f"{share:.0%}" for share in self.shares}) < len(self.shares):
            raise SyndiffError(f"--shares {' '.join(map(str, self.shares))}: expected each whole percentage once.")
