"""One segmenter of a run or alone: how long it trains, its run folder, and its evaluation beside others."""

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from syndiff.data.dataset import DatasetFolder
from syndiff.data.inspection import open_checked
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.seen import Seen
from syndiff.data.splits import Split, make_split
from syndiff.errors import SyndiffError, shown
from syndiff.evaluation.evaluate import evaluate, finished, read_summary, scores_of
from syndiff.evaluation.timing import time_predictors
from syndiff.files import sha256
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter_settings import Kind, SegmenterSettings
from syndiff.pipeline.early import check_segmenters
from syndiff.pipeline.painting import check_painter, data_of, open_synthetic
from syndiff.pipeline.training_plan import check_training, training_plan
from syndiff.presets import Settings
from syndiff.synthesis.manifest import read_manifest
from syndiff.training.checkpoints import best_checkpoint, score_of
from syndiff.training.loop import Task
from syndiff.training.planning import Plan, plan_trainings, train_planned, with_times
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
        timed = with_times(plans, tasks, training, first_share=share)
        asked = f"{minutes:g} minutes for each segmenter; " if minutes else ""
        log.info(asked + "; ".join(f"{kind}: {plan}" for kind, plan in timed.items()))
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
    seed: int,
    progress: bool = True,
) -> Path:
    """Train one segmenter into its run folder, or go on; returns the best checkpoint.

    `synthetic` is the folder of the cases that were added to the real ones, if any. The split and that folder's
    manifest (or files, where it has none) belong to the settings of the run: with others it is refused, not continued.
    So do the other datasets that stand behind those cases, on which the run must not be judged.
    """
    training = replace(settings.training, steps=plan.steps)
    check_training(settings.model, training)  # what it would be refused for comes before the folder
    elsewhere = sorted(_behind(synthetic) - {split.dataset}) if synthetic else []
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
            )

        open_run(run, config)
        split.write(run / "split.json")
        _seen(train_cases, val_cases, synthetic).write(run)
        return train_planned(run, settings.model.kind, task, training, plan, seed=seed, progress=progress)


def _seen(train_cases: CaseArrays, val_cases: CaseArrays, added: Path | None) -> Seen:
    """The pictures that a training sees, and those behind the painted ones among them."""
    learned, chosen = (dict(zip(cases.contents, cases.ids, strict=False)) for cases in (train_cases, val_cases))
    return Seen(learned, chosen) | (Seen.read(added) if added else None)


def _identity(added: Path) -> str:
    """What was added: the pictures, masks and tables that lie there now, and the manifest that tells of them."""
    manifest = added / "manifest.jsonl"
    files = DatasetFolder.open(added).fingerprint()
    return f"{sha256(manifest)} {files}" if manifest.is_file() else files


def _behind(added: Path) -> set[str]:
    """Names of the datasets behind added cases: those that their inpainter learned from, or the real cases' own."""
    manifest = added / "manifest.jsonl"
    if not manifest.is_file():
        return {DatasetFolder.open(added).name}
    sample = next(read_manifest(manifest), None)  # all have one backend
    return set(sample.backend.get("learned_from", ())) if sample else set()


def evaluate_runs(
    runs: Sequence[Path],
    dataset: DatasetFolder,
    cases: Sequence[str],
    *,
    dataset_fingerprint: str,
    tolerance: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Evaluate the best checkpoint of each run on these cases, and time them side by side.

    A finished evaluation is kept when it is of the same weights, files, seed and tolerance, and made again otherwise.
    Returns the summaries.
    """
    predictors, outs, fresh = [], [], False
    for run in runs:
        checkpoint = best_checkpoint(run)
        out = run / "eval" / folder_name(dataset.name)
        predictor = SegmenterPredictor.load(checkpoint, name=run.name, seed=seed)
        provenance = {"weights": sha256(checkpoint / "model.safetensors"), "step": int(checkpoint.name), "seed": seed}
        judged = {"name": dataset.name, "fingerprint": dataset_fingerprint}
        if (out / "summary.json").is_file():
            earlier = read_summary(out).get("dataset", judged)
            if earlier != judged:
                raise SyndiffError(
                    f"{out} holds the evaluation on another dataset or on other files ({shown(earlier)}). Give one of "
                    "the two datasets another name in its dataset.json, or move that folder away."
                )
        if finished(out, cases, provenance=provenance, tolerance=tolerance, dataset=judged):
            log.info(f"{out}: finished earlier with the same weights, files and settings, and kept")
        else:
            fresh = True
            evaluate(
                predictor,
                dataset,
                cases,
                out,
                tolerance=tolerance,
                fingerprint=dataset_fingerprint,
                keep_predictions=True,
                provenance=provenance,
            )
        predictors.append(predictor)
        outs.append(out)
    if fresh or not all((out / "timing.json").is_file() for out in outs):
        image, _ = dataset.load(dataset[cases[0]])
        time_predictors(predictors, image, outs=[out / "timing.json" for out in outs])
    return [read_summary(out) for out in outs]


def evaluate_verb(run: Path, data: Path, *, external: bool, tolerance: float, seed: int) -> str:
    """`syndiff evaluate`: one run on its split's test cases, or on all cases of another dataset.

    Raises SyndiffError for an external dataset that is the run's own or has its name, since their results share a
    folder, and for one that stands behind the run's synthetic cases.
    """
    dataset = open_checked(data)
    split = Split.read(run / "split.json")
    if external:
        cases = tuple(case.id for case in dataset.cases)
        files = dataset.fingerprint()
        if files == split.fingerprint or folder_name(dataset.name) == folder_name(split.dataset):
            raise SyndiffError(
                f"--external is for another dataset than the one that {run} was trained on, but {data} is it or has "
                f"its name, {split.dataset}. Leave --external out, or give the other dataset a name of its own in "
                "dataset.json."
            )
        _refuse_learned(run, dataset)
    else:
        if dataset.name != split.dataset and dataset.fingerprint() != split.fingerprint:
            raise SyndiffError(
                f"{run} was trained on {split.dataset}, but {data} is {dataset.name}; to judge it on all cases of "
                "another dataset, add --external."
            )
        split.check(dataset)
        if data_of(run).get("split", split.hash) != split.hash:
            raise SyndiffError(
                f"{run / 'split.json'} is not the split that {run} was trained under (data.split in config.yaml); "
                "restore it."
            )
        cases, files = split.test, split.fingerprint
        if known := (Seen.read(run) or Seen()).among(dataset, cases):
            log.warning(
                f"{len(known)} of {len(cases)} test cases are pictures that {run} has learned from as well "
                f"(such as {known[0]}): its score is flattered. Remove the copies and split anew."
            )
    (summary,) = evaluate_runs([run], dataset, cases, dataset_fingerprint=files, tolerance=tolerance, seed=seed)
    lines = [f"{len(cases)} cases of {dataset.name}"]
    for name, score in scores_of(summary, run / "eval" / folder_name(dataset.name)).items():
        interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
        lines.append(f"{name:10} {'n/a' if score.mean is None else format(score.mean, '.3f')}{interval}")
    return "\n".join([*lines, f"Written to {run / 'eval' / folder_name(dataset.name)}"])


def _refuse_learned(run: Path, dataset: DatasetFolder) -> None:
    """Raise SyndiffError where the run has seen pictures of `dataset`, or a dataset of its name stands behind it."""
    if folder_name(dataset.name) in map(folder_name, data_of(run).get("learned_elsewhere", ())):
        raise SyndiffError(
            f"{run} has learned from {dataset.name} too: cases of it, or painted by an inpainter that was taught "
            "there, were added to its training cases. Judge it on a dataset that nothing of it has seen, or judge a "
            "run without the added cases."
        )
    seen = Seen.read(run)
    if seen is None:
        log.warning(
            f"{run} holds no seen.json (an earlier version made it, or somebody removed it): whether it has seen "
            f"cases of {dataset.root} under another name cannot be told."
        )
        return
    if known := seen.among(dataset, (case.id for case in dataset.cases)):
        raise SyndiffError(
            f"{run} has seen {len(known)} of the {len(dataset.cases)} pictures of {dataset.root} (such as {known[0]}): "
            "it, or an inpainter behind its synthetic cases, was trained or chosen on them. Judge it on a dataset that "
            "nothing of it has seen, or on the test cases of its own split, without --external."
        )


def train_verb(
    data: Path, split_file: Path, out: Path, synthetic: Path | None, settings: Settings, seed: int, dry_run: bool
) -> str:
    """`syndiff train`: one segmenter on the training cases of a split, plus a synthetic folder if given."""
    settings.refuse_all_but("train", "model", "training", "augmentation")
    if synthetic is None:
        settings.refuse("train without --synthetic", "training.real_share")
    if settings.model.kind != "diffusion":
        settings.refuse(f"train with model.kind={settings.model.kind}", *idle_without_diffusion(settings.model.kind))
    dataset = open_checked(data)
    split = Split.read(split_file)
    split.check(dataset)
    sources: list[tuple[DatasetFolder, Sequence[str]]] = [(dataset, split.train)]
    if synthetic is not None:
        painted = open_synthetic(synthetic, split, dataset)
        check_painter(synthetic, dataset, split)
        sources.append((painted, [case.id for case in painted.cases]))
    if dry_run:
        cases = sum(len(ids) for _, ids in sources)
        plan = training_plan(settings.model, settings.training, cases)
        return f"{describe_split(split)}\n{cases} cases to train on\n{plan}\n\nnothing was written or downloaded"
    check_segmenters(settings, [settings.model.kind], fetch=True)
    size = settings.model.image_size
    train_cases = load_cases(sources, size, progress=True)
    val_cases = load_cases([(dataset, split.val)], size, progress=True)
    best = train_segmenter(
        out,
        settings,
        Plan(steps=settings.training.steps),
        split,
        train_cases,
        val_cases,
        synthetic=synthetic,
        seed=seed,
    )
    return f"Best model: {best} (validation Dice {score_of(best):.3f})"


def idle_without_diffusion(kind: Kind) -> list[str]:
    """The settings that a network without diffusion ignores, as section.name."""
    used = {"kind", "image_size", "inference_views", *(("pretrained", "control_dropout") if kind == "control" else ())}
    training = ["mask_weight", "guide_weight", "inference_share", "ema_encoder", "gradient_checkpointing"]
    if kind != "control":
        training.append("backbone_rate")  # nothing of it is pretrained
    return [
        *(f"model.{item.name}" for item in fields(SegmenterSettings) if item.name not in used),
        *(f"training.{name}" for name in training),
    ]


def obtain_split(dataset: DatasetFolder, path: Path, *, method: str, seed: int) -> Split:
    """`planned_split`, written to `path` where nothing was stored."""
    split = planned_split(dataset, path, method=method, seed=seed)
    if not path.is_file():
        split.write(path)
    return split


def planned_split(dataset: DatasetFolder, path: Path, *, method: str, seed: int) -> Split:
    """The split stored at `path`, checked against the dataset, or the one that would be written there."""
    if not path.is_file():
        return make_split(dataset, method=method, seed=seed)
    split = Split.read(path)
    split.check(dataset)
    return split


def describe_split(split: Split) -> str:
    """One line on who is where."""
    leak = " - LEAKY: frames of one sequence may lie on both sides" if split.leaky else ""
    return (
        f"split {split.method}, seed {split.seed}: {len(split.train)} training, {len(split.val)} validation and "
        f"{len(split.test)} test cases{leak}"
    )


def folder_name(dataset: str) -> str:
    """A dataset's name as a folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in dataset.lower()).strip("-.") or "dataset"
