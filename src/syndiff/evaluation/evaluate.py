"""A predictor against the annotations of chosen cases: one row per case, a summary, and paired comparison.

Of several classes, per_case.csv has a line for each class of a case, told by its last column; a case counts with the
mean over its classes (`metrics.mean_metrics`), and the summary has the figures of each class beside.
"""

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.data.dataset import Dataset, any_class
from syndiff.data.written_masks import encode_masks, mask_extension
from syndiff.documents import check_object, read_object, rebuild
from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import CaseMetrics, case_metrics, mean_metrics, overlap
from syndiff.evaluation.sizes import Sized, SizeScores, by_size
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
from syndiff.models.predictor import Predictor

KIND = "an evaluation"
METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
COMPARED = ("dice", "iou", "hd95")
_AGAIN = "Delete this file, and make it again with `syndiff evaluate`."
_SETTINGS: dict[str, Any] = {"confidence": 0.95, "resamples": 10_000, "seed": 0}
_COLUMNS = ("case", "group", *(each.name for each in fields(CaseMetrics)), "seconds")
_DISAGREEMENT = "disagreement"
"""A column at the end of a table in which a case has one."""
_CLASS = "class"
"""The last column, of a table of several classes."""
_TABLES = tuple((*_COLUMNS, *d, *c) for d in ((), (_DISAGREEMENT,)) for c in ((), (_CLASS,)))
_OPTIONAL = {"precision", "recall", "hd95", "nsd", _DISAGREEMENT}
_COUNTS = {each.name for each in fields(CaseMetrics) if each.type is int}


@dataclass(frozen=True)
class CaseRow:
    """A case in per_case.csv: one line, or one for each of several classes.

    metrics: the mean over classes where there are several. classes: then those of each, by its name; else empty.
    seconds: wall time of the whole prediction, without warm-up. disagreement: of its test-time views, 0 to 1
    (`Prediction.disagreement`); None for a single view.
    """

    case: str
    group: str | None
    metrics: CaseMetrics
    seconds: float
    disagreement: float | None = None
    classes: Mapping[str, CaseMetrics] = field(default_factory=dict)


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
    with `keep_predictions`, the predicted masks as masks/<case>.png (0 and 255; class numbers of several classes, and
    masks/<case>.tif with a page for each where they may overlap). Nothing is written before
    the last case is done. Returns the summary.

    tolerance: of the NSD, in pixels of the original image.
    fingerprint: of the dataset, where the caller knows it already; None computes it, reading every file.
    provenance: what else the figures depend on (weights, seed); stored, so that a later call can tell.

    Raises SyndiffError when there is no case or one is listed twice, for a tolerance that is negative or not finite,
    for a predictor of other classes than the dataset's, and when `out` is in use or holds something else than an
    evaluation.
    """
    if not case_ids:
        raise SyndiffError(f"There is no case of {dataset.name} to evaluate; check the split.")
    if len(set(case_ids)) < len(case_ids):
        raise SyndiffError(f"A case of {dataset.name} is listed twice for evaluation; list every case once.")
    if not 0 <= tolerance < math.inf:
        raise SyndiffError(f"tolerance is {tolerance}; expected a number of pixels, 0 or more.")
    with claimed(out, KIND, known=_is_evaluation):
        rows, targets, sized = list[CaseRow](), dataset.told_apart, list[Sized]()
        pictures: dict[str, bytes] = {}
        for case_id in tqdm(case_ids, desc=f"evaluate {predictor.name}", unit="case", disable=not progress):
            case = dataset[case_id]
            image, target = dataset.load_classes(case)
            start = time.perf_counter()
            prediction = predictor.predict(image, case_id=case.id)
            seconds = time.perf_counter() - start
            targets.check_same(prediction.targets, str(dataset.root), f"the model {predictor.name}")
            found = prediction.masks
            assert found.shape == target.shape, f"{predictor.name} changed the size of {case.id}"
            metrics = [case_metrics(*each, tolerance=tolerance) for each in zip(found, target, strict=True)]
            by_class = dict(zip(targets.names, metrics, strict=True)) if targets.several else {}
            mean = mean_metrics(metrics)
            rows.append(CaseRow(case.id, case.group, mean, seconds, prediction.disagreement, by_class))
            sized.append(Sized(mean, float(any_class(target).mean())))
            if keep_predictions:
                pictures[case.id] = encode_masks(found, targets)

        summary = {
            "predictor": predictor.name,
            "dataset": {"name": dataset.name, "fingerprint": fingerprint or dataset.fingerprint()},
            **summarize(rows),
            "sizes": {name: asdict(scores) for name, scores in by_size(sized).items()},
            "tolerance": tolerance,
            "masks": "masks" if keep_predictions else None,
            "masks_sha256": _joint_hash(pictures.values()) if keep_predictions else None,
            "provenance": dict(provenance or {}),
            "per_case": hashlib.sha256(table := per_case_table(rows)).hexdigest(),
        }
        for case_id, picture in pictures.items():
            write_bytes(out / "masks" / f"{case_id}{mask_extension(targets)}", picture)
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
    """Whether a folder holds a table that begins with the columns that are written here."""
    table = out / "per_case.csv"
    return table.is_file() and table.read_bytes().startswith(",".join(_COLUMNS).encode())


def _hash_of_masks(folder: Path, cases: Sequence[str]) -> str | None:
    for extension in (".png", ".tif"):  # the latter of classes that may overlap
        paths = [folder / f"{case}{extension}" for case in cases]
        if all(path.is_file() for path in paths):
            return _joint_hash(path.read_bytes() for path in paths)
    return None


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


def sizes_of(summary: Mapping[str, Any], out: Path) -> dict[str, SizeScores]:
    """The scores by size of lesion in the `summary` of the evaluation in `out`; an earlier version has none.

    Raises SyndiffError for damage.
    """
    path = out / "summary.json"
    sizes = check_object(path, {"sizes": {}, **summary}, {"sizes": dict}, mend=_AGAIN)["sizes"]
    return {name: rebuild(SizeScores, told, f"{path}: sizes.{name}", mend=_AGAIN) for name, told in sizes.items()}


def summarize(rows: Sequence[CaseRow]) -> dict[str, Any]:
    """The part of summary.json that follows from the rows: means with intervals, pooled overlap, counts.

    Of several classes the same again for each, by its name.
    """
    classes = {name: _figures(_of_class(rows, name)) for name in _classes(rows)}
    sizes = _size(rows, {"method": METHOD, "confidence": _SETTINGS["confidence"]})
    return {**sizes, **_figures(rows), **({"classes": classes} if classes else {})}


def _figures(rows: Sequence[CaseRow]) -> dict[str, Any]:
    groups = _groups(rows)
    every = [row.metrics for row in rows]
    pooled = overlap(
        sum(metrics.intersection for metrics in every),
        sum(metrics.predicted for metrics in every),
        sum(metrics.annotated for metrics in every),
    )
    return {
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
        if _annotation(a) != _annotation(b):
            raise SyndiffError(
                f"{first} and {second} disagree on the group or the annotation of case {a.case}; "
                "the dataset changed between the two evaluations. Evaluate both models again."
            )
    classes = {
        name: {"metrics": _differences(_of_class(ours, name), _of_class(theirs, name))} for name in _classes(ours)
    }
    return {
        "first": str(first),
        "second": str(second),
        **_size(ours, {"method": DIFFERENCE_METHOD, **_SETTINGS}),
        "metrics": _differences(ours, theirs),
        **({"classes": classes} if classes else {}),
    }


def _classes(rows: Sequence[CaseRow]) -> list[str]:
    """The names of several classes; empty for one."""
    return list(rows[0].classes) if rows else []


def _of_class(rows: Sequence[CaseRow], name: str) -> list[CaseRow]:
    """The rows as they were if there were only this class."""
    return [replace(row, metrics=row.classes[name], classes={}) for row in rows]


def _annotation(row: CaseRow) -> object:
    """What must be the same in two tables of the same cases."""
    return row.group, row.metrics.annotated, {name: metrics.annotated for name, metrics in row.classes.items()}


def _differences(ours: Sequence[CaseRow], theirs: Sequence[CaseRow]) -> dict[str, Any]:
    return {name: asdict(_difference(ours, theirs, name)) for name in COMPARED}


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
    not there would cost nothing. Of several classes this is done for each, and then the mean over them is taken.
    """
    if classes := _classes(tables[0]):
        parts = [side_by_side([_of_class(rows, each) for rows in tables], name) for each in classes]
        return [[_mean(case) for case in zip(*columns, strict=True)] for columns in zip(*parts, strict=True)]
    values = [[getattr(row.metrics, name) for row in rows] for rows in tables]
    judged = [any(value is not None for value in case) for case in zip(*values, strict=True)]
    return [[0.0 if j and v is None else v for v, j in zip(column, judged, strict=True)] for column in values]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def per_case_table(rows: Sequence[CaseRow]) -> bytes:
    """The content of per_case.csv: a line for each case; an empty cell means not applicable (or no group).

    The column `disagreement` is there where a case has one: a table of single views is what it was without it. So is
    the column `class` where there are several: a case has a line for each then.
    """
    text = io.StringIO()
    more = (_DISAGREEMENT,) if any(row.disagreement is not None for row in rows) else ()
    columns = (*_COLUMNS, *more, *((_CLASS,) if _classes(rows) else ()))
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        for name, metrics in row.classes.items() or [("", row.metrics)]:
            writer.writerow({**vars(row), **vars(metrics), _CLASS: name})
    return text.getvalue().encode()


def read_per_case(path: Path) -> list[CaseRow]:
    """Read a per_case.csv back, exactly as written: a row for each case.

    Raises SyndiffError when the file is missing, has other columns, a value that is not a number, or a case twice, and
    where cases have other classes than the first.
    """
    if not path.is_file():
        raise SyndiffError(f"{path} does not exist; evaluate the model first.")
    rows: dict[str, CaseRow] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(next(reader, ()))
            if columns not in _TABLES:
                raise SyndiffError(f"{path} has other columns than {','.join(_COLUMNS)}; evaluate the model again.")
            for cells in reader:
                row = _row(f"{path}, line {reader.line_num}", columns, cells)
                earlier = rows.get(row.case, row)
                if earlier is not row and not row.classes.keys() - earlier.classes.keys():
                    raise SyndiffError(f"{path}: case {row.case} stands there twice; evaluate again.")
                rows[row.case] = replace(row, classes={**earlier.classes, **row.classes})
    except (UnicodeDecodeError, csv.Error) as error:
        raise SyndiffError(f"{path} is no UTF-8 CSV file ({error}); evaluate the model again.") from None
    found = [replace(row, metrics=mean_metrics([*row.classes.values()] or [row.metrics])) for row in rows.values()]
    if other := next((row.case for row in found if list(row.classes) != _classes(found)), None):
        raise SyndiffError(f"{path}: case {other} has other classes than the first case; evaluate again.")
    return found


def _row(where: str, columns: Sequence[str], cells: Sequence[str]) -> CaseRow:
    try:
        line = {_DISAGREEMENT: "", _CLASS: "", **dict(zip(columns, cells, strict=True))}
        metrics = CaseMetrics(**{each.name: _value(each.name, line[each.name]) for each in fields(CaseMetrics)})
        seconds, disagreement = (_value(name, line[name]) for name in ("seconds", _DISAGREEMENT))
    except ValueError:
        raise SyndiffError(
            f"{where}, holds other cells than its columns, or a value that is no number; evaluate again."
        ) from None
    classes = {line[_CLASS]: metrics} if _CLASS in columns else {}
    return CaseRow(line["case"], line["group"] or None, metrics, seconds, disagreement, classes)


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
