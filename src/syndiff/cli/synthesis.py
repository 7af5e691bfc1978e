"""`syndiff adapt`, `synthesize` and `merge`: from an inpainter to painted cases."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from syndiff.cli.common import Configured, say


@dataclass(kw_only=True)
class Adapt(Configured):
    """Teach an inpainter what lesions look like in your images, from the training cases of a split."""

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`); it learns from the training cases, validation cases judge it."""
    out: Path
    """Run folder, which `synthesize --model` takes; the same command resumes it."""
    inpainter: Literal["compact", "sdxl"] = "compact"
    """compact is trained on a laptop; sdxl is a diffusion pipeline that gets a LoRA, on a GPU."""
    model: str | None = None
    """For compact: run folder of an adapted inpainter to start from, another centre's say; none: from scratch. For
    sdxl: folder or hub id of the pipeline. Replaces synthesis.model."""
    minutes: float | None = None
    """For compact: minutes of training, in place of adapt.steps; replaces adapt.minutes."""
    dry_run: bool = False
    """Show what would be learned, and from what, without writing anything."""

    def run(self) -> None:
        """Adapt or resume."""
        own = {"synthesis.inpainter": self.inpainter, "synthesis.model": self.model, "adapt.minutes": self.minutes}
        self.set = (*self.set, *(f"{name}={value}" for name, value in own.items() if value is not None))
        settings = self.settings()

        from syndiff.pipeline.adaptation import adapt

        say(adapt(self.data, self.split, self.out, settings, seed=self.seed, dry_run=self.dry_run))


@dataclass(kw_only=True)
class Synthesize(Configured):
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

        from syndiff.data.inspection import open_checked
        from syndiff.data.splits import Split
        from syndiff.pipeline.early import check_synthesis
        from syndiff.pipeline.painting import check_inpainter, make_gates, make_inpainter
        from syndiff.report.synthesis_page import build_synthesis_page
        from syndiff.synthesis.dry_run import dry_run
        from syndiff.synthesis.engine import synthesize
        from syndiff.synthesis.grammar import Grammar
        from syndiff.synthesis.shards import WHOLE, Shard

        shard = Shard.parse(self.shard)
        settings = chosen.synthesis
        dataset = open_checked(self.data)
        split = Split.read(self.split)
        split.check(dataset)
        inpainter = make_inpainter(chosen)
        check_inpainter(chosen, split, dataset)
        check_synthesis(dataset, split, chosen, inpainter, seed=self.seed)
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
        whole = shard == WHOLE
        summary = synthesize(dataset, split.train, inpainter, self.out, **options, least=0 if whole else None)
        say(f"{summary}\n{summary.table}")
        if whole:
            say(f"Page: {build_synthesis_page(self.out)}")
            summary.check(self.count)  # not before: the page shows why there are too few


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
        from syndiff.data.inspection import open_checked
        from syndiff.report.synthesis_page import build_synthesis_page
        from syndiff.synthesis.shards import merge

        dataset = open_checked(self.data)
        summary = merge(self.shards, self.out, dataset, count=self.count, least=0, backgrounds=self.backgrounds)
        say(f"{summary}\n{summary.table}")
        say(f"Page: {build_synthesis_page(self.out)}")
        summary.check(self.count)  # not before: the page shows why there are too few
