"""`syndiff study ...`: experiments that answer one question each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from syndiff.cli.common import Configured, say
from syndiff.files import claimed
from syndiff.models.settings import BaselineKind
from syndiff.studies.choices import Rule, Side, Source


@dataclass(kw_only=True)
class LowData(Configured):
    """What synthetic cases are worth when few groups are annotated: the same steps for every arm, paired."""

    data: Path
    """Dataset folder."""
    out: Path
    """Folder of the study; the same command goes on, finished cells are kept."""
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
    others: Path | None = None
    """Another dataset folder: adds arms with as many of its real cases, to hold the synthetic ones against."""
    sources: tuple[Source, ...] = ()
    """Where added cases come from: copy_paste, the inpainter adapted to the few groups (own) or the one of --elsewhere,
    each with and without gates (-ungated), the dataset of --others. Empty: all of them."""
    workers: int = 1
    """Trainings at a time, each with its part of the CPU's cores."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""

    def run(self) -> None:
        """Do what is missing and print the table."""
        settings = self.settings()

        from syndiff.studies.low_data import low_data

        say(
            low_data(
                self.data,
                self.out,
                settings,
                groups=self.groups,
                steps=self.steps,
                repeats=self.repeats,
                shares=self.shares,
                elsewhere=self.elsewhere,
                others=self.others,
                sources=self.sources,
                workers=self.workers,
                side=self.side,
                seed=self.seed,
            )
        )


@dataclass(kw_only=True)
class Steering(Configured):
    """Whether the words of a prompt change what is painted: one word exchanged, all else the same, measured."""

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`); lesions are painted into its training cases."""
    out: Path
    """Folder for the table and the pictures."""
    count: int = 24
    """Lesions painted for each word."""
    inpainter: Literal["compact", "sdxl"] | None = None
    """Replaces synthesis.inpainter."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id; replaces synthesis.model."""

    def run(self) -> None:
        """Paint, measure, print the table."""
        settings = self.settings({"synthesis.inpainter": self.inpainter, "synthesis.model": self.model})

        from syndiff.studies.steering import steering

        say(steering(self.data, self.split, self.out, settings, count=self.count, seed=self.seed))


@dataclass(kw_only=True)
class Timesteps:
    """From which timestep the one step should start: the same weights judged at every one of a list."""

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split."""
    data: Path
    """Dataset folder."""
    out: Path
    """Folder for table and figure; the same command goes on, finished cells are kept."""
    timesteps: tuple[int, ...] = (1, 10, 25, 50, 100, 200, 500, 900, 999)
    """Timesteps to start from."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""
    seed: int = 0
    """Seed of the noise."""

    def run(self) -> None:
        """Score what is missing and print the table."""
        from syndiff.studies.timesteps import timesteps

        say(timesteps(self.runs, self.data, self.out, sweep=self.timesteps, side=self.side, seed=self.seed))


@dataclass(kw_only=True)
class Steps:
    """What more steps than one are worth: the same weights with 1 to 50, by difficulty of the case, with the time."""

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split."""
    data: Path
    """Dataset folder."""
    out: Path
    """Folder for the table; the same command goes on, finished cells are kept."""
    steps: tuple[int, ...] = (2, 5, 10, 25, 50)
    """Numbers of DDIM steps, beside one."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""
    seed: int = 0
    """Seed of the noise."""

    def run(self) -> None:
        """Score what is missing and print the table."""
        from syndiff.studies.steps import steps

        say(steps(self.runs, self.data, self.out, counts=self.steps, side=self.side, seed=self.seed))


@dataclass(kw_only=True)
class Uncertainty:
    """Whether doubt is worth something: several answers a case, their calibration, and whether doubt finds errors."""

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split; controls too."""
    data: Path
    """Dataset folder."""
    out: Path
    """Folder for table and figure."""
    members: int = 8
    """Answers a case: 2, 4 or 8."""
    wrong_below: float = 0.7
    """A case with a lower Dice counts as wrong."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""
    seed: int = 0
    """Seed of the noise."""

    def run(self) -> None:
        """Ask, judge, print the table."""
        from syndiff.studies.uncertainty import uncertainty

        say(
            uncertainty(
                self.runs,
                self.data,
                self.out,
                members=self.members,
                wrong_below=self.wrong_below,
                side=self.side,
                seed=self.seed,
            )
        )


@dataclass(kw_only=True)
class Baselines(Configured):
    """The segmenter beside the control and MONAI's networks: trained equally long, several splits, paired."""

    data: Path
    """Dataset folder."""
    out: Path
    """Folder of the study; the same command goes on, finished cells are kept."""
    kinds: tuple[Literal["diffusion", BaselineKind], ...] = (
        "diffusion",
        "unet",
        "attention-unet",
        "segresnet",
    )
    """Networks beside the control; the last three are MONAI's (the extra `baselines`)."""
    splits: int = 1
    """Splits, drawn with seeds from --seed on; every network is trained on each."""
    split_method: Literal["auto", "group", "random", "random-488", "pranet"] = "auto"
    """How cases are divided; auto: by group where groups are known."""
    minutes: float | None = None
    """Minutes of training for each network, in place of training.steps; replaces run.minutes."""
    workers: int = 1
    """Trainings at a time, each with its part of the CPU's cores."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""

    def run(self) -> None:
        """Train what is missing and print the table."""
        settings = self.settings({"run.minutes": self.minutes})

        from syndiff.studies.baselines import baselines

        say(
            baselines(
                self.data,
                self.out,
                settings,
                kinds=self.kinds,
                splits=self.splits,
                split_method=self.split_method,
                workers=self.workers,
                side=self.side,
                seed=self.seed,
            )
        )


@dataclass(kw_only=True)
class Reviews(Configured):
    """Whether reviews come back: a scripted reviewer with a known rule, and rounds of synthesis that hear it or not."""

    data: Path
    """Dataset folder."""
    out: Path
    """Folder of the study; the same command goes on, finished rounds are kept."""
    rule: Rule = "blurred"
    """What the reviewer rejects: lesions more blurred, or of another colour, than real ones usually are."""
    rounds: int = 3
    """Rounds of synthesis and review."""
    count: int = 40
    """Samples a round that pass the gates."""
    inpainter: Literal["compact", "copy_paste"] = "compact"
    """compact is taught anew each round; with copy_paste the gates alone hear the reviews."""

    def run(self) -> None:
        """Do what is missing and print the table."""
        settings = self.settings({"synthesis.inpainter": self.inpainter})

        from syndiff.studies.reviews import reviews

        say(
            reviews(
                self.data,
                self.out,
                settings,
                rule=self.rule,
                rounds=self.rounds,
                count=self.count,
                seed=self.seed,
            )
        )


@dataclass(kw_only=True)
class Study:
    """Experiments: baselines, low-data, reviews, steering, steps, timesteps, uncertainty."""

    verb: (
        Annotated[LowData, tyro.conf.subcommand("low-data")]
        | Annotated[Baselines, tyro.conf.subcommand("baselines")]
        | Annotated[Reviews, tyro.conf.subcommand("reviews")]
        | Annotated[Steering, tyro.conf.subcommand("steering")]
        | Annotated[Steps, tyro.conf.subcommand("steps")]
        | Annotated[Timesteps, tyro.conf.subcommand("timesteps")]
        | Annotated[Uncertainty, tyro.conf.subcommand("uncertainty")]
    ) = field()

    def run(self) -> None:
        """Run the chosen study, alone in its folder."""
        with claimed(self.verb.out, "the folder of a study", known=_of_a_study):
            self.verb.run()


def _of_a_study(folder: Path) -> bool:
    """Whether a folder without a mark is a study's all the same, made before there were marks."""
    return any((folder / name).exists() for name in ("study/config.yaml", "cells", "steering.json", "uncertainty.json"))
