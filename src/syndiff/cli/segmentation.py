"""`syndiff train`, `evaluate`, `calibrate` and `predict`: one segmenter."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from syndiff.cli.common import Configured, Spread, say
from syndiff.inference.options import SMOOTH_SECONDS, EngineName
from syndiff.models.settings import Refine


@dataclass(kw_only=True)
class Train(Configured):
    """Train one segmenter on the training cases of a split, with synthetic cases if given."""

    data: Path
    """Dataset folder."""
    out: Path
    """Run folder; the same command resumes it."""
    split: Path | None = None
    """Split JSON (see `syndiff data split`). Without it: the split that --out or --synthetic was made with, else the
    dataset's own, by group where groups are known; it is kept in --out."""
    synthetic: Path | None = None
    """Synthetic dataset folder to train on as well."""
    reviews: Path | None = None
    """File of reviews. Of the synthetic cases only accepted and corrected ones are used, one without a review is left
    out; corrected masks replace those of training cases."""
    steps: int | None = None
    """Optimiser steps; replaces training.steps."""
    dry_run: bool = False
    """Show steps, parameters, an estimate of the memory and what would be downloaded, without doing any of it."""

    def run(self) -> None:
        """Train or resume."""
        settings = self.settings({"training.steps": self.steps})

        from syndiff.pipeline.training import plan_training, train

        if self.dry_run:
            say(
                plan_training(
                    self.data,
                    self.out,
                    split=self.split,
                    synthetic=self.synthetic,
                    settings=settings,
                    reviews=self.reviews,
                )
            )
            return
        trained = train(
            self.data,
            self.out,
            split=self.split,
            synthetic=self.synthetic,
            reviews=self.reviews,
            settings=settings,
            seed=self.seed,
        )
        say(str(trained))


@dataclass(kw_only=True)
class Evaluate:
    """Judge a run on the test cases of its split, or on another dataset: scores with intervals, and the time."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    data: Path
    """Dataset folder."""
    seed: int = 0
    """Seed of the noise."""
    tolerance: float = 2.0
    """Pixels within which two surfaces agree."""
    external: bool = False
    """Judge on all cases of a dataset that the run did not learn from, such as another centre's."""
    refine: Refine = "none"
    """With a second look at lesions, as `syndiff predict --refine`."""

    def run(self) -> None:
        """Evaluate and print the summary."""
        from syndiff.pipeline.evaluation import evaluate

        found = evaluate(
            self.run_folder,
            self.data,
            external=self.external,
            tolerance=self.tolerance,
            seed=self.seed,
            refine=self.refine,
        )
        say(str(found))


@dataclass(kw_only=True)
class Calibrate:
    """Find a wide contour with a guarantee, from patients that neither trained nor chose the model.

    With --confidence, in at least --coverage of new patients, it misses at most --miss of the lesion's pixels in every
    frame. It is stored beside the run's best weights. Decide what to promise before you look at the result.
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    data: Path
    """Dataset folder: the run's own, whose test cases are taken, or with --external another one."""
    external: bool = False
    """Calibrate on all cases of a dataset that the run did not learn from, such as those of the centre where it is to
    be used."""
    miss: float = 0.1
    """Share of the lesion's pixels that may be missed."""
    coverage: float | None = None
    """Share of new patients that are covered; 0.9 without --average."""
    confidence: float | None = None
    """Confidence in the statement; 0.9 without --average."""
    average: bool = False
    """Make the weaker statement on the mean over patients, which needs fewer of them."""
    group_per_case: bool = False
    """Take every case for another patient, where no groups.csv says more."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Of several classes, the one to calibrate; each has a guarantee of its own."""
    timestep: int | None = None
    """Timestep that sampling starts from; the default is the model's own. The guarantee holds for this one only."""
    steps: int | None = None
    """Denoising steps, likewise."""
    tta: int | None = None
    """Flips and quarter turns to average, 1, 2, 4 or 8, likewise."""
    seed: int = 0
    """Seed of the noise."""

    def run(self) -> None:
        """Calibrate and print what may be said."""
        from syndiff.pipeline.calibration import calibrate

        found = calibrate(
            self.run_folder,
            self.data,
            external=self.external,
            coverage=self.coverage,
            confidence=self.confidence,
            miss=self.miss,
            average=self.average,
            group_per_case=self.group_per_case,
            class_name=self.class_name,
            timestep=self.timestep,
            steps=self.steps,
            tta=self.tta,
            seed=self.seed,
        )
        say(str(found))


@dataclass(kw_only=True)
class Predict(Spread):
    """Segment images with a trained run: a mask for each, at the image's own size, and a table of figures.

    The same command goes on where it stopped and predicts only what is new. A mask that somebody changed is never
    replaced. Exit status 1 says that an image could not be read, or that a changed mask was kept; each is named.
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    images: Path
    """An image, a folder with all below it, a glob in quotes, a list of paths (list.txt or @list), or - for a list on
    standard input."""
    out: Path
    """Folder for the masks: new or empty, or one of an earlier `syndiff predict` of the same run and settings."""
    probability: bool = False
    """Write the probability of every pixel too, as a 16-bit PNG (65535 is 1)."""
    overlay: bool = False
    """Write a picture with the contour of its mask too, as a JPEG."""
    engine: EngineName = "auto"
    """What computes the network; auto takes that of the masks in --out, or what is fastest here."""
    timestep: int | None = None
    """Timestep that sampling starts from; the default is the model's own."""
    steps: int | None = None
    """Denoising steps; the default is the model's own, usually 1."""
    tta: int | None = None
    """Flips and quarter turns to average, 1, 2, 4 or 8; the default is the model's own. 1 is the fastest."""
    seed: int = 0
    """Seed of the noise."""
    refine: Refine = "none"
    """lesions: a second look at a zoomed crop around each lesion found or suspected, for contours on large images.
    tiles: as lesions, and where nothing is found four parts of the image are searched."""
    smooth: float = SMOOTH_SECONDS
    """Seconds over which the answers to a video are averaged, so that masks do not flicker; 0: each frame alone."""

    def run(self) -> None:
        """Predict every image."""
        from syndiff.inference.predict import predict

        result = predict(
            self.run_folder,
            self.images,
            self.out,
            engine=self.engine,
            timestep=self.timestep,
            steps=self.steps,
            tta=self.tta,
            seed=self.seed,
            refine=self.refine,
            smooth=self.smooth,
            probability=self.probability,
            overlay=self.overlay,
            ray=self.cluster(),
        )
        say(result.summary(self.out))
        for problem in result.problems:
            print(problem, file=sys.stderr)
        if result.problems:
            sys.exit(1)


@dataclass(kw_only=True)
class Export:
    """Write a trained run as ONNX, with a JSON beside it: it then predicts without torch, and faster.

    Everything is in the graph but resizing, test-time views and the threshold, which the JSON describes. `syndiff
    predict --run` takes the folder, and any other program that reads ONNX takes the graph.
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Run folder of `syndiff train`, or one arm of `syndiff run`."""
    out: Path | None = None
    """Folder for model.onnx and export.json; by default the run's own folder export, or export-int8, where predict
    finds it."""
    int8: bool = False
    """In 8-bit integers, with ranges from the training images: smaller, and faster on CPUs with VNNI. What it costs in
    Dice is measured on the validation cases and shown."""
    data: Path | None = None
    """The run's dataset folder; for --int8 only."""
    timestep: int | None = None
    """Timestep that sampling starts from; the default is the model's own."""
    steps: int | None = None
    """Denoising steps; the default is the model's own, usually 1."""
    tta: int | None = None
    """Flips and quarter turns to average, 1, 2, 4 or 8; the default is the model's own."""

    def run(self) -> None:
        """Export and say what was measured."""
        from syndiff.inference.export import export

        made = export(
            self.run_folder,
            self.out,
            timestep=self.timestep,
            steps=self.steps,
            tta=self.tta,
            int8=self.int8,
            data=self.data,
        )
        say(str(made))
