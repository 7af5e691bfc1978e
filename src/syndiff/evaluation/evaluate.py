"""A predictor against the annotations of chosen cases: one row per case, a summary, and paired comparison."""

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.documents import check_object, read_object, rebuild
from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import CaseMetrics, case_metrics, overlap
from syndiff.evaluation.statistics import (
    DIFFERENCE_METHOD,
    METHOD,
    Difference,
    Interval,
    distance_mean,
    paired_difference,
    score_interval,
)
from syndiff.files import claimed, sha256, write_bytes, write_json
from syndiff.imaging import encode_png
from syndiff.models.predictor import Predictor

KIND = "an evaluation"
METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
COMPARED = ("dice", "iou", "hd95")
_AGAIN = "Delete this file, and make it again with `syndiff evaluate`."
_SETTINGS: dict[str, Any] = {"confidence": 0.95, "resamples": 10_000, "seed": 0}
_COLUMNS = ("case", "group", *(field.name for field in fields(CaseMetrics)), "seconds")
_DISAGREEMENT = "disagreement"
"""The last column, of a table in which a case has one."""
_OPTIONAL = {"precision", "recall", "hd95", "nsd", _DISAGREEMENT}
_COUNTS = {field.name for field in fields(CaseMetrics) if field.type is int}


@dataclass(frozen=True)
class CaseRow:
    """One line of per_case.csv.

    seconds: wall time of the whole prediction, without warm-up. disagreement: of its test-time views, 0 to 1
    (`Prediction.disagreement`); None for a single view.
    """

    case: str
    group: str | None
    metrics: CaseMetrics
    seconds: float
    disagreement: float | None = None


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    case_ids: Sequence[str],
    out: Path,
    *,
    tolerance: float = 2.0,
    fingerprint: str | None = None,
    keep_predictions: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Predict each case at its original size, compare, and write the results into the folder `out`.

    Writes per_case.csv, summary.json (last, with the SHA-256 of per_case.csv: see `finished`) and,
    with `keep_predictions`, the predicted masks as masks/<case>.png (0 and 255). Nothing is written before
    the last case is done. Returns the summary.

    tolerance: of the NSD, in pixels of the original image.
    fingerprint: of the dataset, where the caller knows it already; None computes it, reading every file.
    provenance: what else the figures depend on (weights, seed); stored, so that a later call can tell.

    Raises SyndiffError when there is no case or one is listed twice, for a tolerance that is negative or not finite,
    and when `out` is in use or holds something else than an evaluation.
    """
    if not case_ids:
        raise SyndiffError(f"There is no case of {dataset.name} to evaluate; check the split.")
    if len(set(case_ids)) < len(case_ids):
        raise SyndiffError(f"A case of {dataset.name} is listed twice for evaluation; list every case once.")
    if not 0 <= tolerance < math.inf:
        raise SyndiffError(f"tolerance is {tolerance}; expected a number of pixels, 0 or more.")
    with claimed(out, KIND, known=_is_evaluation):
        rows: list[CaseRow] = []
        pictures: dict[str, bytes] = {}
        for case_id in tqdm(case_ids, desc=f"evaluate {predictor.name}", unit="case", disable=not progress):
            case = dataset[case_id]
            image, target = dataset.load(case)
            start = time.perf_counter()
            prediction = predictor.predict(image, case_id=case.id)
            seconds = time.perf_counter() - start
            assert prediction.mask.shape == target.shape, f"{predictor.name} changed the size of {case.id}"
            metrics = case_metrics(prediction.mask, target, tolerance=tolerance)
            rows.append(CaseRow(case.id, case.group, metrics, seconds, prediction.disagreement))
            if keep_predictions:
                pictures[case.id] = encode_png(prediction.mask)

        summary = {
            "predictor": predictor.name,
            "dataset": {"name": dataset.name, "fingerprint": fingerprint or dataset.fingerprint()},
            **summarize(rows),
            "tolerance": tolerance,
            "masks": "masks" if keep_predictions else None,
            "masks_sha256": _joint_hash(pictures.values()) if keep_predictions else None,
            "provenance": dict(provenance or {}),
            "per_case": hashlib.sha256(table := per_case_table(rows)).hexdigest(),
        }
        for case_id, picture in pictures.items():
            write_bytes(out / "masks" / f"{case_id}.png", picture)
        write_bytes(out / "per_case.csv", table)
        write_json(out / "summary.json", summary)
        return summary


def finished(out: Path, cases: Sequence[str], **expected: Any) -> bool:
    """Whether `out` holds a finished evaluation of `cases` whose summary holds the values `expected`.

    Its table and masks must be those that the summary was written with, and its figures those of the table. An
    evaluation that replaces an earlier one leaves the earlier summary until its own is written; what was killed in
    between is told by the table, which is no longer that summary's.
    """
    if not _is_evaluation(out) or not (out / "summary.json").is_file():
        return False
    summary = read_summary(out)
    if sha256(out / "per_case.csv") != summary.get("per_case"):
        return False
    rows = read_per_case(out / "per_case.csv")
    told = {**json.loads(json.dumps(summarize(rows))), **expected}
    return (
        [row.case for row in rows] == list(cases)
        and all(name in summary and summary[name] == value for name, value in told.items())
        and (not summary.get("masks") or summary.get("masks_sha256") == _hash_of_masks(out / "masks", cases))
    )


def _is_evaluation(out: Path) -> bool:
    """Whether a folder holds a table of the columns that are written here."""
    table = out / "per_case.csv"
    return table.is_file() and table.read_bytes().startswith(",".join(_COLUMNS).encode())


def _hash_of_masks(folder: Path, cases: Sequence[str]) -> str | None:
    paths = [folder / f"{case}.png" for case in cases]
    return _joint_hash(path.read_bytes() for path in paths) if all(path.is_file() for path in paths) else None


def _joint_hash(contents: Iterable[bytes]) -> str:
    """SHA-256 (hexadecimal) over several contents in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def read_summary(out: Path) -> dict[str, Any]:
    """The summary of the evaluation in `out`. Raises SyndiffError for a damaged one."""
    return read_object(out / "summary.json", {}, mend=_AGAIN)


def scores_of(summary: Mapping[str, Any], out: Path) -> dict[str, Interval]:
    """Each metric's mean and interval in the `summary` of the evaluation in `out`. Raises SyndiffError for damage."""
    path = out / "summary.json"
    check_object(path, summary, {"metrics": dict}, mend=_AGAIN)
    metrics = check_object(f"{path}: metrics", summary["metrics"], dict.fromkeys(METRICS, dict), mend=_AGAIN)
    return {name: rebuild(Interval, metrics[name], f"{path}: metrics.{name}", mend=_AGAIN) for name in METRICS}


def summarize(rows: Sequence[CaseRow]) -> dict[str, Any]:
    """The part of summary.json that follows from the rows: means with intervals, pooled overlap, counts."""
    groups = _groups(rows)
    every = [row.metrics for row in rows]
    pooled = overlap(
        sum(metrics.intersection for metrics in every),
        sum(metrics.predicted for metrics in every),
        sum(metrics.annotated for metrics in every),
    )
    return {
        **_size(rows, {"method": METHOD, "confidence": _SETTINGS["confidence"]}),
        "metrics": {
            name: asdict(metric_interval(name, [getattr(metrics, name) for metrics in every], groups))
            for name in METRICS
        },
        "pooled": {"dice": pooled and pooled[0], "iou": pooled and pooled[1]},
        "counts": {
            "lesions": sum(metrics.lesions for metrics in every),
            "missed_lesions": sum(metrics.missed_lesions for metrics in every),
            "false_lesions": sum(metrics.false_lesions for metrics in every),
            "cases_with_lesions": sum(metrics.annotated > 0 for metrics in every),
            "missed_cases": sum(metrics.annotated > 0 and metrics.intersection == 0 for metrics in every),
            "empty_targets": sum(metrics.annotated == 0 for metrics in every),
        },
    }


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Paired differences, first - second, of two per_case.csv over the same cases.

    For Dice and IoU a positive difference says that the first is better, for HD95 a negative one. `side_by_side` says
    what a case without a lesion counts.

    Raises SyndiffError when the files do not hold the same cases with the same groups and annotations.
    """
    ours = read_per_case(first)
    by_case = {row.case: row for row in read_per_case(second)}
    unpaired = sorted({row.case for row in ours} ^ by_case.keys())
    if unpaired:
        raise SyndiffError(
            f"{first} and {second} do not hold the same cases: {unpaired[0]} is in one only "
            f"({len(unpaired)} such cases). Evaluate both models on the same cases."
        )
    theirs = [by_case[row.case] for row in ours]
    for a, b in zip(ours, theirs, strict=True):
        if (a.group, a.metrics.annotated) != (b.group, b.metrics.annotated):
            raise SyndiffError(
                f"{first} and {second} disagree on the group or the annotation of case {a.case}; "
                "the dataset changed between the two evaluations. Evaluate both models again."
            )
    return {
        "first": str(first),
        "second": str(second),
        **_size(ours, {"method": DIFFERENCE_METHOD, **_SETTINGS}),
        "metrics": {name: asdict(_difference(ours, theirs, name)) for name in COMPARED},
    }


def _difference(ours: Sequence[CaseRow], theirs: Sequence[CaseRow], name: str) -> Difference:
    first, second = side_by_side([ours, theirs], name)
    return paired_difference(first, second, _groups(ours), distances=name == "hd95", **_SETTINGS)


def metric_interval(name: str, values: Sequence[float | None], groups: Sequence[str | None] | None) -> Interval:
    """The mean of one of METRICS over cases; of all but HD95, which is no score in [0, 1], with its 95 % interval."""
    if name == "hd95":
        return distance_mean(values, groups)
    return score_interval(values, groups, confidence=_SETTINGS["confidence"])


def side_by_side(tables: Sequence[Sequence[CaseRow]], name: str) -> list[list[float | None]]:
    """One of COMPARED for the same cases in several tables, each in the same order; None where no table has a value.

    HD95 is not applicable to a case without a lesion while nothing is marked. Beside a table that does mark something
    there, and pays the image's diagonal for it, it is 0, what agreement costs: were the case left out, marking what is
    not there would cost nothing.
    """
    values = [[getattr(row.metrics, name) for row in rows] for rows in tables]
    judged = [any(value is not None for value in case) for case in zip(*values, strict=True)]
    return [[0.0 if j and v is None else v for v, j in zip(column, judged, strict=True)] for column in values]


def per_case_table(rows: Sequence[CaseRow]) -> bytes:
    """The content of per_case.csv: a line for each case; an empty cell means not applicable (or no group).

    The column `disagreement` is there where a case has one: a table of single views is what it was without it.
    """
    text = io.StringIO()
    more = (_DISAGREEMENT,) if any(row.disagreement is not None for row in rows) else ()
    writer = csv.DictWriter(text, (*_COLUMNS, *more), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({**vars(row), **vars(row.metrics)})
    return text.getvalue().encode()


def read_per_case(path: Path) -> list[CaseRow]:
    """Read a per_case.csv back, exactly as written.

    Raises SyndiffError when the file is missing, has other columns, a value that is not a number, or a case twice.
    """
    if not path.is_file():
        raise SyndiffError(f"{path} does not exist; evaluate the model first.")
    rows: dict[str, CaseRow] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(next(reader, ()))
            if columns not in (_COLUMNS, (*_COLUMNS, _DISAGREEMENT)):
                raise SyndiffError(f"{path} has other columns than {','.join(_COLUMNS)}; evaluate the model again.")
            for cells in reader:
                row = _row(f"{path}, line {reader.line_num}", columns, cells)
                if row.case in rows:
                    raise SyndiffError(f"{path}: case {row.case} stands there twice; evaluate again.")
                rows[row.case] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise SyndiffError(f"{path} is no UTF-8 CSV file ({error}); evaluate the model again.") from None
    return list(rows.values())


def _row(where: str, columns: Sequence[str], cells: Sequence[str]) -> CaseRow:
    try:
        line = {_DISAGREEMENT: "", **dict(zip(columns, cells, strict=True))}
        metrics = {field.name: _value(field.name, line[field.name]) for field in fields(CaseMetrics)}
        seconds, disagreement = (_value(name, line[name]) for name in ("seconds", _DISAGREEMENT))
    except ValueError:
        raise SyndiffError(
            f"{where}, holds other cells than its columns, or a value that is no number; evaluate again."
        ) from None
    return CaseRow(line["case"], line["group"] or None, CaseMetrics(**metrics), seconds, disagreement)


def _value(column: str, cell: str) -> Any:
    if column in _OPTIONAL and cell == "":
        return None
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return int(cell) if column in _COUNTS else number


def _groups(rows: Sequence[CaseRow]) -> list[str | None] | None:
    """The group of each row; None when no row has one."""
    groups = [row.group for row in rows]
    return groups if any(group is not None for group in groups) else None


def _size(rows: Sequence[CaseRow], made: Mapping[str, Any]) -> dict[str, Any]:
    """Cases, groups (null when there are none), and how intervals are `made` from them."""
    groups = _groups(rows)
    return {
        "cases": len(rows),
        "groups": None if groups is None else len(set(groups)),
        "intervals": {"unit": "case" if groups is None else "group", **made},
    }
