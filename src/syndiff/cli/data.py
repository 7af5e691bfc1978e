"""`syndiff data ...`: inspect, split, caption, fetch, import and export datasets, or render one."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from syndiff.cli.common import say
from syndiff.errors import SyndiffError


@dataclass(kw_only=True)
class Inspect:
    """Check a dataset folder and say in words whether it can be used."""

    data: Path
    """Dataset folder."""
    out: Path | None = None
    """PNG to write: a sheet of images with their masks drawn."""
    seed: int = 0
    """Seed of the choice of cases on the sheet."""

    def run(self) -> None:
        """Inspect, print, draw."""
        from syndiff.data.contact_sheet import check_sheet, dataset_sheet
        from syndiff.data.dataset import Dataset
        from syndiff.data.inspection import inspect

        if self.out is not None:
            check_sheet(self.out)
        dataset = Dataset.open(self.data)
        verdict = inspect(dataset, progress=True)
        say(verdict.text())
        if not verdict.usable:
            raise SyndiffError(f"{self.data} is not usable; its problems are listed above.")
        if self.out is not None:
            dataset_sheet(dataset, self.out, seed=self.seed)
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
        from syndiff.pipeline.splitting import split

        if os.path.lexists(self.out):  # a link that leads nowhere is somebody's too
            raise SyndiffError(
                f"{self.out} exists already and is not replaced: what was trained under a split depends on it. Remove "
                "it or give another --out."
            )
        made = split(self.data, method=self.method, seed=self.seed)
        made.write(self.out)
        say(f"{made}\nWritten to {self.out}")


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
class Phantom:
    """Render a colonoscopy with exact masks as a dataset folder, to try things on without any patient's picture."""

    out: Path
    """Dataset folder to write, new or empty."""
    groups: int = 20
    """Sequences, which are the groups."""
    frames: int = 5
    """Frames of each sequence."""
    height: int = 288
    """Height of a frame in pixels."""
    width: int = 352
    """Width of a frame in pixels."""
    instruments: bool = False
    """Two classes: a metal instrument over the picture in most sequences, beside the polyps."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> None:
        """Render."""
        from syndiff.phantom import write_phantom

        write_phantom(
            self.out,
            groups=self.groups,
            frames=self.frames,
            height=self.height,
            width=self.width,
            instruments=self.instruments,
            seed=self.seed,
        )
        say(f"{self.groups * self.frames} cases written to {self.out}")


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
    """Write anew where captions exist; the earlier table is kept beside it, as captions.earlier-1.csv."""

    def run(self) -> None:
        """Measure, write, say how often each word was used."""
        from syndiff.data.inspection import open_checked
        from syndiff.synthesis.prompts.captions import write_captions
        from syndiff.synthesis.prompts.grammar import Grammar

        dataset = open_checked(self.data)
        grammar = Grammar.for_dataset(dataset, self.prompts)
        out = self.out or self.data / "captions.csv"
        for slot, words in write_captions(dataset, grammar, out, replace=self.force, progress=True).items():
            total = max(1, sum(words.values()))
            say(f"{slot:12} " + ", ".join(f"{word} {n} ({n / total:.0%})" for word, n in words.items()))
        say(f"{len(dataset.cases)} captions written to {out}")


@dataclass(kw_only=True)
class Import:
    """Bring annotations of another tool into the project's layout, and say what was taken and what was left."""

    source: Annotated[Path, tyro.conf.Positional]
    """The tool's file, or the folder that holds it; for masks the folder of the pictures."""
    format: Annotated[Literal["nnunet", "coco", "labelme", "cvat", "via", "masks"], tyro.conf.arg(name="from")]
    """What the annotations are; masks are pictures of masks."""
    out: Path
    """Dataset folder to write."""
    images: Path | None = None
    """Folder under which the pictures lie, where they do not lie beside the annotations."""
    classes: str = ""
    """Labels to take, as polyp,adenoma=polyp: the second joins the first's class. All labels unless given."""
    flatten: bool = False
    """Let what is drawn last cover what lies under it, so that classes exclude each other."""
    group_pattern: str = ""
    """Regular expression that fits the whole name; its brackets hold the patient or video, as in '(\\d+)_.*'."""
    groups: str = ""
    """CSV and its column with the patient or video, as patients.csv:patient; its first column names the pictures."""
    label_attribute: str = ""
    """VIA: the attribute of regions that is the label."""
    masks: Path | None = None
    """Masks: folder that holds them, where it is another than the pictures'."""
    mask_suffix: tuple[str, ...] = ()
    """Masks: what their names have after the picture's, as _mask, or _tool=instrument for masks of one label."""
    colours: tuple[str, ...] = ()
    """Masks: what colours mean, as 255,0,0=polyp 0,255,0=instrument; black is background."""
    threshold: int | None = None
    """Masks: the grey value above which they are foreground."""
    exif: Literal["auto", "turned", "stored"] = "auto"
    """Which picture was annotated where EXIF turns it: as shown, or as stored; auto goes by the size that is stated."""
    skip: bool = False
    """Leave out cases that cannot be taken, and name them, instead of refusing all."""
    dry_run: bool = False
    """Read and draw everything and print the report, but write nothing."""

    def run(self) -> None:
        """Read, draw, write, report."""
        from syndiff.data.importing import ImportSettings, import_dataset

        names = {item.name for item in fields(ImportSettings)}
        settings = ImportSettings(**{name: value for name, value in vars(self).items() if name in names})
        report = import_dataset(self.source, self.out, settings, dry_run=self.dry_run, progress=True)
        say(report.text())
        if self.dry_run:
            say("Nothing was written (--dry-run).")
        else:
            say(f"Written to {self.out}; look at it: syndiff data inspect --data {self.out} --out sheet.png")


@dataclass(kw_only=True)
class ExportVerb:
    """Write a dataset in the layout of another tool."""

    data: Path
    """Dataset folder."""
    to: Literal["nnunet", "coco"]
    """nnU-Net's raw layout, or COCO instances."""
    out: Path
    """Folder to write."""

    def run(self) -> None:
        """Check, write, say what to know."""
        from syndiff.data.exporting import export_dataset
        from syndiff.data.inspection import open_checked

        dataset = open_checked(self.data)
        notes = export_dataset(dataset, self.out, self.to, progress=True)
        say("\n".join([f"{len(dataset.cases)} cases written to {self.out}", *(f"  - {note}" for note in notes)]))


@dataclass(kw_only=True)
class Data:
    """Datasets: inspect, split, caption, fetch, import, export, render a phantom."""

    verb: (
        Annotated[Inspect, tyro.conf.subcommand("inspect")]
        | Annotated[SplitVerb, tyro.conf.subcommand("split")]
        | Annotated[CaptionVerb, tyro.conf.subcommand("caption")]
        | Annotated[Fetch, tyro.conf.subcommand("fetch")]
        | Annotated[Phantom, tyro.conf.subcommand("phantom")]
        | Annotated[Import, tyro.conf.subcommand("import")]
        | Annotated[ExportVerb, tyro.conf.subcommand("export")]
    ) = field()

    def run(self) -> None:
        """Run the chosen verb."""
        self.verb.run()
