"""`syndiff calibrate`: the threshold of the wide contour, from patients that neither trained nor chose the model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.evaluation.guarantee import FrameCurve, Goal, check_enough, choose, frame_curve
from syndiff.files import locked, sha256
from syndiff.models.calibration import Calibration, inference_settings, statement, store_calibration
from syndiff.models.prediction import SegmenterPredictor, load_segmenter
from syndiff.models.predictor import Predictor
from syndiff.models.stored import DESCRIPTION, WEIGHTS, read_description
from syndiff.pipeline.provenance import calibration_cases
from syndiff.training.checkpoints import best_checkpoint

log = logging.getLogger("syndiff")


def calibrate(
    run: Path | str,
    data: Path | str,
    *,
    external: bool = False,
    coverage: float | None = None,
    confidence: float | None = None,
    miss: float = 0.1,
    average: bool = False,
    group_per_case: bool = False,
    class_name: str | None = None,
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Calibration:
    """Find the threshold of a wide contour that a promise can be made of, and store both beside the best weights.

    The promise: with `confidence` (0.9), in at least a share `coverage` (0.9) of new patients, the wide contour misses
    at most a share `miss` of the lesion's pixels in every frame. With `average`, which needs fewer patients: on
    average over new patients it misses at most `miss`.

    Calibrated on the test cases of the run's own split or, with `external`, on all cases of another dataset, by the
    groups of groups.csv; without these `group_per_case` has to say that every case is another patient. Of several
    classes it is `class_name` whose pixels are counted; each needs a calibration of its own, and what is said holds for
    each alone. `timestep`, `steps`, `tta` and `seed` are those of `load`. What an earlier calibration has stored is
    replaced.

    Raises SyndiffError for cases that the model has met in any way, for too few patients, saying how many are needed,
    and where the wide contour would take in plain background.

    >>> syndiff.calibrate("runs/mine", "my-polyps", average=True, miss=0.5).kind
    'average'
    """
    if average and (coverage is not None or confidence is not None):
        raise SyndiffError("--coverage and --confidence have no effect with --average; leave them out.")
    if not average:
        coverage, confidence = _or(coverage, 0.9), _or(confidence, 0.9)
    goal = Goal(miss, coverage, confidence, class_name)
    run, dataset = Path(run), open_checked(Path(data), progress=progress)
    checkpoint = best_checkpoint(run)  # or a sentence, before anything else is asked of the folder
    described = read_description(checkpoint, {"model": dict})
    dataset.told_apart.check_same(Targets.of(described, checkpoint), str(dataset.root), f"the model {run}")
    index = _index(dataset.told_apart, class_name)
    split = Split.read(run / "split.json")
    cases = calibration_cases(run, split, dataset, external=external)
    group_of = _groups(dataset, cases, group_per_case=group_per_case)
    check_enough(_with_lesion(dataset, group_of, index), goal)
    with locked(run):
        checkpoint = best_checkpoint(run)
        model, described = load_segmenter(checkpoint, timestep=timestep, steps=steps, tta=tta)
        inference = inference_settings(described["model"], timestep=timestep, steps=steps, tta=tta)
        views = inference["tta"] or 1
        predictor = SegmenterPredictor(model, described["model"]["image_size"], name=run.name, seed=seed, tta=views)
        frames = frame_curves(predictor, dataset, group_of, index, progress=progress)
        calibration = _calibration(
            goal,
            frames,
            inference,
            group_per_case=group_per_case,
            dataset=dataset.name,
            fingerprint=dataset.fingerprint() if external else split.fingerprint,
            seed=seed,
            weights=sha256(checkpoint / WEIGHTS),
        )
        if store_calibration(checkpoint / DESCRIPTION, calibration, model.targets, class_name):
            log.info(f"{checkpoint / DESCRIPTION}: an earlier calibration is replaced.")
    return calibration


def _index(targets: Targets, class_name: str | None) -> int:
    """Which of the classes of a dataset is meant, from 0. Raises SyndiffError where that is not said, or not known."""
    if class_name in targets.names if targets.several else class_name is None:
        return targets.names.index(class_name) if class_name is not None else 0
    if not targets.several:
        raise SyndiffError(f"--class {class_name}: the dataset has {targets}; leave it out.")
    found = "no --class" if class_name is None else f"--class {class_name}"
    raise SyndiffError(f"Found {found}, expected one of {', '.join(targets.names)}: each has a guarantee of its own.")


def _calibration(
    goal: Goal,
    frames: Sequence[FrameCurve],
    inference: Mapping[str, int | None],
    *,
    group_per_case: bool,
    **about: Any,
) -> Calibration:
    """What the frames allow to say; `about` are fields of `Calibration` that do not depend on them."""
    choice = choose(frames, goal)
    return Calibration(
        sentence=statement(
            groups=choice.groups,
            miss=goal.miss,
            coverage=goal.coverage,
            confidence=goal.confidence,
            group_per_case=group_per_case,
            class_name=goal.class_name,
        ),
        threshold=choice.threshold,
        kind="average" if goal.on_average else "groups",
        miss=goal.miss,
        coverage=goal.coverage,
        confidence=goal.confidence,
        groups=choice.groups,
        frames=len(frames),
        failures=choice.failures,
        group_per_case=group_per_case,
        extra_of_frame=choice.extra_of_frame,
        extra_of_mask=choice.extra_of_mask,
        timestep=inference["timestep"],
        steps=inference["steps"],
        tta=inference["tta"] or 1,
        **about,
    )


def frame_curves(
    predictor: Predictor, dataset: Dataset, group_of: Mapping[str, str], index: int = 0, *, progress: bool = True
) -> list[FrameCurve]:
    """The curves of these cases for the class `index`, each with its group; one image is in memory at a time."""
    frames = []
    for case_id, group in tqdm(group_of.items(), desc="calibrate", unit="case", disable=not progress):
        image, masks = dataset.load_classes(dataset[case_id])
        answer = predictor.predict(image, case_id=case_id)
        probability, mask = answer.probabilities[index], answer.masks[index]
        frames.append(frame_curve(probability, masks[index], case=case_id, group=group, mask_hw=mask))
    return frames


def _groups(dataset: Dataset, cases: tuple[str, ...], *, group_per_case: bool) -> dict[str, str]:
    """The group of each case. Raises SyndiffError where they are not known, and not said to be one for each case."""
    if dataset.has_groups and group_per_case:
        raise SyndiffError(
            f"{dataset.root / 'groups.csv'} says which cases are of one patient: leave --group-per-case out."
        )
    if not dataset.has_groups and not group_per_case:
        raise SyndiffError(
            f"{dataset.root} has no groups.csv, which says which cases are of one patient, and what holds for images "
            "does not hold for patients. Add one (columns case,group), or, where every case is of another patient, "
            "--group-per-case."
        )
    return {case: dataset[case].group or case for case in cases}


def _with_lesion(dataset: Dataset, group_of: Mapping[str, str], index: int) -> int:
    """How many groups have a lesion of the class in any frame; from masks alone, before minutes of prediction."""
    found: set[str] = set()
    for case, group in group_of.items():
        if group not in found and dataset.masks_alone(dataset[case])[index].any():
            found.add(group)
    return len(found)


def _or(value: float | None, usual: float) -> float:
    return usual if value is None else value
