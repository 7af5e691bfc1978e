"""`syndiff run`, `demo`, `study` and `doctor`: whole jobs, and whether this machine can do them."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from syndiff.cli.common import Configured, say

log = logging.getLogger("syndiff")


@dataclass(kw_only=True)
class Run(Configured):
    """The whole job on your data: split, control, segmenter on real and on real + synthetic cases, report."""

    data: Path
    """Dataset folder: images/, masks/ and, where known, groups.csv (see `syndiff data inspect`)."""
    out: Path
    """Run folder; the same command resumes it."""
    minutes: float | None = None
    """Training minutes of each of the three segmenters; replaces run.minutes."""
    split: str = "auto"
    """Split method: auto (by group where groups are known), group, random, random-488 or pranet."""
    dry_run: bool = False
    """Check the data and show the plan without writing anything."""

    def run(self) -> None:
        """Run the pipeline."""
        from syndiff.pipeline.run import run_pipeline

        if self.minutes is not None:
            self.set = (*self.set, f"run.minutes={self.minutes}")
        say(
            run_pipeline(
                self.data, self.out, self.settings(), split_method=self.split, seed=self.seed, dry_run=self.dry_run
            )
        )


@dataclass(kw_only=True)
class Demo(Configured):
    """The same job on a built-in phantom, a rendered colonoscopy: nothing to download, minutes of training."""

    preset: str = "demo"
    """Settings to start from."""
    out: Path = Path("runs/demo")
    """Run folder; the phantom is written beside it, to <out>-phantom."""
    minutes: float | None = None
    """Training minutes of each of the three segmenters; replaces run.minutes."""

    def run(self) -> None:
        """Write the phantom where it is missing, then run the pipeline on it."""
        from syndiff.data.phantom import write_phantom
        from syndiff.pipeline.run import run_pipeline

        data = self.out.with_name(self.out.name + "-phantom")
        if not data.exists():
            log.info(f"rendering the phantom into {data}")
            building = data.with_name(f".{data.name}.partial")
            shutil.rmtree(building, ignore_errors=True)  # left by a kill
            write_phantom(building, seed=self.seed)
            building.replace(data)
        if self.minutes is not None:
            self.set = (*self.set, f"run.minutes={self.minutes}")
        say(run_pipeline(data, self.out, self.settings(), seed=self.seed))


@dataclass(kw_only=True)
class Study(Configured):
    """An experiment with many cells, which goes on where it stopped.

    low-data: what painted cases are worth when few groups are annotated; the same steps for every arm, paired.
    """

    name: Annotated[Literal["low-data"], tyro.conf.Positional]
    """Which experiment."""
    data: Path
    """Dataset folder with groups.csv."""
    out: Path
    """Folder of the study; the same command goes on, finished cells are kept."""
    groups: int = 5
    """Training groups that count as annotated."""
    steps: int = 800
    """Optimiser steps of every segmenter."""
    repeats: int = 3
    """Trainings of every arm, with seeds from --seed on."""
    shares: tuple[float, ...] = (0.2, 1.0)
    """Painted cases as fractions of the real ones."""
    elsewhere: Path | None = None
    """Run folder of `syndiff adapt` on other data: adds arms painted by that inpainter."""
    side: Literal["val", "test"] = "val"
    """Cases that are scored; test is for the end."""

    def run(self) -> None:
        """Do what is missing and print the table."""
        from syndiff.studies.low_data import low_data

        say(
            low_data(
                self.data,
                self.out,
                self.settings(),
                groups=self.groups,
                steps=self.steps,
                repeats=self.repeats,
                shares=self.shares,
                elsewhere=self.elsewhere,
                side=self.side,
                seed=self.seed,
            )
        )


@dataclass(kw_only=True)
class Doctor:
    """Say what this machine can run, what is missing, and how to get it."""

    def run(self) -> None:
        """Examine the machine."""
        from syndiff.deploy.doctor import examine

        say(examine())
