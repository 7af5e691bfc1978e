"""`syndiff run`, `demo`, `settings` and `doctor`: the whole job, what can be set, whether this machine can do it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

from syndiff.cli.common import Configured, Preset, say
from syndiff.errors import SyndiffError

log = logging.getLogger("syndiff")


@dataclass(kw_only=True)
class Run(Configured):
    """The whole job on your data: split, control, segmenter on real and on real + synthetic cases, report."""

    data: Path
    """Dataset folder: images/, masks/ and, where known, groups.csv (see `syndiff data inspect`)."""
    out: Path
    """Run folder; the same command resumes it."""
    minutes: float | None = None
    """Minutes of training for each of the three segmenters, in place of training.steps; replaces run.minutes."""
    backgrounds: Path | None = None
    """Folder of lesion-free frames for the synthetic cases; replaces synthesis.backgrounds."""
    lesions: Path | None = None
    """Another dataset that lends its lesions to the synthetic cases; replaces synthesis.lesions."""
    split: str = "auto"
    """Split method: auto (by group where groups are known), group, random, random-488 or pranet."""
    dry_run: bool = False
    """Check the data and show the plan without writing anything."""

    def run(self) -> None:
        """Run the pipeline."""
        settings = self.settings(
            {
                "run.minutes": self.minutes,
                "synthesis.backgrounds": None if self.backgrounds is None else str(self.backgrounds),
                "synthesis.lesions": None if self.lesions is None else str(self.lesions),
            }
        )

        from syndiff.pipeline.run import plan_run, run

        if self.dry_run:
            say(plan_run(self.data, self.out, settings=settings, split_method=self.split, seed=self.seed))
        else:
            say(str(run(self.data, self.out, settings=settings, split_method=self.split, seed=self.seed)))


@dataclass(kw_only=True)
class Demo(Configured):
    """The same job on a built-in phantom, a rendered colonoscopy: nothing to download, minutes of training."""

    preset: str = "demo"
    """Settings to start from."""
    out: Path = Path("runs/demo")
    """Run folder; the phantom is written beside it, to <out>-phantom."""
    minutes: float | None = None
    """Minutes of training for each of the three segmenters, in place of training.steps; replaces run.minutes."""

    def run(self) -> None:
        """Write the phantom where it is missing, then run the pipeline on it."""
        settings = self.settings({"run.minutes": self.minutes})

        from syndiff.phantom import write_phantom
        from syndiff.pipeline.run import run

        if not self.out.name:
            raise SyndiffError(f"--out is {self.out}; give a folder with a name of its own, such as runs/demo.")
        data = self.out.with_name(self.out.name + "-phantom")
        if not (data / "dataset.json").is_file():
            log.info(f"rendering the phantom into {data}")
            write_phantom(data, seed=self.seed)
        say(str(run(data, self.out, settings=settings, seed=self.seed)))


@dataclass(kw_only=True)
class ShowSettings(Preset):
    """Show every setting with its value in a preset and what it means; `--set section.name=value` changes one."""

    sections: tyro.conf.Positional[tuple[str, ...]] = ()
    """Sections to show, such as model, or single settings, such as training.steps; all where none is named."""

    def run(self) -> None:
        """Print them."""
        from syndiff.config.description import describe

        say(describe(self.settings(), self.sections))


@dataclass(kw_only=True)
class Doctor:
    """Say what this machine can run, what is missing, and how to get it."""

    def run(self) -> None:
        """Examine the machine."""
        from syndiff.cli.doctor import examine

        say(examine())
