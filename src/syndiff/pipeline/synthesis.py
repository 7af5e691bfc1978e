"""`syndiff synthesize`: from settings to a synthetic dataset folder and its page."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from syndiff.config.loading import settings_or_default
from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.class_view import class_of
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes
from syndiff.pipeline.early import check_synthesis
from syndiff.pipeline.factories import make_gates, make_inpainter
from syndiff.pipeline.provenance import (
    check_elsewhere,
    check_gate_segmenter,
    check_inpainter,
    check_shards,
    refuse_held_out,
)
from syndiff.pipeline.reviewing import both_given, reviewed_samples
from syndiff.pipeline.splitting import FILE, find_split
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.synthesis.dry_run import dry_run
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.finish import SynthesisSummary
from syndiff.synthesis.gates.reviewed import Reviewed, told
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.inpainters.checks import check_parts
from syndiff.synthesis.manifest import SynthesisFolder
from syndiff.synthesis.parts import Part, Spread, make_part
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.shards import WHOLE, Shard, merge_shards
from syndiff.synthesis.studio import Studio
from syndiff.workers.settings import Ray

log = logging.getLogger("syndiff")


def synthesize(
    data: Path | str,
    out: Path | str,
    *,
    count: int,
    split: Split | Path | str | None = None,
    settings: Settings | None = None,
    inpainter: Inpainter | None = None,
    reviews: Path | str | None = None,
    reviewed: Sequence[Path | str] = (),
    seed: int = 0,
    shard: Shard = WHOLE,
    ray: Ray | None = None,
    progress: bool = True,
) -> SynthesisSummary:
    """Make `out` a dataset folder of `count` synthetic cases from the training cases of a split, or go on.

    Without a `split` it is that of the inpainter, else the dataset's own, by group where groups are known; it is kept
    in `out`. Without `settings` they are those of the preset compact. An `inpainter` of your own takes the place of the
    one that the settings name; settings of that one are refused. A file of `reviews` draws the gates' bounds closer, by
    what reviewers said of the samples in the `reviewed` synthetic folders.

    A whole synthesis gets its page, synthesis.html, also where fewer than `count` cases were accepted: what it returns
    says how many. The attempts of a `shard` are united by `merge`. On a cluster of `ray` many machines make one folder.

    Raises SyndiffError for an inpainter or a segmenter of a gate that may have seen held-out cases, for an inpainter
    that lacks a part or gives what is no picture, for settings without effect, for fewer than two cases or none with a
    place for a lesion, and for an `out` that was made with other settings or by something else.

    >>> copy_paste = syndiff.load_settings("compact", values={"synthesis.inpainter": "copy_paste"})
    >>> syndiff.synthesize("my-polyps", "synthetic", count=3, settings=copy_paste).accepted
    3
    """
    settings, out = settings_or_default(settings), Path(out)
    if ray and shard != WHOLE:
        raise SyndiffError(f"--shard {shard} has no effect with --ray, which divides the work itself; leave one out.")
    own = inpainter
    dataset, split, inpainter, segmenter = _ready(data, split, out, settings, inpainter, seed=seed, progress=progress)
    said = _said(settings, reviews, reviewed, dataset, split)
    gates = make_gates(settings, inpainter, dataset, split, out, segmenter, reviewed=said, progress=progress)
    if gates and gates.reviews:
        log.info(told(gates.reviews))
    summary = synthesize_cases(
        dataset,
        split.train,
        inpainter,
        out,
        settings.synthesis,
        count=count,
        least=0 if shard == WHOLE else None,
        seed=seed,
        grammar=Grammar.for_dataset(dataset, settings.synthesis.prompts),
        gates=gates,
        shard=shard,
        spread=None if ray is None else Spread(ray, _Making(dataset, split, settings, out, own, segmenter, said, seed)),
        progress=progress,
    )
    split.write(out / FILE)
    if shard == WHOLE:
        build_synthesis_page(out)
    return summary


@dataclass
class _Making:
    """Makes parts of a synthesis in a worker, which has its own studio: as that of the user's process, built once."""

    dataset: Dataset
    split: Split
    settings: Settings
    out: Path
    own: Inpainter | None
    segmenter: Path | None
    said: Reviewed | None
    seed: int

    def __call__(self, part: Part) -> Part:
        return make_part(self._studio, part)

    @cached_property
    def _studio(self) -> Studio:
        inpainter = self.own or make_inpainter(self.settings)
        gates = make_gates(
            self.settings,
            inpainter,
            self.dataset,
            self.split,
            self.out,
            self.segmenter,
            reviewed=self.said,
            progress=False,
        )
        grammar = Grammar.for_dataset(self.dataset, self.settings.synthesis.prompts)
        return Studio(
            self.dataset,
            self.split.train,
            inpainter,
            self.settings.synthesis,
            seed=self.seed,
            rules=PlacementRules(),
            grammar=grammar,
            gates=gates,
        )


def plan_synthesis(
    data: Path,
    out: Path,
    *,
    count: int,
    split: Split | Path | None,
    settings: Settings,
    seed: int,
    reviews: Path | None = None,
    reviewed: Sequence[Path] = (),
    shard: Shard = WHOLE,
) -> str:
    """The first attempts of `synthesize`, and what it would take, in words; nothing is written."""
    dataset, split, inpainter, segmenter = _ready(data, split, out, settings, None, seed=seed, dry=True)
    said = _said(settings, reviews, reviewed, dataset, split)
    gates = make_gates(settings, inpainter, dataset, split, out, segmenter, reviewed=said)
    shown = dry_run(
        dataset,
        split.train,
        inpainter,
        settings.synthesis,
        count=count,
        seed=seed,
        grammar=Grammar.for_dataset(dataset, settings.synthesis.prompts),
        gates=gates,
        shard=shard,
    )
    heard = f"{told(gates.reviews)}\n" if gates and gates.reviews else ""
    return f"{split}\n{heard}{shown}"


def merge(
    shards: Sequence[Path | str],
    data: Path | str,
    out: Path | str,
    *,
    count: int,
    backgrounds: str = "",
    progress: bool = True,
) -> SynthesisSummary:
    """Unite shards into the folder that one synthesis without shards would have made, byte for byte, with its page.

    Raises SyndiffError for a dataset that the shards were not made from, a missing shard, shards of other settings,
    and shards whose attempts end too early, with what to run on.

    >>> from syndiff.synthesis.shards import Shard
    >>> plain = syndiff.load_settings(values={"synthesis.inpainter": "copy_paste", "gates.mode": "off"})
    >>> for part in (1, 2):
    ...     shard = Shard(part, 2)
    ...     made = syndiff.synthesize("my-polyps", f"part-{part}", count=4, settings=plain, shard=shard)
    >>> syndiff.merge(["part-1", "part-2"], "my-polyps", "merged", count=4).accepted
    4
    """
    folders, out = [Path(shard) for shard in shards], Path(out)
    dataset = open_checked(Path(data), progress=progress)
    painted = (sample.settings.get("paints", "") for sample in SynthesisFolder(folders[0])) if folders else iter("")
    dataset = class_of(dataset, (), str(next(painted, "")))
    check_shards(folders, dataset)
    summary = merge_shards(folders, out, dataset, count=count, least=0, backgrounds=backgrounds)
    if (kept := folders[0] / FILE).is_file():
        write_bytes(out / FILE, kept.read_bytes())
    build_synthesis_page(out)
    return summary


def _said(
    settings: Settings,
    reviews: Path | str | None,
    reviewed: Sequence[Path | str],
    dataset: Dataset,
    split: Split,
) -> Reviewed | None:
    """What reviewers said of earlier samples, None where nobody is to be heard."""
    if not both_given(reviews, reviewed) or not reviews:
        return None
    if settings.gates.mode == "off":
        raise SyndiffError("--reviews has no effect while gates.mode is off; leave it out, or set gates.mode to on.")
    return reviewed_samples(Path(reviews), [Path(folder) for folder in reviewed], dataset, split)


def _ready(
    data: Path | str,
    given: Split | Path | str | None,
    out: Path,
    settings: Settings,
    own: Inpainter | None,
    *,
    seed: int,
    dry: bool = False,
    progress: bool = True,
) -> tuple[Dataset, Split, Inpainter, Path | None]:
    """What a synthesis works with, the segmenter of its gate at the end, once nothing can be refused any more.

    Of a dataset of several classes it is the view of the one that is painted.
    """
    check_use(settings, "synthesize", None if own is None else "synthesize with an inpainter of your own")
    if own is not None:
        check_parts(own)
    dataset = open_checked(Path(data), progress=progress)
    split = find_split(dataset, given, out, beside=(settings.synthesis.model, settings.gates.segmenter), dry=dry)
    inpainter = make_inpainter(settings) if own is None else own
    if own is not None:
        refuse_held_out(f"the inpainter {own.name}", own.seen, dataset, split)
    else:
        check_inpainter(settings, split, dataset)
    check_elsewhere(settings, split, dataset)
    painted = class_of(dataset, split.train, settings.synthesis.paints)
    if painted is not dataset:
        log.info(f"lesions of the class {painted.targets[0]} are painted")
    check_synthesis(painted, split, settings, inpainter, seed=seed)
    return painted, split, inpainter, check_gate_segmenter(settings, split, dataset)
