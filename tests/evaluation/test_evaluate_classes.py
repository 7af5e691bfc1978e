"""Scores of several classes: each by itself, and a case with the mean over its classes."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.targets import Targets
from syndiff.data.written_masks import read_masks
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import compare, evaluate, finished, read_per_case, side_by_side
from syndiff.evaluation.metrics import case_metrics, mean_metrics
from syndiff.models.predictor import Prediction

SHAPE = (30, 40)
IDS = ["a", "b", "c"]


@dataclass(frozen=True)
class Colours:
    """Calls polyp what is red and instrument what is blue, moved by so many pixels."""

    targets: Targets
    moved: int = 0
    name: str = "colours"

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        found = np.roll(image[..., [0, 2]] > 128, self.moved, 1).transpose(2, 0, 1)
        return Prediction.of(0.9 * found.astype(np.float32), self.targets, {})


def make_dataset(root: Path, *, overlap: bool) -> Dataset:
    """Three frames with a polyp, and an instrument in the first two."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, case in enumerate(IDS):
        masks = np.zeros((2, *SHAPE), bool)
        masks[0, 5:15, 5:15], masks[1, 20:24, 10 + number : 30] = True, case != "c"
        image = np.zeros((*SHAPE, 3), np.uint8)
        image[masks[0], 0], image[masks[1], 2] = 255, 255
        Image.fromarray(image).save(root / "images" / f"{case}.png")
        if overlap:
            tifffile.imwrite(root / "masks" / f"{case}.tif", masks.astype(np.uint8), photometric="minisblack")
        else:
            Image.fromarray(masks[0] + np.uint8(2) * masks[1]).save(root / "masks" / f"{case}.png")
    described = {"classes": {"1": "polyp", "2": "instrument"}, **({"overlap": True} if overlap else {})}
    (root / "dataset.json").write_text(json.dumps(described))
    return Dataset.open(root)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_case_has_a_line_for_each_class_and_counts_with_their_mean(tmp_path: Path, overlap: bool) -> None:
    dataset = make_dataset(tmp_path / "data", overlap=overlap)
    predictor, out = Colours(dataset.told_apart, moved=2), tmp_path / "eval"
    summary = evaluate(predictor, dataset, IDS, out, keep_predictions=True, progress=False)
    with (out / "per_case.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["case"], line["class"]) for line in lines] == [(i, n) for i in IDS for n in dataset.targets]
    rows = read_per_case(out / "per_case.csv")
    assert [row.case for row in rows] == IDS and list(rows[0].classes) == list(dataset.targets)
    for row, case in zip(rows, dataset.cases, strict=True):
        image, masks = dataset.load_classes(case)
        found = predictor.predict(image, case_id=case.id).masks
        expected = [case_metrics(*each) for each in zip(found, masks, strict=True)]
        assert list(row.classes.values()) == expected and row.metrics == mean_metrics(expected)
        stored = read_masks(out / "masks" / f"{case.id}{'.tif' if overlap else '.png'}", dataset.told_apart)
        np.testing.assert_array_equal(stored, found)
    polyp, tool = summary["classes"]["polyp"], summary["classes"]["instrument"]
    assert polyp["metrics"]["dice"]["mean"] == pytest.approx(0.8)
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(
        (polyp["metrics"]["dice"]["mean"] + tool["metrics"]["dice"]["mean"]) / 2
    )
    assert (polyp["counts"]["lesions"], tool["counts"]["lesions"], summary["counts"]["lesions"]) == (3, 2, 5)
    assert tool["counts"]["empty_targets"] == 1 and tool["metrics"]["hd95"]["cases"] == 2
    assert finished(out, IDS) and not finished(out, IDS[:2])
    (out / "masks" / f"a{'.tif' if overlap else '.png'}").unlink()
    assert not finished(out, IDS)


def test_comparisons_are_of_each_class_and_of_the_means(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", overlap=False)
    for name, moved in (("good", 0), ("bad", 3)):
        evaluate(Colours(dataset.told_apart, moved), dataset, IDS, tmp_path / name, progress=False)
    found = compare(tmp_path / "good" / "per_case.csv", tmp_path / "bad" / "per_case.csv")
    parts = [found["classes"][name]["metrics"]["dice"]["mean"] for name in dataset.targets]
    assert found["metrics"]["dice"]["mean"] == pytest.approx(np.mean(parts)) and min(parts) > 0


def test_marking_a_class_that_is_not_there_costs_its_distance() -> None:
    lesion, nothing = np.eye(20, dtype=bool), np.zeros((20, 20), bool)
    right, alarm = case_metrics(lesion, lesion), case_metrics(lesion, nothing)
    none = case_metrics(nothing, nothing)
    from syndiff.evaluation.evaluate import CaseRow

    better, worse = (
        CaseRow("a", None, mean_metrics([right, other]), 0.0, classes={"polyp": right, "instrument": other})
        for other in (none, alarm)
    )
    assert better.metrics.hd95 == 0 and worse.metrics.hd95 == alarm.hd95 / 2
    assert side_by_side([[better], [worse]], "hd95") == [[0.0], [alarm.hd95 / 2]]


def test_a_model_of_other_classes_and_a_damaged_table_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", overlap=False)
    for other in (Targets(), replace(dataset.told_apart, names=("polyp", "tool"))):
        with pytest.raises(SyndiffError, match=r"instrument.*but the model colours has"):
            predictor = Colours(other) if other.several else _One()
            evaluate(predictor, dataset, IDS, tmp_path / "none", progress=False)
    out = tmp_path / "eval"
    evaluate(Colours(dataset.told_apart), dataset, IDS, out, progress=False)
    table = (out / "per_case.csv").read_text()
    header, first, *rest = table.splitlines()
    for lines, expected in (([first, first, *rest], "stands there twice"), (rest, "other classes")):
        (out / "per_case.csv").write_text("\n".join([header, *lines]) + "\n")
        with pytest.raises(SyndiffError, match=expected):
            read_per_case(out / "per_case.csv")


class _One:
    """A model of one foreground."""

    name = "colours"

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        return Prediction.of(np.zeros((1, *SHAPE), np.float32), Targets(), {})
