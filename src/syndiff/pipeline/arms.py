"""One segmenter of a run or alone: how long it trains, its run folder, and its evaluation beside others."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.dataset import DatasetFolder
from syndiff.data.inspection import open_checked
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError, shown
from syndiff.evaluation.evaluate import evaluate, finished, read_summary, scores_of
from syndiff.evaluation.timing import time_predictors
from syndiff.files import sha256, write_json
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter_settings import Kind
from syndiff.pipeline.early import check_segmenters
from syndiff.pipeline.provenance import (
    check_external,
    check_own_test,
    check_synthetic_inpainter,
    datasets_behind,
    folder_name,
    open_synthetic,
)
from syndiff.pipeline.training_plan import training_plan
from syndiff.training.calibration import step_seconds
from syndiff.training.checkpoints import best_checkpoint, score_of
from syndiff.training.loop import Task, check_machine, fit
from syndiff.training.pace import steps_within
from syndiff.training.run_folder import check_run, claimed_run, open_run
from syndiff.training.segmentation import SegmentationTask

KINDS: tuple[Kind, ...] = ("control", "diffusion")
"""What a run trains."""
log = logging.getLogger("syndiff")


def plan_steps(path: Path, settings: Settings, cases: CaseArrays, kinds: Sequence[Kind] = KINDS) -> dict[str, int]:
    """Steps of each kind of network: those of the settings, or as many as fit into `run.minutes`.

    What was measured is written to `path` once and read again when the run resumes, so that the plan never changes.
    """
    if not settings.run.minutes:
        return dict.fromkeys(kinds, settings.training.steps)
    if not path.is_file():
        training = settings.training
        tasks: dict[str, Task] = {
            kind: SegmentationTask(
                replace(settings.model, kind=kind), training, settings.augmentation, train_cases=cases, seed=0
            )
            for kind in kinds
        }
        measured = step_seconds(tasks, training, first=training.steps)
        if share := training.coarse_share:
            coarse = step_seconds(tasks, training)
            measured = {kind: share * coarse[kind] + (1 - share) * measured[kind] for kind in kinds}
        steps = {kind: steps_within(settings.run.minutes, seconds) for kind, seconds in measured.items()}
        write_json(path, {"minutes": settings.run.minutes, "seconds_per_step": measured, "steps": steps})
    plan = read_object(path, {"seconds_per_step": dict, "steps": dict})
    seconds = check_object(f"{path}: seconds_per_step", plan["seconds_per_step"], dict.fromkeys(kinds, float))
    steps = check_object(f"{path}: steps", plan["steps"], dict.fromkeys(kinds, int))
    measured_words = ", ".join(f"{kind} {1000 * seconds[kind]:.0f} ms" for kind in kinds)
    log.info(f"{settings.run.minutes:g} minutes for each segmenter; one step takes {measured_words}")
    return {kind: steps[kind] for kind in kinds}


def train_segmenter(
    run: Path,
    settings: Settings,
    steps: int,
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
    training = replace(settings.training, steps=steps)
    check_machine(training)
    elsewhere = sorted(datasets_behind(synthetic) - {split.dataset}) if synthetic else []
    plain = replace(settings, training=training).recorded()
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
        **{section: plain[section] for section in ("model", "training", "augmentation")},
    }
    with claimed_run(run, "train"):
        check_run(run, config)
        task = SegmentationTask(
            settings.model, training, settings.augmentation, train_cases=train_cases, val_cases=val_cases, seed=seed
        )
        open_run(run, config)
        split.write(run / "split.json")
        _seen(train_cases, val_cases, synthetic).write(run)
        return fit(run, task, training, seed=seed, progress=progress)


def _seen(train_cases: CaseArrays, val_cases: CaseArrays, added: Path | None) -> Seen:
    """The pictures that a training sees, and those behind the painted ones among them."""
    learned, chosen = (dict(zip(cases.contents, cases.ids, strict=False)) for cases in (train_cases, val_cases))
    return Seen(learned, chosen) | (Seen.read(added) if added else None)


def _identity(added: Path) -> str:
    """What was added: the pictures, masks and tables that lie there now, and the manifest that tells of them."""
    manifest = added / "manifest.jsonl"
    files = DatasetFolder.open(added).fingerprint()
    return f"{sha256(manifest)} {files}" if manifest.is_file() else files


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
        check_external(run, split, dataset)
        cases, files = tuple(case.id for case in dataset.cases), dataset.fingerprint()
    else:
        check_own_test(run, split, dataset)
        cases, files = split.test, split.fingerprint
    (summary,) = evaluate_runs([run], dataset, cases, dataset_fingerprint=files, tolerance=tolerance, seed=seed)
    lines = [f"{len(cases)} cases of {dataset.name}"]
    for name, score in scores_of(summary, run / "eval" / folder_name(dataset.name)).items():
        interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
        lines.append(f"{name:10} {'n/a' if score.mean is None else format(score.mean, '.3f')}{interval}")
    return "\n".join([*lines, f"Written to {run / 'eval' / folder_name(dataset.name)}"])


def train_verb(
    data: Path, split_file: Path, out: Path, synthetic: Path | None, settings: Settings, seed: int, dry_run: bool
) -> str:
    """`syndiff train`: one segmenter on the training cases of a split, plus a synthetic folder if given."""
    kind = settings.model.kind
    check_use(
        settings,
        "train",
        None if synthetic else "train without --synthetic",
        None if kind == "diffusion" else f"train with model.kind={kind}",
    )
    dataset = open_checked(data)
    split = Split.read(split_file)
    split.check(dataset)
    sources: list[tuple[DatasetFolder, Sequence[str]]] = [(dataset, split.train)]
    if synthetic is not None:
        painted = open_synthetic(synthetic, split, dataset)
        check_synthetic_inpainter(synthetic, dataset, split)
        sources.append((painted, [case.id for case in painted.cases]))
    if dry_run:
        cases = sum(len(ids) for _, ids in sources)
        plan = training_plan(settings.model, settings.training, cases)
        return f"{split}\n{cases} cases to train on\n{plan}\n\nnothing was written or downloaded"
    check_segmenters(settings, [settings.model.kind], fetch=True)
    size = settings.model.image_size
    train_cases = load_cases(sources, size, progress=True)
    val_cases = load_cases([(dataset, split.val)], size, progress=True)
    best = train_segmenter(
        out, settings, settings.training.steps, split, train_cases, val_cases, synthetic=synthetic, seed=seed
    )
    return f"Best model: {best} (validation Dice {score_of(best):.3f})"
