"""`syndiff study prompts`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from syndiff.errors import SyndiffError
from syndiff.studies.choices import PromptLevel
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use
    from syndiff.data.dataset import Dataset


@dataclass(kw_only=True)
class Prompts(Scored, Configured):
    """What the words of prompts are worth: the same places and noise in other words, vaguer, wrong ones and none."""

    name = "prompts"

    split: Path
    """Split JSON (see `syndiff data split`); lesions are painted into its training cases."""
    variants: tuple[PromptLevel, ...] = ()
    """Prompts beside the set's own; if not given, all that the prompt pack has and the inpainter can read."""
    count: int = 24
    """Lesions painted with each prompt."""
    inpainter: Literal["compact", "sdxl"] | None = None
    """Replaces synthesis.inpainter."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id; replaces synthesis.model."""
    train: int = 0
    """Synthetic cases of each prompt that a segmenter is trained with, beside the real ones; 0 trains none."""
    steps: int | None = None
    """Optimiser steps of each training; replaces training.steps."""
    repeats: int = 3
    """Trainings for each prompt, with seeds from --seed on."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        trained = ("model", "training", "augmentation")
        used = ("synthesis", "compact", "sdxl", *trained)
        return {
            "study prompts": Use(only=used, but=("synthesis.share", "model.kind")),
            "study prompts without --train": Use(but=trained),
        }

    def _settings(self) -> "Settings":
        given = {"synthesis.inpainter": self.inpainter, "synthesis.model": self.model, "training.steps": self.steps}
        return self.settings(given)

    def grid(self) -> Grid:
        settings = self._settings()
        self._check(settings)

        from syndiff.data.inspection import open_checked
        from syndiff.data.splits import Split
        from syndiff.pipeline.early import check_segmenters
        from syndiff.studies.added import FirstOf, SyntheticSet, check_set, settings_of_set
        from syndiff.studies.prompts import NOISE, PICTURES, Comparing, imagenet_encoder
        from syndiff.studies.training import Training
        from syndiff.training.planning import Plan

        dataset = open_checked(self.data, one_class_for="syndiff study prompts")
        split = Split.read(self.split)
        split.check(dataset)
        made = settings_of_set(settings, {}, gated=False)
        check_set(dataset, split, made, seed=self.seed, adapts=False, fetch=not self.dry_run)
        levels, _ = self._levels(settings, dataset)
        imagenet_encoder()
        if self.train:
            check_segmenters(settings, ["diffusion"], fetch=not self.dry_run)
        count = max(self.count, self.train)
        sets = {}
        for level in levels:
            where = (self.out, f"synthetic/{_folder(level)}", self.data, split, made, count, 0, self.seed)
            worded: dict[str, Any] = {"noise": 1} if level == NOISE else {"variant": level}
            sets[level] = SyntheticSet(*where, **worded)
        cells = [
            Cell(level, "0", f"cells/{_folder(level)}", Comparing(sets["own"], each, level), kind=PICTURES)
            for level, each in sets.items()
        ]
        plan = Plan(steps=settings.training.steps)
        for seed in range(self.seed, self.seed + (self.repeats if self.train else 0)):
            for level, each in sets.items():
                name = f"trainings/{_folder(level)}/{seed}"
                with_settings = (settings, plan, split, seed, self.side)
                training = Training(self.out, name, level, self.data, *with_settings, added=FirstOf(each, self.train))
                cells.append(training.cell())
        return Grid(tuple(cells), shared=tuple(f"{count} synthetic cases, prompts: {level}" for level in sets))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.data.dataset import Dataset
        from syndiff.studies.prompts import conclude

        settings = self._settings()
        about = {"side": self.side, "seed": self.seed, "count": self.count, "inpainter": settings.synthesis.inpainter}
        return conclude(found, about, self._levels(settings, Dataset.open(self.data))[1])

    def _check(self, settings: "Settings") -> None:
        from syndiff.config.uses import check_use

        check_use(settings, *[*self.uses()][: 1 if self.train else 2], uses=self.uses())
        for name, least in (("count", 2), ("train", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise SyndiffError(f"--{name} is {getattr(self, name)}; expected {least} or more.")
        if len(set(self.variants)) < len(self.variants):
            raise SyndiffError(f"--variants {' '.join(self.variants)}: expected each of them once.")

    def _levels(self, settings: "Settings", dataset: "Dataset") -> tuple[list[str], dict[str, str]]:
        """The set's own prompts with the variants that can be had, and why the others cannot.

        Raises SyndiffError for one that was asked for and cannot be had.
        """
        from syndiff.pipeline.factories import make_inpainter
        from syndiff.studies.prompts import not_possible
        from syndiff.synthesis.prompts.grammar import Grammar

        inpainter, grammar = make_inpainter(settings), Grammar.for_dataset(dataset, settings.synthesis.prompts)
        if not inpainter.capabilities.paints_from_text:
            raise SyndiffError(f"{inpainter.name} paints nothing from text; choose the inpainter compact or sdxl.")
        levels = self.variants or get_args(PromptLevel)
        reasons = {level: why for level in levels if (why := not_possible(level, inpainter, grammar))}
        if self.variants and reasons:
            level, why = next(iter(reasons.items()))
            raise SyndiffError(f"--variants {level!r} is not possible: {why} Leave it out.")
        return ["own", *(level for level in levels if level not in reasons)], reasons


def _folder(level: str) -> str:
    return level.replace(" ", "-")
