"""`syndiff adapt`, `synthesize` and `merge`: from an inpainter to synthetic cases."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from syndiff.cli.common import Configured, Spread, say


@dataclass(kw_only=True)
class Adapt(Configured):
    """Teach an inpainter what lesions look like in your images, from the training cases of a split."""

    data: Path
    """Dataset folder."""
    out: Path
    """Run folder, which `synthesize --model` takes; the same command resumes it."""
    split: Path | None = None
    """Split JSON (see `syndiff data split`); it learns from the training cases, validation cases judge it. Without it:
    the split that --out was made with, else the dataset's own, by group where groups are known; it is kept in --out."""
    inpainter: Literal["compact", "sdxl"] = "compact"
    """compact is trained on a laptop; sdxl is a diffusion pipeline that gets a LoRA, on a GPU."""
    model: str | None = None
    """For compact: run folder of an adapted inpainter to start from, another centre's say; none: from scratch. For
    sdxl: folder or hub id of the pipeline. Replaces synthesis.model."""
    minutes: float | None = None
    """For compact: minutes of training, in place of adapt.steps; replaces adapt.minutes."""
    reviews: Path | None = None
    """For compact: file of reviews. Samples that reviewers rated join the training cases: rated 5 they weigh as much as
    a real one, rated 1 nothing."""
    reviewed: tuple[Path, ...] = ()
    """With --reviews, the synthetic dataset folders that were reviewed."""
    dry_run: bool = False
    """Show what would be learned, and from what, without writing anything."""

    def run(self) -> None:
        """Adapt or resume."""
        settings = self.settings(
            {"synthesis.inpainter": self.inpainter, "synthesis.model": self.model, "adapt.minutes": self.minutes}
        )

        from syndiff.pipeline.adaptation import adapt, plan_adaptation

        if self.dry_run:
            say(
                plan_adaptation(
                    self.data,
                    self.out,
                    split=self.split,
                    settings=settings,
                    reviews=self.reviews,
                    reviewed=self.reviewed,
                )
            )
            return
        adapted = adapt(
            self.data,
            self.out,
            split=self.split,
            settings=settings,
            reviews=self.reviews,
            reviewed=self.reviewed,
            seed=self.seed,
        )
        say(str(adapted))


@dataclass(kw_only=True)
class Synthesize(Spread, Configured):
    """Paint new annotated cases from the training split of a dataset."""

    data: Path
    """Dataset folder."""
    out: Path
    """Dataset folder to write; the same command goes on where it stopped."""
    count: int
    """Accepted cases wanted."""
    split: Path | None = None
    """Split JSON (see `syndiff data split`); only its training cases are used. Without it: the split that --out or
    --model was made with, else the dataset's own, by group where groups are known; it is kept in --out."""
    inpainter: Literal["compact", "copy_paste", "sdxl"] | None = None
    """Replaces synthesis.inpainter."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id of the pipeline; replaces
    synthesis.model."""
    backgrounds: Path | None = None
    """Folder of lesion-free frames to paint into, instead of the training frames; replaces synthesis.backgrounds."""
    lesions: Path | None = None
    """Another dataset that lends its lesions, instead of the training cases; replaces synthesis.lesions."""
    gates: Literal["on", "report", "off"] | None = None
    """Refuse samples that no real lesion resembles, only score them, or neither; replaces gates.mode."""
    segmenter: Path | None = None
    """Run folder of a segmenter trained on the split's real cases, for the gate agreement; replaces gates.segmenter."""
    reviews: Path | None = None
    """File of reviews: the gates' bounds are drawn closer, so that what reviewers rejected falls outside as far as the
    gates can tell it from what they accepted."""
    reviewed: tuple[Path, ...] = ()
    """With --reviews, the synthetic dataset folders that were reviewed; the gate scores of their samples are taken."""
    shard: str = "1/1"
    """Make only part i of n, written i/n, into a folder of its own; `syndiff merge` unites all parts."""
    dry_run: bool = False
    """Show prompts, places and the time of one sample without writing anything."""

    def run(self) -> None:
        """Synthesize and account for every attempt."""
        settings = self.settings(
            {
                "synthesis.inpainter": self.inpainter,
                "synthesis.model": self.model,
                "synthesis.backgrounds": None if self.backgrounds is None else str(self.backgrounds),
                "synthesis.lesions": None if self.lesions is None else str(self.lesions),
                "gates.mode": self.gates,
                "gates.segmenter": None if self.segmenter is None else str(self.segmenter),
            }
        )
        cluster = self.cluster()

        from syndiff.pipeline.synthesis import plan_synthesis, synthesize
        from syndiff.report.synthesis_page import PAGE
        from syndiff.synthesis.shards import WHOLE, Shard

        shard = Shard.parse(self.shard)
        if self.dry_run:
            say(
                plan_synthesis(
                    self.data,
                    self.out,
                    count=self.count,
                    split=self.split,
                    settings=settings,
                    seed=self.seed,
                    reviews=self.reviews,
                    reviewed=self.reviewed,
                    shard=shard,
                )
            )
            return
        summary = synthesize(
            self.data,
            self.out,
            count=self.count,
            split=self.split,
            settings=settings,
            seed=self.seed,
            reviews=self.reviews,
            reviewed=self.reviewed,
            shard=shard,
            ray=cluster,
        )
        say(f"{summary}\n{summary.table}")
        if shard == WHOLE:
            say(f"Page: {self.out / PAGE}")
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
        from syndiff.pipeline.synthesis import merge
        from syndiff.report.synthesis_page import PAGE

        summary = merge(self.shards, self.data, self.out, count=self.count, backgrounds=self.backgrounds)
        say(f"{summary}\n{summary.table}\nPage: {self.out / PAGE}")
        summary.check(self.count)  # not before: the page shows why there are too few
