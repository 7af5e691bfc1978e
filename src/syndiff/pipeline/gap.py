"""The domain gap of synthetic cases: a short training on them alone, scored on real validation cases."""

from dataclasses import replace
from pathlib import Path

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.splits import Split
from syndiff.evaluation.evaluate import compare, evaluate, finished, read_summary
from syndiff.files import sha256, write_record
from syndiff.models.prediction import SegmenterPredictor
from syndiff.pipeline.training import train_segmenter
from syndiff.report.arms import KINDS, REAL
from syndiff.training.planning import Plan


def measure_gap(
    out: Path,
    settings: Settings,
    dataset: Dataset,
    split: Split,
    synthetic: Dataset,
    train_cases: CaseArrays,
    val_cases: CaseArrays,
    *,
    steps: int,
    seed: int,
    progress: bool = True,
) -> None:
    """Train `steps` steps on the synthetic cases alone and as many on the real ones, or go on; compare both.

    The weights of the last step are scored on the validation cases, in one view; nothing is chosen by it, and no test
    case is read. `out` gets a run folder of each and gap.json: the steps, the numbers of cases, and the paired
    difference of Dice, synthetic - real, with its interval.
    """
    ids = [case.id for case in synthetic.cases]
    size, detail = settings.model.image_size, settings.augmentation.detail
    alone = load_cases([(synthetic, ids)], size, detail=detail, progress=progress)
    tables = {}
    for name, cases, added in (("synthetic", alone, synthetic.root), ("real", train_cases, None)):
        run = out / name
        best = train_alone(
            *(run, settings, split, cases, val_cases), added=added, steps=steps, seed=seed, progress=progress
        )
        predictor = SegmenterPredictor.load(best, name=name, seed=seed, tta=1)
        scores, provenance = run / "eval" / "val", {"weights": sha256(best / "model.safetensors"), "seed": seed}
        if not finished(scores, split.val, provenance=provenance):
            evaluate(
                predictor,
                dataset,
                split.val,
                scores,
                fingerprint=split.fingerprint,
                provenance=provenance,
                progress=progress,
            )
        tables[name] = scores / "per_case.csv"
    difference = compare(tables["synthetic"], tables["real"])["metrics"]["dice"]
    means = {name: read_summary(table.parent)["metrics"]["dice"] for name, table in tables.items()}
    cases_of = {"synthetic": len(alone), "real": len(train_cases)}
    write_record(out / "gap.json", {"steps": steps, "cases": cases_of, "dice": means, "difference": difference})


def train_alone(
    run: Path,
    settings: Settings,
    split: Split,
    cases: CaseArrays,
    val_cases: CaseArrays,
    *,
    added: Path | None,
    steps: int,
    seed: int,
    progress: bool = True,
) -> Path:
    """Train a segmenter `steps` steps on `cases` alone, or go on; returns its last checkpoint, chosen by nothing.

    `added`: the folder of the synthetic cases among them, None where all are real.
    """
    training = replace(
        settings.training,
        steps=steps,
        warmup_steps=min(settings.training.warmup_steps, steps // 10),
        validate_every=steps,
        checkpoint_every=steps,
        real_share=0.0,
    )
    short = replace(settings, training=training, model=replace(settings.model, kind=KINDS[REAL]))
    plan = Plan(steps=steps)
    return train_segmenter(run, short, plan, split, cases, val_cases, synthetic=added, seed=seed, progress=progress)
