"""`syndiff train`: one segmenter, of a run or alone, and how long it trains."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from syndiff.config.loading import settings_or_default
from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.files import sha256, write_json
from syndiff.models.settings import Kind
from syndiff.pipeline.early import check_segmenters
from syndiff.pipeline.provenance import (
    check_synthetic_inpainter,
    datasets_behind,
    open_synthetic,
)
from syndiff.pipeline.reviewing import FILE, Heeded, Source, heed
from syndiff.pipeline.splitting import find_split
from syndiff.pipeline.training_plan import check_training, training_plan
from syndiff.training.checkpoints import score_of
from syndiff.training.loop import Task
from syndiff.training.planning import Plan, in_words, plan_trainings, train_planned
from syndiff.training.run_folder import check_run, claimed_run, open_run
from syndiff.training.segmentation import SegmentationTask

KINDS: tuple[Kind, ...] = ("control", "diffusion")
"""What a run trains."""
log = logging.getLogger("syndiff")


def plan_segmenters(
    path: Path, settings: Settings, cases: CaseArrays, kinds: Sequence[Kind] = KINDS, *, told: bool = True
) -> dict[str, Plan]:
    """How long each kind of network is trained: `training.steps`, or as many as fit into `run.minutes`.

    What was measured for minutes is written to `path` once and read again when the run resumes. With `told` the
    expected time is logged.
    """
    training, minutes = settings.training, settings.run.minutes

    def tasks() -> dict[str, Task]:
        return {
            kind: SegmentationTask(
                replace(settings.model, kind=kind), training, settings.augmentation, train_cases=cases, seed=0
            )
            for kind in kinds
        }

    share = training.coarse_share
    plans = plan_trainings(path, tasks, kinds, training, minutes=minutes, first_share=share)
    if told:
        asked = f"{minutes:g} minutes for each segmenter; " if minutes else ""
        log.info(asked + in_words(plans, tasks, training, first_share=share))
    return plans


def train_segmenter(
    run: Path,
    settings: Settings,
    plan: Plan,
    split: Split,
    train_cases: CaseArrays,
    val_cases: CaseArrays,
    *,
    synthetic: Path | None,
    reviews: Heeded | None = None,
    seed: int,
    progress: bool = True,
) -> Path:
    """Train one segmenter into its run folder, or go on; returns the best checkpoint.

    `synthetic` is the folder of the cases that were added to the real ones, if any, `reviews` what chose among them and
    corrected masks. The split, that folder's manifest (or files, where it has none) and what the reviews come to belong
    to the settings of the run: with others it is refused, not continued. So do the other datasets that stand behind
    those cases, on which the run must not be judged.
    """
    training = replace(settings.training, steps=plan.steps)
    check_training(
        settings.model, training, train_cases.targets
    )  # what it would be refused for comes before the folder
    elsewhere = sorted(datasets_behind(synthetic) - {split.dataset}) if synthetic else []
    plain = replace(settings, training=training).recorded()
    if plan.minutes:
        del plain["training"]["steps"]  # plan.json has the steps
    config = {
        "seed": seed,
        "data": {
            "dataset": split.dataset,
            "split": split.hash,
            "synthetic": _identity(synthetic) if synthetic else "none",
            "train": len(train_cases),
            "val": len(val_cases),
            **({"learned_elsewhere": elsewhere} if elsewhere else {}),
            **({"reviews": reviews.recorded} if reviews else {}),
        },
        **({"run": {"minutes": plan.minutes}} if plan.minutes else {}),
        **{section: plain[section] for section in ("model", "training", "augmentation")},
    }
    with claimed_run(run, "train"):
        check_run(run, config)

        def task(steps: int) -> SegmentationTask:
            return SegmentationTask(
                settings.model,
                replace(training, steps=steps),
                settings.augmentation,
                train_cases=train_cases,
                val_cases=val_cases,
                seed=seed,
                about={"reviews": reviews.recorded} if reviews else {},
            )

        open_run(run, config)
        split.write(run / "split.json")
        if reviews:
            write_json(run / FILE, {**reviews.recorded, "real": reviews.real, "synthetic": reviews.synthetic})
        _seen(train_cases, val_cases, synthetic).write(run)
        return train_planned(run, settings.model.kind, task, training, plan, seed=seed, progress=progress)


def _seen(train_cases: CaseArrays, val_cases: CaseArrays, added: Path | None) -> Seen:
    """The pictures that a training sees, and those behind the synthetic ones among them."""
    learned, chosen = (dict(zip(cases.contents, cases.ids, strict=False)) for cases in (train_cases, val_cases))
    return Seen(learned, chosen) | (Seen.read(added) if added else None)


def _identity(added: Path) -> str:
    """What was added: the pictures, masks and tables that lie there now, and the manifest that tells of them."""
    manifest = added / "manifest.jsonl"
    files = Dataset.open(added).fingerprint()
    return f"{sha256(manifest)} {files}" if manifest.is_file() else files


@dataclass(frozen=True)
class Trained:
    """A trained segmenter: its run folder, the best checkpoint there, and that one's mean Dice on validation cases.

    >>> 0 <= syndiff.train("my-polyps", "runs/mine", settings=settings).val_dice <= 1
    True
    """

    run: Path
    checkpoint: Path
    val_dice: float

    def __str__(self) -> str:
        return f"Best model: {self.checkpoint} (validation Dice {self.val_dice:.3f})"


def train(
    data: Path | str,
    out: Path | str,
    *,
    split: Split | Path | str | None = None,
    synthetic: Path | str | None = None,
    reviews: Path | str | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Trained:
    """Train one segmenter on the training cases of a split, and on a synthetic folder if given, or go on.

    Without a `split` it is that of the synthetic folder, else the dataset's own, by group where groups are known; it
    is kept in `out`.
    With a file of `reviews` only those synthetic cases are used that reviewers accepted or corrected, and corrected
    masks replace those of the training cases. Without `settings` they are those of the preset compact.

    Raises SyndiffError for settings that cannot be, or have no effect here, for synthetic cases that may have seen
    held-out ones, and for reviews that change nothing.

    >>> trained = syndiff.train("my-polyps", "runs/mine", settings=settings)
    >>> trained.checkpoint.parent.name
    'checkpoints'
    """
    settings, out = settings_or_default(settings), Path(out)
    dataset, split, sources = _sources(data, split, out, synthetic, settings, progress=progress)
    heeded = heed(Path(reviews), sources) if reviews else None
    if heeded:
        sources = heeded.sources
        log.info(str(heeded))
    check_segmenters(settings, [settings.model.kind], fetch=True, targets=dataset.told_apart)
    size = settings.model.image_size
    best = train_segmenter(
        out,
        settings,
        Plan(steps=settings.training.steps),
        split,
        load_cases(sources, size, detail=settings.augmentation.detail, progress=progress),
        load_cases([(dataset, split.val)], size, progress=progress),
        synthetic=Path(synthetic) if synthetic else None,
        reviews=heeded,
        seed=seed,
        progress=progress,
    )
    return Trained(out, best, score_of(best))


def plan_training(
    data: Path,
    out: Path,
    *,
    split: Split | Path | None,
    synthetic: Path | None,
    settings: Settings,
    reviews: Path | None = None,
) -> str:
    """What `train` would do, take and fetch, in words; nothing is written or downloaded."""
    dataset, found, sources = _sources(data, split, out, synthetic, settings, dry=True)
    heeded = heed(reviews, sources) if reviews else None
    cases = sum(len(ids) for _, ids in (heeded.sources if heeded else sources))
    plan = training_plan(settings.model, settings.training, cases, dataset.told_apart)
    told = f"{heeded}\n" if heeded else ""
    return f"{found}\n{told}{cases} cases to train on\n{plan}\n\nnothing was written or downloaded"


def _sources(
    data: Path | str,
    given: Split | Path | str | None,
    out: Path,
    synthetic: Path | str | None,
    settings: Settings,
    *,
    dry: bool = False,
    progress: bool = True,
) -> tuple[Dataset, Split, list[Source]]:
    """The dataset, its split, and the cases to train on, once none of them can be refused any more."""
    kind = settings.model.kind
    check_use(
        settings,
        "train",
        None if synthetic else "train without --synthetic",
        None if kind == "diffusion" else f"train with model.kind={kind}",
    )
    dataset = open_checked(Path(data), progress=progress)
    split = find_split(dataset, given, out, beside=[synthetic] if synthetic else [], dry=dry)
    sources: list[Source] = [(dataset, split.train)]
    if synthetic:
        added = open_synthetic(Path(synthetic), split, dataset)
        check_synthetic_inpainter(Path(synthetic), dataset, split)
        sources.append((added, [case.id for case in added.cases]))
    return dataset, split, sources
