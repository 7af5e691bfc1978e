"""A finished `syndiff run` folder, read into plain values: everything the report says, nothing of how it looks."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.data.targets import Targets
from syndiff.data.written_masks import mask_extension, read_masks
from syndiff.documents import OWN, Kinds, check_object, read_object, read_objects, read_yaml, rebuild
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, compare, read_per_case, scores_of
from syndiff.evaluation.statistics import Difference, Interval
from syndiff.report.arms import BOTH, COMPARISONS, GAP, INPAINTER, KINDS, SYNTHETIC
from syndiff.synthesis.likeness import Likeness, lesions_of
from syndiff.synthesis.manifest import Sample, read_manifest

_AGAIN = "Delete this file, and make it again with `syndiff evaluate`."
_INTERVALS: Kinds = {"unit": str}
_COUNTS: Kinds = dict.fromkeys(("lesions", "missed_lesions", "false_lesions", "empty_targets"), int)
_TIMING: Kinds = {
    "repeats": int,
    "threads": int,
    "device": (str, type(None)),
    "dtype": (str, type(None)),
    "machine": dict,
}
_MACHINE: Kinds = {"gpu": (str, type(None)), "processor": str}
_SETTINGS: Mapping[str, Kinds] = {
    "run": {"minutes": float},
    "adapt": {"minutes": float},
    "model": {"timesteps": int, "inference_timestep": int},
}
"""Settings that the report reads as numbers, where config.yaml has their section."""


@dataclass(frozen=True)
class Training:
    """How one network was trained; the curves are (step, value), steps rising.

    images: how many images the network saw, repeats counted. seconds: wall time of the steps, without validation.
    """

    steps: int
    images: int
    seconds: float
    loss: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile, in milliseconds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Timing:
    """The time of one image: the whole, the stages in running order, and what the numbers depend on."""

    total: Spread
    stages: dict[str, Spread]
    height: int
    width: int
    repeats: int
    threads: int
    device: str | None
    dtype: str | None
    machine: dict[str, Any]


@dataclass(frozen=True)
class ClassResults:
    """Scores by metric, and counts, of one of several classes, as in `ArmResults`."""

    scores: dict[str, Interval]
    counts: dict[str, int]


@dataclass(frozen=True)
class ArmResults:
    """One trained segmenter judged on the test cases.

    scores: by metric (dice iou precision recall hd95 nsd). pooled: Dice and IoU over all pixels.
    counts: lesions, missed_lesions, false_lesions and further numbers of summary.json.
    masks: folder of the predicted masks `<case>.png`. targets: what they tell apart.
    classes: of several, the scores and counts of each by its name; the others are means over classes, or sums, then.
    settings: the arm's config.yaml, flat (`training.batch_size` -> "16").
    provenance: weights (SHA-256), step and seed that the scores are of; empty in folders of early versions.
    """

    name: str
    scores: dict[str, Interval]
    pooled: dict[str, float | None]
    counts: dict[str, int]
    tolerance: float
    intervals: dict[str, Any]
    rows: tuple[CaseRow, ...]
    masks: Path
    timing: Timing
    training: Training
    settings: dict[str, str]
    provenance: dict[str, Any]
    targets: Targets = field(default_factory=Targets)
    classes: dict[str, ClassResults] = field(default_factory=dict)

    def predicted(self, case: str) -> NDArray[np.bool_]:
        """The masks (KxHxW) that were predicted of a test case. Raises SyndiffError where they are missing."""
        path = self.masks / f"{case}{mask_extension(self.targets)}"
        if not path.is_file():
            raise SyndiffError(f"{path} does not exist. Make it with `syndiff evaluate`.")
        return read_masks(path, self.targets)


@dataclass(frozen=True)
class Comparison:
    """Two arms on the same cases: differences first - second by metric (dice iou hd95)."""

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Synthesis:
    """The synthetic dataset (None where nothing was accepted) and what its manifest says.

    backends: names of the inpainters. samples: the accepted ones. rejected: how many, for each reason.
    lesions: each measure of the real and of the new lesions, sentences: how they differ; none in older folders.
    """

    dataset: Dataset | None
    backends: tuple[str, ...]
    samples: tuple[Sample, ...]
    rejected: dict[str, int]
    sentences: tuple[str, ...] = ()
    lesions: tuple[Mapping[str, list[float]], Mapping[str, list[float]]] | None = None


@dataclass(frozen=True)
class Gap:
    """A quick look at the domain gap: a short training on synthetic cases alone beside one on real cases.

    steps: of each. cases: how many each learned from, by "synthetic" and "real". dice: of the validation cases, by the
    same names. difference: synthetic - real.
    """

    steps: int
    cases: dict[str, int]
    dice: dict[str, Interval]
    difference: Difference


@dataclass(frozen=True)
class Content:
    """Everything a report of one run says. `arms` holds only those the run trained, in the order of KINDS."""

    run: Path
    dataset: Dataset
    split: Split
    arms: dict[str, ArmResults]
    comparisons: tuple[Comparison, ...]
    synthesis: Synthesis | None
    inpainter: Training | None
    """Of the inpainter that the run itself has taught, None where it came ready or paints nothing."""
    gap: Gap | None
    """None where no look at the domain gap was asked for."""
    settings: dict[str, str]
    environment: dict[str, str]
    command: str
    unit: str = field(default="group")
    """What the intervals resample: group, or case where no groups are known."""

    @property
    def main(self) -> ArmResults:
        """The arm the report is about: the one-step segmenter with the most behind it."""
        return list(self.arms.values())[-1]

    @property
    def sides(self) -> list[tuple[str, int, int | None]]:
        """Each side of the split with its number of cases, and of groups where they are known."""
        cases: dict[str, tuple[str, ...]] = {side: getattr(self.split, side) for side in ("train", "val", "test")}
        groups = {side: {self.dataset[case].group for case in ids} for side, ids in cases.items()}
        known = self.dataset.has_groups
        return [(side, len(ids), len(groups[side]) if known else None) for side, ids in cases.items()]

    def comparison(self, first: str, second: str) -> Comparison | None:
        """The paired difference first - second, None where the run lacks one of the two."""
        return next((c for c in self.comparisons if (c.first, c.second) == (first, second)), None)


def read_content(run: Path, dataset: Dataset) -> Content:
    """Read the folder that `syndiff run --out RUN` has finished; `dataset` is the real one it worked on.

    Raises SyndiffError when a file is missing or damaged (named, with the verb that makes it), and when
    `dataset` is not the one the run was made on.
    """
    if not run.is_dir():
        raise SyndiffError(f"{run} does not exist. Make it with `syndiff run --data {dataset.root} --out {run}`.")
    split = Split.read(_made(run / "split.json", "run"))
    if split.fingerprint != dataset.fingerprint():
        raise SyndiffError(
            f"{run} was made on {split.dataset} with fingerprint {split.fingerprint[:12]}, but {dataset.root} "
            "has other images, masks or groups. Give the dataset of that run, or run again on this one."
        )
    folders = {name: run / name for name in KINDS if (run / name).is_dir()}
    if not folders:
        raise SyndiffError(f"{run} holds none of {', '.join(KINDS)}. Finish the run with `syndiff run --out {run}`.")
    if BOTH in folders and not (run / SYNTHETIC).is_dir():
        raise SyndiffError(f"{run / SYNTHETIC} does not exist. Make it with `syndiff synthesize` or `syndiff run`.")
    tables = {name: _evaluation(folder, split) for name, folder in folders.items()}
    arms = {name: _read_arm(name, folder, tables[name], dataset.told_apart) for name, folder in folders.items()}
    taught = run / INPAINTER
    return Content(
        run=run,
        dataset=dataset,
        split=split,
        arms=arms,
        comparisons=tuple(
            _compare(first, second, tables) for first, second in COMPARISONS if first in arms and second in arms
        ),
        synthesis=_read_synthesis(run / SYNTHETIC) if (run / SYNTHETIC).is_dir() else None,
        inpainter=_read_training(_made(taught / "metrics.jsonl", "run"), "val_loss") if taught.is_dir() else None,
        gap=read_gap(run / GAP / "gap.json") if (run / GAP).is_dir() else None,
        settings=_read_settings(_made(run / "config.yaml", "run")),
        environment=flatten(read_object(_made(run / "environment.json", "run"), {})),
        command=_made(run / "command.txt", "run").read_text(encoding="utf-8", errors="replace").strip(),
        unit=next(iter(arms.values())).intervals["unit"],
    )


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as {"a.b": "text"}, in their own order; lists of plain values become one text."""
    if isinstance(value, Mapping) and value:
        return {
            key: text
            for name, inner in value.items()
            for key, text in flatten(inner, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    if isinstance(value, list) and not any(isinstance(item, (Mapping, list)) for item in value):
        return {prefix: ", ".join(str(item) for item in value) or "(empty)"}
    return {prefix: value if isinstance(value, str) else json.dumps(value, default=str)}


def _evaluation(folder: Path, split: Split) -> Path:
    """The folder eval/<dataset> of an arm that judged exactly the split's test cases."""
    for summary in sorted((folder / "eval").glob("*/summary.json")):
        judged = _part(summary, read_object(summary, {}, mend=_AGAIN), "dataset", {"fingerprint": str})
        if judged["fingerprint"] != split.fingerprint:
            continue
        if {row.case for row in read_per_case(summary.with_name("per_case.csv"))} == set(split.test):
            return summary.parent
    raise SyndiffError(
        f"{folder / 'eval'} has no summary.json for the test cases of {split.dataset}. "
        f"Make it with `syndiff evaluate`, or finish the run with `syndiff run`."
    )


def _read_arm(name: str, folder: Path, evaluation: Path, targets: Targets) -> ArmResults:
    path = evaluation / "summary.json"
    summary = read_object(path, {"masks": (str, type(None)), "tolerance": float}, mend=_AGAIN)
    if summary["masks"] is None:
        raise SyndiffError(f"{path} says that no predicted masks were kept. Run `syndiff evaluate` with them kept.")
    return ArmResults(
        name=name,
        scores=scores_of(summary, evaluation),
        pooled=_part(path, summary, "pooled", dict.fromkeys(("dice", "iou"), (float, type(None)))),
        counts=_part(path, summary, "counts", _COUNTS),
        tolerance=summary["tolerance"],
        intervals=_part(path, summary, "intervals", _INTERVALS),
        rows=tuple(read_per_case(evaluation / "per_case.csv")),
        masks=evaluation / summary["masks"],
        timing=_read_timing(_made(evaluation / "timing.json", "evaluate")),
        training=_read_training(_made(folder / "metrics.jsonl", "train")),
        settings=_read_settings(_made(folder / "config.yaml", "train")),
        provenance=_part(path, summary, "provenance", {}) if "provenance" in summary else {},
        targets=targets,
        classes=_read_classes(path, summary, targets) if targets.several else {},
    )


def _read_classes(path: Path, summary: Mapping[str, Any], targets: Targets) -> dict[str, ClassResults]:
    """The scores and counts of each of several classes."""
    told = _part(path, summary, "classes", dict.fromkeys(targets.names, dict))
    return {
        name: ClassResults(scores_of(told[name], path.parent), _part(path, told[name], "counts", _COUNTS))
        for name in targets.names
    }


def _read_timing(path: Path) -> Timing:
    content = read_object(path, _TIMING, mend=_AGAIN)
    milliseconds = _part(path, content, "milliseconds", {"total": dict, "stages": dict})
    _part(path, content, "machine", _MACHINE)
    image = _part(path, content, "image", {"height": int, "width": int})
    return Timing(
        total=rebuild(Spread, milliseconds["total"], f"{path}: milliseconds.total", mend=_AGAIN),
        stages={
            stage: rebuild(Spread, spread, f"{path}: milliseconds.stages.{stage}", mend=_AGAIN)
            for stage, spread in milliseconds["stages"].items()
        },
        height=image["height"],
        width=image["width"],
        **{key: content[key] for key in _TIMING},
    )


def _part(path: Path, content: Mapping[str, Any], name: str, kinds: Kinds) -> dict[str, Any]:
    """A section of a file of an evaluation."""
    check_object(path, content, {name: dict}, mend=_AGAIN)
    return check_object(f"{path}: {name}", content[name], kinds, mend=_AGAIN)


def _read_training(path: Path, score: str = "val_dice") -> Training:
    """Read metrics.jsonl, whose validations have a `score`; where a resumed run wrote a step twice the later counts."""
    steps: dict[int, dict[str, Any]] = {}
    validation: dict[int, float] = {}
    for line in read_objects(path, {"step": int}):
        if "seconds" in line:
            steps[line["step"]] = check_object(path, line, {"images": int, "loss": float, "seconds": float})
        else:
            validation[line["step"]] = check_object(path, line, {score: float})[score]
    if not steps:
        raise SyndiffError(f"{path} holds no training step. Train again with `syndiff train` or `syndiff run`.")
    last = steps[max(steps)]
    return Training(
        steps=last["step"],
        images=last["images"],
        seconds=last["seconds"],
        loss=tuple((step, steps[step]["loss"]) for step in sorted(steps)),
        validation=tuple(sorted(validation.items())),
    )


def _compare(first: str, second: str, tables: Mapping[str, Path]) -> Comparison:
    result = compare(tables[first] / "per_case.csv", tables[second] / "per_case.csv")
    differences = {metric: Difference(**values) for metric, values in result["metrics"].items()}
    return Comparison(first, second, differences)


def read_gap(path: Path) -> Gap:
    """What `gap.json` of a run says. Raises SyndiffError where it is damaged."""
    kinds = ("synthetic", "real")
    content = read_object(_made(path, "run"), {"steps": int, "cases": dict, "dice": dict, "difference": dict})
    cases = check_object(f"{path}: cases", content["cases"], dict.fromkeys(kinds, int))
    dice = check_object(f"{path}: dice", content["dice"], dict.fromkeys(kinds, dict))
    return Gap(
        steps=content["steps"],
        cases={name: cases[name] for name in kinds},
        dice={name: rebuild(Interval, dice[name], f"{path}: dice.{name}") for name in kinds},
        difference=rebuild(Difference, content["difference"], f"{path}: difference"),
    )


def _read_synthesis(folder: Path) -> Synthesis:
    every = list(read_manifest(_made(folder / "manifest.jsonl", "synthesize")))
    samples = tuple(sample for sample in every if sample.accepted)
    compared = lesions_of(folder, samples)
    return Synthesis(
        dataset=Dataset.open(folder) if samples else None,
        backends=tuple(dict.fromkeys(sample.backend["name"] for sample in every)),
        samples=samples,
        rejected=dict(Counter(sample.reason or "" for sample in every if not sample.accepted).most_common()),
        sentences=tuple(Likeness.of(folder, every).sentences) if compared else (),
        lesions=compared,
    )


def _read_settings(path: Path) -> dict[str, str]:
    content = check_object(path, read_yaml(path, mend=OWN), {})
    for section, kinds in _SETTINGS.items():
        if section in content:
            check_object(f"{path}: {section}", content[section], kinds)
    return flatten(content)


def _made(path: Path, verb: str) -> Path:
    """`path`, or a SyndiffError that names the verb which makes it."""
    if not path.is_file():
        raise SyndiffError(f"{path} does not exist. Make it with `syndiff {verb}`.")
    return path
