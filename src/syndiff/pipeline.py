"""The main job: inspect, split, train control and segmenters, synthesize, evaluate, report. Every stage resumes."""

import hashlib
import json
import logging
import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from syndiff.data.dataset import DatasetFolder
from syndiff.data.inspection import contact_sheet, inspect
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.splits import Split, make_split
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import evaluate
from syndiff.evaluation.timing import time_predictors
from syndiff.files import read_json, sha256, write_json
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import SegmenterSettings, initialise
from syndiff.presets import Settings
from syndiff.report.content import read_content
from syndiff.report.page import build_report
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.report.words import table_text
from syndiff.synthesis.album import FOREIGN
from syndiff.synthesis.engine import check_prompts, synthesize
from syndiff.synthesis.gates.panel import Gates, Painter, Segmenter
from syndiff.synthesis.grammar import Grammar
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.training.calibration import step_seconds
from syndiff.training.checkpoints import find_checkpoint
from syndiff.training.loop import Task
from syndiff.training.run_folder import open_run
from syndiff.training.segmentation import SegmentationTask, train

Kind = Literal["control", "diffusion"]
KINDS: tuple[Kind, ...] = ("control", "diffusion")
log = logging.getLogger("syndiff")
Sources = Sequence[tuple[DatasetFolder, Sequence[str]]]


def run_pipeline(
    data: Path, out: Path, settings: Settings, *, split_method: str = "auto", seed: int = 0, dry_run: bool = False
) -> str:
    """Do the whole job on a dataset folder; returns the main table as text, the report lies in `out`.

    Arms: the control, the one-step segmenter on real cases, and the same on real and synthetic cases, all trained for
    the same time. Only the split's training cases are shown to the synthesis; the test cases are read once, at the end.
    """
    # 1. Are the settings, the inpainter and the dataset usable, and how is it divided?
    settings.refuse("run (it trains a control and segmenters)", "model.kind")
    settings.refuse("run", "painter", "adapt", "lora")
    if settings.run.minutes:
        settings.refuse("run while run.minutes is above 0", "training.steps")
    inpainter = make_inpainter(settings)
    inpainter.describe()  # looks for its weights now, not after two trainings
    stage(1, "inspect", str(data))
    dataset = DatasetFolder.open(data)
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    check_prompts(grammar, inpainter)
    verdict = inspect(dataset, progress=True)
    verdict.raise_for_problems()
    log.info(verdict.text())
    if dry_run:
        split = make_split(dataset, method=split_method, seed=seed)
        return _plan_in_words(dataset, split, settings)
    config = settings.plain()
    if settings.run.minutes:
        del config["training"]["steps"]  # plan.json has the steps
    open_run(out, {"data": str(data), "split": split_method, "seed": seed, **config})
    with log_file(out / "log.txt"):
        contact_sheet(dataset, out / "inspection.png", seed=seed)
        stage(2, "split", split_method)
        split = obtain_split(dataset, out / "split.json", method=split_method, seed=seed)
        log.info(describe_split(split))
        check_inpainter(settings.synthesis, split)

        # 2. The control and the segmenter on real cases alone.
        size = settings.model.image_size
        real: Sources = [(dataset, split.train)]
        train_cases = load_cases(real, size, progress=True)
        val_cases = load_cases([(dataset, split.val)], size, progress=True)
        steps = plan_steps(out / "plan.json", settings, train_cases)
        arms: dict[str, Kind] = {
            "control": "control",
            "real": "diffusion",
            "real+synthetic": "diffusion",
        }

        def train_arm(number: int, arm: str, cases: CaseArrays) -> None:
            stage(number, f"train {arm}", f"{steps[arms[arm]]} steps")
            model = replace(settings.model, kind=arms[arm])
            train_segmenter(
                out / arm,
                replace(settings, model=model),
                steps[arms[arm]],
                split,
                cases,
                val_cases,
                synthetic=out / "synthetic" if arm == "real+synthetic" else None,
                seed=seed,
            )

        train_arm(3, "control", train_cases)
        train_arm(4, "real", train_cases)

        # 3. Synthetic cases from the training split, and the segmenter on both.
        count = max(1, round(settings.synthesis.share * len(split.train)))
        stage(5, "synthesize", f"{count} cases with {settings.synthesis.inpainter}")
        summary = synthesize(
            dataset,
            split.train,
            inpainter,
            out / "synthetic",
            count=count,
            seed=seed,
            feather=settings.synthesis.feather,
            grammar=grammar,
            gates=make_gates(settings, inpainter, dataset, split, out / "synthetic"),
            background_lesion=settings.synthesis.background_lesion,
            backgrounds=settings.synthesis.backgrounds,
        )
        log.info(f"{summary}\n{summary.table}\nto browse them: {build_synthesis_page(out / 'synthetic')}")
        synthetic = open_synthetic(out / "synthetic", split)
        both = load_cases([*real, (synthetic, [case.id for case in synthetic.cases])], size, progress=True)
        train_arm(6, "real+synthetic", both)

        # 4. The test cases, once.
        stage(7, "evaluate", f"{len(split.test)} test cases")
        evaluate_runs([out / arm for arm in arms], dataset, split, tolerance=settings.run.tolerance, seed=seed)

        # 5. The report.
        stage(8, "report", str(out / "report.html"))
        report = build_report(out, dataset)
        table = table_text(read_content(out, dataset))
        log.info(f"peak memory {peak_memory_gib():.1f} GiB")
    return f"{table}\n\nReport: {report}"


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere


def obtain_split(dataset: DatasetFolder, path: Path, *, method: str, seed: int) -> Split:
    """The split stored at `path`, checked against the dataset, or a new one written there."""
    if path.is_file():
        split = Split.read(path)
        split.check(dataset)
        return split
    split = make_split(dataset, method=method, seed=seed)
    split.write(path)
    return split


def plan_steps(path: Path, settings: Settings, cases: CaseArrays) -> dict[str, int]:
    """Steps of the control and of the segmenter: those of the settings, or as many as fit into `run.minutes`.

    What was measured is written to `path` once and read again when the run resumes, so that the plan never changes.
    """
    if not settings.run.minutes:
        return {"control": settings.training.steps, "diffusion": settings.training.steps}
    if not path.is_file():
        tasks: dict[str, Task] = {
            kind: SegmentationTask(
                replace(settings.model, kind=kind), settings.training, settings.augmentation, train_cases=cases, seed=0
            )
            for kind in KINDS
        }
        measured = step_seconds(tasks, settings.training)
        steps = {
            kind: max(20, 10 * math.ceil(settings.run.minutes * 6 / seconds)) for kind, seconds in measured.items()
        }
        write_json(path, {"minutes": settings.run.minutes, "seconds_per_step": measured, "steps": steps})
    plan = read_json(path)
    measured_words = ", ".join(f"{kind} {1000 * value:.0f} ms" for kind, value in plan["seconds_per_step"].items())
    log.info(f"{settings.run.minutes:g} minutes for each segmenter; one step takes {measured_words}")
    return {kind: int(value) for kind, value in plan["steps"].items()}


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
) -> Path:
    """Train one segmenter into its run folder, or go on; returns the best checkpoint.

    The split and the synthetic manifest belong to the settings of the run: with others it is refused, not continued.
    """
    training = replace(settings.training, steps=steps)
    config = replace(settings, training=training).plain()
    open_run(
        run,
        {
            "seed": seed,
            "data": {
                "dataset": split.dataset,
                "split": fingerprint(split),
                "synthetic": sha256(synthetic / "manifest.jsonl") if synthetic else "none",
                "train": len(train_cases),
                "val": len(val_cases),
            },
            **{section: config[section] for section in ("model", "training", "augmentation")},
        },
    )
    split.write(run / "split.json")
    return train(
        run,
        model_settings=settings.model,
        settings=training,
        augmentation=settings.augmentation,
        train_cases=train_cases,
        val_cases=val_cases,
        seed=seed,
    )


def evaluate_runs(
    runs: Sequence[Path], dataset: DatasetFolder, split: Split, *, tolerance: float, seed: int
) -> list[dict[str, Any]]:
    """Evaluate the best checkpoint of each run on the split's test cases, and time them side by side.

    A finished evaluation is kept when it is of the same weights, seed and tolerance, and made again otherwise.
    Returns the summaries.
    """
    predictors, outs, fresh = [], [], False
    for run in runs:
        checkpoint = find_checkpoint(run, "best")
        if checkpoint is None:
            raise SyndiffError(
                f"{run} holds no trained model (no checkpoints/best). Train it first with `syndiff train`."
            )
        out = run / "eval" / folder_name(dataset)
        predictor = SegmenterPredictor.load(checkpoint, name=run.name, seed=seed)
        provenance = {"weights": sha256(checkpoint / "model.safetensors"), "step": int(checkpoint.name), "seed": seed}
        summary = read_json(out / "summary.json") if (out / "summary.json").is_file() else {}
        if summary.get("provenance") != provenance or summary.get("tolerance") != tolerance:
            fresh = True
            evaluate(
                predictor,
                dataset,
                split.test,
                out,
                tolerance=tolerance,
                fingerprint=split.fingerprint,
                keep_predictions=True,
                provenance=provenance,
            )
        predictors.append(predictor)
        outs.append(out)
    if fresh or not all((out / "timing.json").is_file() for out in outs):
        image, _ = dataset.load(dataset[split.test[0]])
        time_predictors(predictors, image, outs=[out / "timing.json" for out in outs])
    return [dict(read_json(out / "summary.json")) for out in outs]


def fingerprint(split: Split) -> str:
    """Hexadecimal SHA-256 of everything a split says."""
    return hashlib.sha256(json.dumps(asdict(split), sort_keys=True).encode()).hexdigest()


def open_synthetic(folder: Path, split: Split) -> DatasetFolder:
    """A synthetic dataset folder, once its manifest shows that it was made from the split's training cases alone."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file() or not (folder / "dataset.json").is_file():
        raise SyndiffError(
            f"{folder} is not a finished synthetic dataset: manifest.jsonl and dataset.json must both be there to show "
            "what it was made from. Make it or finish it with `syndiff synthesize`."
        )
    seen = {case for s in read_manifest(manifest) if s.accepted for case in (s.source_case, s.mask_source) if case}
    leaked = sorted(case for case in seen - set(split.train) if not case.startswith(FOREIGN))
    if leaked:
        raise SyndiffError(
            f"{folder} was made from {len(leaked)} cases outside the split's training cases (first {leaked[0]}); "
            "training on it would leak. Synthesize again with this split."
        )
    return DatasetFolder.open(folder)


def make_inpainter(settings: Settings) -> Inpainter:
    """The inpainter that the settings name."""
    chosen = settings.synthesis
    if chosen.inpainter == "copy_paste":
        return CopyPaste()
    if chosen.inpainter == "compact":
        from syndiff.synthesis.inpainters.compact import Compact

        return Compact(_compact_checkpoint(chosen.model), settings.compact)
    from syndiff.models.pipeline_folder import DEFAULT_MODEL
    from syndiff.synthesis.inpainters.sdxl import Sdxl

    return Sdxl(chosen.model or DEFAULT_MODEL, revision=chosen.revision or None, settings=settings.sdxl)


def _compact_checkpoint(model: str) -> Path:
    """The best checkpoint of an `adapt` run, or `model` itself where it is a checkpoint."""
    how = "teach it your images with `syndiff adapt --data DIR --split FILE --out RUN`, then give --model RUN"
    if not model:
        raise SyndiffError(f"The inpainter compact has no weights of its own: {how}.")
    checkpoint = find_checkpoint(Path(model), "best") or Path(model)
    if not (checkpoint / "model.json").is_file():
        raise SyndiffError(
            f"{model} holds no inpainter (neither checkpoints/best, which appears with the first validation, nor "
            f"model.json): {how}."
        )
    return checkpoint


def check_inpainter(settings: SynthesisSettings, split: Split) -> None:
    """Raise SyndiffError when a compact inpainter learned from cases that `split` keeps for validation or test."""
    if settings.inpainter != "compact":
        return
    folder = Path(settings.model).resolve()
    for run in (folder, folder.parent.parent):  # the run, or one of its checkpoints
        if (run / "split.json").is_file():
            _refuse_leak(f"synthesis settings: the inpainter {settings.model}", run, split)


def _refuse_leak(what: str, run: Path, split: Split) -> None:
    trained_on = Split.read(run / "split.json")
    if trained_on.fingerprint == split.fingerprint and not set(trained_on.train) <= set(split.train):
        raise SyndiffError(
            f"{what} was trained on cases that this split keeps for validation or test; what has seen them leaks. "
            "Train one with this split."
        )


def make_gates(
    settings: Settings, inpainter: Inpainter, dataset: DatasetFolder, split: Split, out: Path
) -> Gates | None:
    """The gates for samples that go into `out`, calibrated on the split's training (and validation) cases.

    Bounds that lie in `out` already are taken again. None when the gates are off.
    """
    if settings.gates.mode == "off":
        return None
    return Gates.calibrate(
        dataset,
        split.train,
        settings.gates,
        painter=Painter(margin=inpainter.margin, feather=settings.synthesis.feather, copies=inpainter.copies),
        predictor=_judge_of(Path(settings.gates.segmenter), split) if settings.gates.segmenter else None,
        val_ids=split.val,
        kept=out / "gates.json",
    )


def _judge_of(run: Path, split: Split) -> Segmenter:
    """The best segmenter of a run, once its own split shows that it was trained on nothing but these real cases."""
    checkpoint = find_checkpoint(run, "best")
    if checkpoint is None:
        raise SyndiffError(
            f"gates settings: segmenter {run} holds no trained model (no checkpoints/best); give a run folder of "
            "`syndiff train` or one arm of `syndiff run`."
        )
    _refuse_leak(f"gates settings: segmenter {run}", run, split)
    return Segmenter(
        predictor=SegmenterPredictor.load(checkpoint, name=run.name),
        fingerprint=sha256(checkpoint / "model.safetensors"),
    )


def folder_name(dataset: DatasetFolder) -> str:
    """The dataset's name as a folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in dataset.name.lower()).strip("-.") or "dataset"


def describe_split(split: Split) -> str:
    """One line on who is where."""
    leak = " - LEAKY: frames of one sequence may lie on both sides" if split.leaky else ""
    return (
        f"split {split.method}, seed {split.seed}: {len(split.train)} training, {len(split.val)} validation and "
        f"{len(split.test)} test cases{leak}"
    )


def stage(number: int, name: str, detail: str) -> None:
    """Announce a stage of the pipeline."""
    log.info(f"[{number}/8] {name}: {detail}")


class log_file:
    """Context manager: everything logged is also appended to a file."""

    def __init__(self, path: Path) -> None:
        self._make: Callable[[], logging.Handler] = lambda: logging.FileHandler(path, encoding="utf-8")

    def __enter__(self) -> None:
        self._handler = self._make()
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self._handler)
        self._handler.close()


def _plan_in_words(dataset: DatasetFolder, split: Split, settings: Settings) -> str:
    model: SegmenterSettings = settings.model
    count = max(1, round(settings.synthesis.share * len(split.train)))
    training = f"{settings.run.minutes:g} minutes" if settings.run.minutes else f"{settings.training.steps} steps"
    return (
        f"{describe_split(split)}\n"
        f"three segmenters at {model.image_size} pixels (control, real, real + synthetic), {training} each, "
        f"{torch.get_num_threads()} threads\n"
        f"{count} synthetic cases with {settings.synthesis.inpainter}\n"
        f"nothing was written (dry run of {dataset.name})"
    )


def train_verb(
    data: Path, split_file: Path, out: Path, synthetic: Path | None, settings: Settings, seed: int, dry_run: bool
) -> str:
    """`syndiff train`: one segmenter on the training cases of a split, plus a synthetic folder if given."""
    settings.refuse_all_but("train", "model", "training", "augmentation")
    dataset = DatasetFolder.open(data)
    split = Split.read(split_file)
    split.check(dataset)
    sources: list[tuple[DatasetFolder, Sequence[str]]] = [(dataset, split.train)]
    if synthetic is not None:
        painted = open_synthetic(synthetic, split)
        sources.append((painted, [case.id for case in painted.cases]))
    if dry_run:
        model = initialise(settings.model, seed)
        parameters = sum(value.numel() for value in model.parameters() if value.requires_grad)
        return (
            f"{describe_split(split)}\n{sum(len(ids) for _, ids in sources)} cases to train on, "
            f"{parameters / 1e6:.1f} M trained parameters, {settings.training.steps} steps of "
            f"{settings.training.batch_size} images at {settings.model.image_size} pixels\n"
            f"nothing was written"
        )
    size = settings.model.image_size
    train_cases = load_cases(sources, size, progress=True)
    val_cases = load_cases([(dataset, split.val)], size, progress=True)
    best = train_segmenter(
        out, settings, settings.training.steps, split, train_cases, val_cases, synthetic=synthetic, seed=seed
    )
    return f"Best model: {best} (validation Dice {read_json(best / 'model.json')['val_dice']:.3f})"
