"""The command line: one verb, one dataclass with `run()`. Heavy imports happen inside the verb that needs them."""

import errno
import logging
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from syndiff.errors import SyndiffError

log = logging.getLogger("syndiff")


@dataclass(kw_only=True)
class _Common:
    """What verbs share."""

    preset: str = "compact"
    """Settings to start from: compact, demo (the same within minutes) or paper (the paper's, for a graphics card)."""
    config: Path | None = None
    """YAML file of settings that replace the preset's."""
    set: tuple[str, ...] = ()
    """Single settings, such as model.image_size=192; they replace those of preset and config."""
    seed: int = 0
    """Seed of everything drawn at random."""

    def settings(self) -> Any:
        """The settings that preset, config and set add up to."""
        check_seed(self.seed)
        from syndiff.presets import load_settings

        return load_settings(self.preset, self.config, self.set)


@dataclass(kw_only=True)
class Run(_Common):
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
class Demo(_Common):
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
class Inspect:
    """Check a dataset folder and say in words whether it can be used."""

    data: Path
    """Dataset folder."""
    out: Path | None = None
    """PNG to write: a sheet of images with their masks outlined."""
    seed: int = 0
    """Seed of the choice of cases on the sheet."""

    def run(self) -> None:
        """Inspect, print, draw."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.data.inspection import contact_sheet, inspect

        dataset = DatasetFolder.open(self.data)
        verdict = inspect(dataset, progress=True)
        say(verdict.text())
        verdict.raise_for_problems()
        if self.out is not None:
            contact_sheet(dataset, self.out, seed=self.seed)
            say(f"Contact sheet: {self.out}")


@dataclass(kw_only=True)
class SplitVerb:
    """Divide a dataset into training, validation and test cases and write the split as JSON."""

    data: Path
    """Dataset folder."""
    out: Path
    """JSON file to write."""
    method: str = "auto"
    """auto (by group where groups are known), group, random, random-488 or pranet; the last two are leaky."""
    seed: int = 0
    """Seed of the division."""

    def run(self) -> None:
        """Split and say who is where."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.data.splits import make_split
        from syndiff.pipeline.arms import describe_split

        check_seed(self.seed)
        if self.out.exists():
            raise SyndiffError(f"{self.out} exists already; delete it or give another --out.")
        split = make_split(DatasetFolder.open(self.data), method=self.method, seed=self.seed)
        split.write(self.out)
        say(f"{describe_split(split)}\nWritten to {self.out}")


@dataclass(kw_only=True)
class Fetch:
    """Bring a public dataset into the project's layout and check it."""

    name: Annotated[Literal["cvc-clinicdb", "kvasir-seg"], tyro.conf.Positional]
    """Which dataset."""
    out: Path
    """Dataset folder to write."""
    archive: Path | None = None
    """The archive or folder you downloaded yourself; needed offline and for CVC-ClinicDB."""
    accept_licence: bool = False
    """Say that you accept the terms, which are shown otherwise."""

    def run(self) -> None:
        """Fetch and check."""
        from syndiff.data.fetching import fetch

        dataset = fetch(self.name, self.out, archive=self.archive, accept_licence=self.accept_licence, progress=True)
        say(f"{dataset.name}: {len(dataset.cases)} cases in {self.out}")


@dataclass(kw_only=True)
class CaptionVerb:
    """Describe every case in words that are measured on its image and mask, and write them as captions.csv."""

    data: Path
    """Dataset folder."""
    prompts: str = ""
    """Prompt pack: polyp, nucleus, lesion or a YAML file; the one that serves the dataset's class unless given."""
    out: Path | None = None
    """CSV file to write; captions.csv in the dataset folder unless given."""
    force: bool = False
    """Replace captions that exist."""

    def run(self) -> None:
        """Measure, write, say how often each word was used."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.synthesis.captions import write_captions
        from syndiff.synthesis.grammar import Grammar

        dataset = DatasetFolder.open(self.data)
        grammar = Grammar.for_dataset(dataset, self.prompts)
        out = self.out or self.data / "captions.csv"
        for slot, words in write_captions(dataset, grammar, out, replace=self.force, progress=True).items():
            total = max(1, sum(words.values()))
            say(f"{slot:12} " + ", ".join(f"{word} {n} ({n / total:.0%})" for word, n in words.items()))
        say(f"{len(dataset.cases)} captions written to {out}")


@dataclass(kw_only=True)
class Adapt(_Common):
    """Teach an inpainter what lesions look like in your images, from the training cases of a split."""

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`); it learns from the training cases, validation cases judge it."""
    out: Path
    """Run folder, which `synthesize --model` takes; the same command resumes it."""
    inpainter: Literal["compact", "sdxl"] = "compact"
    """compact is trained from scratch on a laptop; sdxl is a diffusion pipeline that gets a LoRA, on a GPU."""
    model: str | None = None
    """For sdxl: folder or hub id of the pipeline; replaces synthesis.model."""
    minutes: float | None = None
    """For compact: training time; replaces adapt.minutes."""
    dry_run: bool = False
    """Show what would be learned, and from what, without writing anything."""

    def run(self) -> None:
        """Adapt or resume."""
        from syndiff.pipeline.adaptation import adapt

        own = {"synthesis.inpainter": self.inpainter, "synthesis.model": self.model, "adapt.minutes": self.minutes}
        self.set = (*self.set, *(f"{name}={value}" for name, value in own.items() if value is not None))
        say(adapt(self.data, self.split, self.out, self.settings(), seed=self.seed, dry_run=self.dry_run))


@dataclass(kw_only=True)
class Synthesize(_Common):
    """Paint new annotated cases from the training split of a dataset."""

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`); only its training cases are used."""
    out: Path
    """Dataset folder to write; the same command goes on where it stopped."""
    count: int
    """Accepted cases wanted."""
    inpainter: Literal["compact", "copy_paste", "sdxl"] | None = None
    """Replaces synthesis.inpainter."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id of the pipeline; replaces
    synthesis.model."""
    gates: Literal["on", "report", "off"] | None = None
    """Refuse samples that no real lesion resembles, only score them, or neither; replaces gates.mode."""
    segmenter: Path | None = None
    """Run folder of a segmenter trained on the split's real cases, for the gate agreement; replaces gates.segmenter."""
    shard: str = "1/1"
    """Make only part i of n, written i/n, into a folder of its own; `syndiff merge` unites all parts."""
    dry_run: bool = False
    """Show prompts, places and the time of one sample without writing anything."""

    def run(self) -> None:
        """Synthesize and account for every attempt."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.data.splits import Split
        from syndiff.pipeline.painting import check_inpainter, make_gates, make_inpainter
        from syndiff.report.synthesis_page import build_synthesis_page
        from syndiff.synthesis.dry_run import dry_run
        from syndiff.synthesis.engine import synthesize
        from syndiff.synthesis.grammar import Grammar
        from syndiff.synthesis.shards import WHOLE, Shard

        shard = Shard.parse(self.shard)
        for name in ("inpainter", "model"):
            if getattr(self, name) is not None:
                self.set = (*self.set, f"synthesis.{name}={getattr(self, name)}")
        if self.gates is not None:
            self.set = (*self.set, f"gates.mode={self.gates}")
        if self.segmenter is not None:
            self.set = (*self.set, f"gates.segmenter={self.segmenter}")
        chosen = self.settings()
        chosen.refuse("synthesize", "synthesis.share")
        chosen.refuse_all_but("synthesize", "synthesis", "gates", "compact", "sdxl")
        settings = chosen.synthesis
        dataset = DatasetFolder.open(self.data)
        split = Split.read(self.split)
        split.check(dataset)
        inpainter = make_inpainter(chosen)
        check_inpainter(settings, split)
        options: dict[str, Any] = {
            "count": self.count,
            "seed": self.seed,
            "feather": settings.feather,
            "grain": settings.grain,
            "grammar": Grammar.for_dataset(dataset, settings.prompts),
            "gates": make_gates(chosen, inpainter, dataset, split, self.out),
            "background_lesion": settings.background_lesion,
            "backgrounds": settings.backgrounds,
            "shard": shard,
        }
        if self.dry_run:
            say(dry_run(dataset, split.train, inpainter, **options))
            return
        summary = synthesize(dataset, split.train, inpainter, self.out, **options)
        say(f"{summary}\n{summary.table}")
        if shard == WHOLE:
            say(f"Page: {build_synthesis_page(self.out)}")


@dataclass(kw_only=True)
class Merge:
    """Unite the shards of a synthesis: the folder that one run without shards would have made, byte for byte."""

    shards: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of all shards, in any order."""
    data: Path
    """Dataset folder that they were made from."""
    out: Path
    """Dataset folder to write; the same command goes on where it stopped."""
    count: int
    """Accepted cases wanted, as given to the shards."""
    backgrounds: str = ""
    """The shards' synthesis.backgrounds, if they had any."""

    def run(self) -> None:
        """Merge and account for every attempt."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.report.synthesis_page import build_synthesis_page
        from syndiff.synthesis.shards import merge

        dataset = DatasetFolder.open(self.data)
        summary = merge(self.shards, self.out, dataset, count=self.count, backgrounds=self.backgrounds)
        say(f"{summary}\n{summary.table}")
        say(f"Page: {build_synthesis_page(self.out)}")


@dataclass(kw_only=True)
class Train(_Common):
    """Train one segmenter on the training cases of a split, with synthetic cases if given."""

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`)."""
    out: Path
    """Run folder; the same command resumes it."""
    synthetic: Path | None = None
    """Synthetic dataset folder to train on as well."""
    steps: int | None = None
    """Optimiser steps; replaces training.steps."""
    dry_run: bool = False
    """Show steps, parameters, an estimate of the memory and what would be downloaded, without doing any of it."""

    def run(self) -> None:
        """Train or resume."""
        from syndiff.pipeline.arms import train_verb

        if self.steps is not None:
            self.set = (*self.set, f"training.steps={self.steps}")
        say(train_verb(self.data, self.split, self.out, self.synthetic, self.settings(), self.seed, self.dry_run))


@dataclass(kw_only=True)
class Evaluate:
    """Judge a trained run on the test cases of its split: scores with intervals, and the time of one image."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    data: Path
    """Dataset folder."""
    seed: int = 0
    """Seed of the noise."""
    tolerance: float = 2.0
    """Pixels within which two surfaces agree."""

    def run(self) -> None:
        """Evaluate and print the summary."""
        from syndiff.data.dataset import DatasetFolder
        from syndiff.data.splits import Split
        from syndiff.pipeline.arms import evaluate_runs, folder_name

        dataset = DatasetFolder.open(self.data)
        split = Split.read(self.run_folder / "split.json")
        split.check(dataset)
        (summary,) = evaluate_runs([self.run_folder], dataset, split, tolerance=self.tolerance, seed=self.seed)
        for name, score in summary["metrics"].items():
            interval = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
            say(f"{name:10} {'n/a' if score['mean'] is None else format(score['mean'], '.3f')}{interval}")
        say(f"Written to {self.run_folder / 'eval' / folder_name(dataset)}")


@dataclass(kw_only=True)
class Predict:
    """Segment images with a trained run: one mask PNG for each image, at the image's own size."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    images: Path
    """An image, or a folder of images."""
    out: Path
    """Folder for the masks."""
    timestep: int | None = None
    """Timestep that sampling starts from; the default is the model's own."""
    steps: int | None = None
    """Denoising steps; the default is the model's own, usually 1."""
    views: int | None = None
    """Flips and quarter turns to average, 1, 2, 4 or 8; the default is the model's own. 1 is the fastest."""
    seed: int = 0
    """Seed of the noise."""

    def run(self) -> None:
        """Predict every image."""
        from syndiff.deploy.predict import predict_images

        count = predict_images(
            self.run_folder,
            self.images,
            self.out,
            timestep=self.timestep,
            steps=self.steps,
            views=self.views,
            seed=self.seed,
        )
        say(f"{count} masks written to {self.out}")


@dataclass(kw_only=True)
class Study(_Common):
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


@dataclass(kw_only=True)
class Data:
    """Datasets: inspect, split, caption, fetch."""

    verb: (
        Annotated[Inspect, tyro.conf.subcommand("inspect")]
        | Annotated[SplitVerb, tyro.conf.subcommand("split")]
        | Annotated[CaptionVerb, tyro.conf.subcommand("caption")]
        | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    ) = field()

    def run(self) -> None:
        """Run the chosen verb."""
        self.verb.run()


Verb = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Adapt, tyro.conf.subcommand("adapt")]
    | Annotated[Synthesize, tyro.conf.subcommand("synthesize")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def check_seed(seed: int) -> None:
    """A seed is 0 or more."""
    if seed < 0:
        raise SyndiffError(f"--seed is {seed}; expected 0 or more.")


def say(text: str) -> None:
    """A result, on standard output; progress goes to standard error."""
    print(text, flush=True)


def main(args: list[str] | None = None) -> None:
    """Parse, run, and turn a user's mistake into one sentence and exit status 2."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    verb: Any = tyro.cli(
        Verb,
        prog="syndiff",
        description="Paint annotated medical images, train a one-step diffusion segmenter, prove what it was worth.",
        args=_settings_together(sys.argv[1:] if args is None else args),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        verb.run()
    except SyndiffError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in _USER_OS_ERRORS:
            raise
        fail(_os_sentence(error))
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_OF:
            raise
        fail(f"{error.name} is not installed; this needs it: pip install 'syndiff[{_EXTRA_OF[error.name]}]'.")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)


def _settings_together(args: list[str]) -> list[str]:
    """`--set A --set B` as `--set A B`: the parser would take the last one alone, without a word."""
    rest: list[str] = []
    settings: list[str] = []
    taking = False
    for argument in args:
        if argument.startswith("-"):
            taking = argument == "--set"
        if argument.startswith("--set="):
            settings.append(argument.removeprefix("--set="))
        elif argument != "--set":
            (settings if taking else rest).append(argument)
    return [*rest, "--set", *settings] if settings or "--set" in args else rest


_EXTRA_OF = {"peft": "sdxl", "transformers": "sdxl"}
"""Libraries that not everybody installs, and the extra that brings them."""

_USER_OS_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would be larger than this system allows; raise the limit or choose another --out",
    errno.EACCES: "permission denied; choose a folder that you may write to, or change its permissions",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "that is a folder; a file was expected",
    errno.EEXIST: "it exists already and is not a folder; choose another path",
}


def _os_sentence(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{_USER_OS_ERRORS[error.errno or 0]}."


def fail(message: str) -> None:
    """Print the mistake and leave with status 2."""
    print(f"syndiff: {message}", file=sys.stderr)
    sys.exit(2)
