"""`syndiff study ratio`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from syndiff.errors import SyndiffError
from syndiff.studies.choices import SplitMethod
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use

REFERENCE = "0"


@dataclass(kw_only=True)
class Ratio(Scored, Configured):
    """How many synthetic cases are best beside the real ones: the same steps for every number, and the best point."""

    name = "ratio"

    counts: tuple[int, ...] = (20, 50, 100, 150, 200)
    """Numbers of synthetic cases, the first ones of one set; none is always trained."""
    shares: tuple[float, ...] = ()
    """The same as fractions of the real training cases; replaces --counts."""
    gates: tuple[Literal["on", "off"], ...] = ("on",)
    """Sets made with gates, without, or one of each."""
    inpainter: Literal["compact", "copy_paste", "sdxl"] | None = None
    """Replaces synthesis.inpainter. A compact one without --model is taught the training cases first."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id; replaces synthesis.model."""
    backgrounds: str | None = None
    """Folder of frames without any lesion to paint into; replaces synthesis.backgrounds."""
    lesions: str | None = None
    """Folder of another dataset that lends its lesions; replaces synthesis.lesions."""
    split_method: SplitMethod = "auto"
    """How cases are divided; auto: by group where groups are known. random-488 is the paper's, and leaky."""
    groups: int | None = None
    """Training groups (without groups.csv: cases) that count as annotated; all of them if not given."""
    steps: int | None = None
    """Optimiser steps of every segmenter; replaces training.steps."""
    repeats: int = 3
    """Trainings of every number, with seeds from --seed on."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        used = ("model", "training", "augmentation", "synthesis", "gates", "compact", "sdxl", "inpainter", "adapt")
        return {
            "study ratio": Use(only=used, but=("model.kind", "synthesis.share", "gates.mode")),
            "study ratio without gates": Use(but=("gates",)),
            "study ratio with an inpainter that is ready to paint": Use(but=("inpainter", "adapt")),
            "study ratio while adapt.minutes is above 0": Use(but=("adapt.steps",)),
        }

    def _settings(self) -> "Settings":
        named = ("inpainter", "model", "backgrounds", "lesions")
        given = {f"synthesis.{name}": getattr(self, name) for name in named}
        return self.settings({"training.steps": self.steps} | given)

    def grid(self) -> Grid:
        settings = self._settings()
        adapts = settings.synthesis.inpainter == "compact" and not settings.synthesis.model
        self._check(settings, adapts)

        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.early import check_segmenters
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.added import Adaptation, FirstOf, SyntheticSet, check_set, settings_of_set
        from syndiff.studies.low_data import few_groups
        from syndiff.studies.training import Training, training_rate
        from syndiff.training.planning import Plan

        dataset = open_checked(self.data, one_class_for="syndiff study ratio")
        split = whole = stored_split(dataset, self.out / "whole_split.json", method=self.split_method, seed=self.seed)
        if self.groups is not None:
            split = few_groups(dataset, whole, self.groups, self.seed)
        counts = [round(share * len(split.train)) for share in self.shares] or [n for n in self.counts if n]
        if min(counts) < 1 or len(set(counts)) < len(counts):
            raise SyndiffError(f"study ratio: found {counts} synthetic cases; expected numbers from 1 on, each once.")
        sets = {}
        for mode in self.gates:
            made = settings_of_set(settings, {}, gated=mode == "on")
            check_set(dataset, split, made, seed=self.seed, adapts=adapts, fetch=not self.dry_run)
            name = f"synthetic/{'gates' if mode == 'on' else 'no-gates'}"
            teacher = Adaptation(self.out, self.data, split, settings, self.seed) if adapts else None
            sets[mode] = SyntheticSet(
                *(self.out, name, self.data, split, made, max(counts), 0, self.seed), teacher=teacher
            )
        check_segmenters(settings, ["diffusion"], fetch=not self.dry_run)
        arms: list[tuple[str, str, FirstOf | None]] = [(REFERENCE, REFERENCE, None)]
        for mode in self.gates:
            part = {count: FirstOf(sets[mode], count, exactly=True) for count in counts}
            arms += [(self._level(n, mode), f"{n}-{'gates' if mode == 'on' else 'no-gates'}", part[n]) for n in counts]
        plain = replace(settings, chosen=frozenset())
        trainings = [
            Training(
                *(self.out, f"cells/{folder}/{seed}", arm, self.data, plain),
                *(Plan(steps=settings.training.steps), split, seed, self.side),
                added=added,
            )
            for seed in range(self.seed, self.seed + self.repeats)
            for arm, folder, added in arms
        ]
        about = {"split_method": self.split_method, "groups": self.groups or 0}
        shared = ["an inpainter"] if adapts else []
        shared += [f"{max(counts)} synthetic cases with gates {mode}" for mode in self.gates]
        return Grid(
            tuple(training.cell() for training in trainings),
            {"study": about, "data": str(self.data), "seed": self.seed, **settings.recorded()},
            splits={"whole_split.json": whole, "split.json": split},
            shared=tuple(shared),
            rate=lambda: training_rate(trainings[:1]),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.ratio import conclude

        counts = {level: found.of(level=level)[0].scores["added"] for level in found.levels()}
        real = next(iter(found))[1].scores["real"]
        return conclude(found.tables(), counts, REFERENCE, side=self.side, real=real)

    def _level(self, count: int, mode: str) -> str:
        return str(count) if len(self.gates) == 1 else f"{count}, {'gates' if mode == 'on' else 'no gates'}"

    def _check(self, settings: "Settings", adapts: bool) -> None:
        from syndiff.config.uses import check_use

        name, ungated, ready, timed = self.uses()
        situations = (
            ungated if "on" not in self.gates else None,
            None if adapts else ready,
            timed if adapts and settings.adapt.minutes else None,
        )
        check_use(settings, name, *situations, uses=self.uses())
        modes = self.gates and len(set(self.gates)) == len(self.gates)
        groups = self.groups is None or self.groups > 1
        if self.repeats < 1 or not (self.shares or any(self.counts)) or not modes or not groups:
            raise SyndiffError(
                f"study ratio: found repeats={self.repeats}, counts={list(self.counts)}, gates={list(self.gates)} and "
                f"groups={self.groups}; expected 1 repeat or more, a number above 0, on or off, each once, and 2 "
                "groups or more."
            )
