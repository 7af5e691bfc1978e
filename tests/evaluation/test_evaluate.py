import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, compare, evaluate, finished, per_case_table, read_per_case
from syndiff.evaluation.metrics import case_metrics
from syndiff.models.predictor import Prediction, Predictor
from syndiff.studies.table import tabulate

HEIGHT, WIDTH = 30, 40


@dataclass(frozen=True)
class RedThreshold:
    """Calls lesion what is red enough; the whole frame for the cases it is told to spoil."""

    level: int
    spoil: frozenset[str] = frozenset()
    name: str = "red"

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        red = image[..., 0].astype(np.float32) / 255
        mask = np.ones(red.shape, bool) if case_id in self.spoil else image[..., 0] > self.level
        return Prediction(mask, red, {"preprocess": 0.0})


def make_dataset(root: Path, *, groups: bool = True) -> Dataset:
    """Six frames in three groups: a lesion of 100 pixels, its right part (10 % per case number) faint red."""
    lines = ["case,group"]
    for number in range(6):
        image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[10:20, 10:20] = 255
        image[10:20, 10:20, 0] = 200
        image[10:20, 20 - number : 20, 0] = 100
        if number == 5:  # nothing annotated, but something red
            mask[:] = 0
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"c{number}.png")
        lines.append(f"c{number},video{number // 2}")
    if groups:
        (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return Dataset.open(root)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data")


ALL = [f"c{number}" for number in range(6)]


def test_summary_holds_what_the_cases_say(dataset: Dataset, tmp_path: Path) -> None:
    predictor: Predictor = RedThreshold(150)
    summary = evaluate(predictor, dataset, ALL, tmp_path / "eval", progress=False)
    dices = [2 * kept / (100 + kept) for kept in (100, 90, 80, 70, 60)] + [0]
    assert summary == json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["predictor"] == "red"
    assert summary["dataset"] == {"name": dataset.name, "fingerprint": dataset.fingerprint()}
    assert (summary["cases"], summary["groups"], summary["intervals"]["unit"]) == (6, 3, "group")
    dice = summary["metrics"]["dice"]
    assert dice["mean"] == pytest.approx(np.mean(dices))
    assert dice["low"] < dice["mean"] < dice["high"]
    assert summary["metrics"]["precision"]["mean"] == pytest.approx(5 / 6)
    recall = summary["metrics"]["recall"]
    assert (recall["mean"], recall["cases"], recall["not_applicable"]) == (pytest.approx(0.8), 5, 1)
    assert summary["pooled"]["dice"] == pytest.approx(2 * 400 / (450 + 500))
    assert summary["counts"] == {
        "lesions": 5,
        "missed_lesions": 0,
        "false_lesions": 1,
        "cases_with_lesions": 5,
        "missed_cases": 0,
        "empty_targets": 1,
    }
    assert summary["masks"] is None
    row = summary["sizes"].pop("5 to 15 %")  # 100 of 1,200 pixels; the empty frame has no size
    assert summary["sizes"] == {} and row["cases"] == row["lesions"] == 5 and row["missed_lesions"] == 0
    assert row["dice"] == pytest.approx(np.mean([2 * (100 - 10 * n) / (200 - 10 * n) for n in range(5)]))
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == [
        ".syndiff.json",
        "per_case.csv",
        "summary.json",
    ]


def test_finding_nothing_is_counted_and_costs_the_diagonal(dataset: Dataset, tmp_path: Path) -> None:
    summary = evaluate(RedThreshold(255), dataset, ALL, tmp_path / "eval", progress=False)
    assert summary["counts"]["missed_cases"] == summary["counts"]["missed_lesions"] == 5
    hd95 = summary["metrics"]["hd95"]
    assert (hd95["mean"], hd95["cases"], hd95["not_applicable"]) == (50, 5, 1)
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(1 / 6)  # the empty frame, rightly left empty
    assert summary["metrics"]["precision"]["mean"] is None
    assert summary["metrics"]["precision"]["note"] == "not applicable to any case"


def test_rows_come_back_as_written(dataset: Dataset, tmp_path: Path) -> None:
    evaluate(RedThreshold(150), dataset, ["c3", "c5"], tmp_path / "eval", progress=False)
    third, fifth = read_per_case(tmp_path / "eval" / "per_case.csv")
    image, target = dataset.load(dataset["c3"])
    assert (third.case, third.group) == ("c3", "video1")
    assert third.metrics == case_metrics(RedThreshold(150).predict(image, case_id="c3").mask, target)
    assert third.seconds > 0
    assert fifth.metrics.recall is None
    (tmp_path / "again.csv").write_bytes(per_case_table([third, fifth]))
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "eval" / "per_case.csv").read_bytes()


def test_the_disagreement_of_several_views_is_kept_and_a_table_without_it_is_as_before(
    dataset: Dataset, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class SeveralViews(RedThreshold):
        def predict(self, image: NDArray, *, case_id: str) -> Prediction:
            return replace(super().predict(image, case_id=case_id), disagreement=int(case_id[1:]) / 8)

    one, many = tmp_path / "one", tmp_path / "many"
    evaluate(RedThreshold(150), dataset, ALL, one, progress=False)
    evaluate(SeveralViews(150), dataset, ALL, many, progress=False)
    assert [row.disagreement for row in read_per_case(many / "per_case.csv")] == [number / 8 for number in range(6)]
    assert finished(many, ALL, tolerance=2.0) and finished(one, ALL, tolerance=2.0)
    assert (one / "per_case.csv").read_text().splitlines()[0].endswith(",annotated,seconds")
    assert {row.disagreement for row in read_per_case(one / "per_case.csv")} == {None}
    (many / "per_case.csv").write_text((many / "per_case.csv").read_text().replace("0.125", "much"))
    with pytest.raises(SyndiffError, match="line 3"):
        read_per_case(many / "per_case.csv")


def test_odd_names_survive_the_table(tmp_path: Path) -> None:
    row = CaseRow('a, "b"\nü', None, case_metrics(np.eye(3, dtype=bool), np.eye(3, dtype=bool)), 0.1)
    (tmp_path / "rows.csv").write_bytes(per_case_table([row]))
    assert read_per_case(tmp_path / "rows.csv") == [row]


def test_predicted_masks_are_kept_on_demand_at_the_original_size(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    summary = evaluate(RedThreshold(150), dataset, ALL[:2], out, keep_predictions=True, progress=False)
    assert summary["masks"] == "masks"
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["c0.png", "c1.png"]
    kept = np.asarray(Image.open(out / "masks" / "c1.png"))
    assert kept.shape == (HEIGHT, WIDTH)
    assert set(np.unique(kept)) == {0, 255}
    assert (kept > 0).sum() == 90


def test_cases_without_groups_are_resampled_one_by_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", groups=False)
    summary = evaluate(RedThreshold(150), dataset, ALL, tmp_path / "eval", progress=False)
    assert (summary["groups"], summary["intervals"]["unit"]) == (None, "case")
    assert summary["metrics"]["dice"]["groups"] == 6


def test_a_known_fingerprint_and_tolerance_are_recorded(dataset: Dataset, tmp_path: Path) -> None:
    loose, strict = (
        evaluate(RedThreshold(150), dataset, ["c1"], tmp_path / "eval", fingerprint="f", tolerance=t, progress=False)
        for t in (1.0, 0.0)
    )
    assert loose["dataset"]["fingerprint"] == "f"
    assert (loose["tolerance"], strict["tolerance"]) == (1, 0)
    assert loose["metrics"]["nsd"]["mean"] == 1 > strict["metrics"]["nsd"]["mean"]
    assert loose["metrics"]["nsd"]["note"] == "no interval: only one group"


def test_a_predictor_that_fails_leaves_the_folder_as_it_was(dataset: Dataset, tmp_path: Path) -> None:
    class Failing(RedThreshold):
        def predict(self, image: NDArray, *, case_id: str) -> Prediction:
            if case_id == "c3":
                raise SyndiffError("weights are NaN")
            return super().predict(image, case_id=case_id)

    evaluate(RedThreshold(150), dataset, ALL, tmp_path / "eval", progress=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "eval").iterdir()}
    with pytest.raises(SyndiffError, match="NaN"):
        evaluate(Failing(100), dataset, ALL, tmp_path / "eval", keep_predictions=True, progress=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "eval").iterdir()} == before


@pytest.mark.parametrize(("cases", "words"), [([], "no case"), (["c1", "c1"], "listed twice"), (["c9"], "c9")])
def test_senseless_case_lists_are_refused(dataset: Dataset, tmp_path: Path, cases: list[str], words: str) -> None:
    with pytest.raises(SyndiffError, match=words):
        evaluate(RedThreshold(150), dataset, cases, tmp_path / "eval", progress=False)


def test_results_never_land_on_annotations_or_under_a_file(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match="is not an evaluation but holds"):
        evaluate(RedThreshold(150), dataset, ALL, dataset.root / "images" / "..", progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(SyndiffError, match="no folder"):
        evaluate(RedThreshold(150), dataset, ALL, tmp_path / "file" / "eval", progress=False)


def test_compare_pairs_cases_by_name_whatever_their_order(dataset: Dataset, tmp_path: Path) -> None:
    good, bad = RedThreshold(80), RedThreshold(80, spoil=frozenset(ALL))
    evaluate(good, dataset, ALL, tmp_path / "good", progress=False)
    evaluate(bad, dataset, ALL[::-1], tmp_path / "bad", progress=False)
    files = tmp_path / "good" / "per_case.csv", tmp_path / "bad" / "per_case.csv"
    comparison = compare(*files)
    json.dumps(comparison, allow_nan=False)
    assert (comparison["first"], comparison["second"]) == tuple(map(str, files))
    assert (comparison["cases"], comparison["groups"]) == (6, 3)
    dice, hd95 = comparison["metrics"]["dice"], comparison["metrics"]["hd95"]
    assert dice["mean"] == pytest.approx(5 / 6 * (1 - 200 / 1300))
    assert 0 <= dice["low"] <= dice["mean"] <= dice["high"]
    assert dice["p_value"] == 2 / 2**3
    assert hd95["mean"] < 0  # the distance of the first is smaller
    assert compare(*files[::-1])["metrics"]["iou"]["mean"] == -comparison["metrics"]["iou"]["mean"]


def test_marking_a_frame_without_a_lesion_costs_something_beside_who_leaves_it_empty(
    dataset: Dataset, tmp_path: Path
) -> None:
    """c5 is empty; the diagonal is 50 pixels. Left out of the pairs, the false lesion would be free."""
    evaluate(RedThreshold(150), dataset, ALL, tmp_path / "loud", progress=False)
    files = [tmp_path / "loud" / "per_case.csv", tmp_path / "quiet.csv"]
    loud, nothing = read_per_case(files[0]), np.zeros((HEIGHT, WIDTH), bool)
    quiet = [*loud[:5], replace(loud[5], metrics=case_metrics(nothing, nothing))]
    (files[1]).write_bytes(per_case_table(quiet))
    assert (loud[5].metrics.hd95, quiet[5].metrics.hd95) == (50, None)
    found = compare(*files)["metrics"]["hd95"]
    assert (found["mean"], found["cases"]) == (pytest.approx(50 / 6), 6)
    assert compare(files[1], files[1])["metrics"]["hd95"]["cases"] == 5, "nobody marks anything: nothing to compare"

    arms = tabulate({"loud": [loud, quiet], "quiet": [quiet, quiet], "also quiet": [quiet, quiet]}, "quiet")
    assert arms["loud"]["difference"]["hd95"]["mean"] == pytest.approx(25 / 6)
    other = arms["also quiet"]
    assert (other["hd95"]["cases"], other["difference"]["hd95"]["cases"]) == (5, 5), "a third arm changed the pair"


def test_compare_refuses_other_cases_groups_and_annotations(dataset: Dataset, tmp_path: Path) -> None:
    evaluate(RedThreshold(150), dataset, ALL, tmp_path / "all", progress=False)
    evaluate(RedThreshold(150), dataset, ALL[:4], tmp_path / "few", progress=False)
    full, few = tmp_path / "all" / "per_case.csv", tmp_path / "few" / "per_case.csv"
    with pytest.raises(SyndiffError, match=r"same cases: c4 is in one only \(2 such cases\)"):
        compare(full, few)
    for change in ({"group": "video9"}, {"annotated": "7"}):
        with full.open(newline="") as file:
            lines = list(csv.DictReader(file))
        lines[2] |= change
        with (tmp_path / "changed.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)
        with pytest.raises(SyndiffError, match="case c2"):
            compare(full, tmp_path / "changed.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("dice,", "dize,"), "other columns"),
        (lambda text: "", "other columns"),
        (lambda text: text.replace(",100,", ",many,", 1), "line 2, .*no number"),
        (lambda text: text[: text.rindex(",") - 5], "line 3, .*no number"),
    ],
)
def test_a_damaged_table_is_named(dataset: Dataset, tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    evaluate(RedThreshold(150), dataset, ["c0", "c1"], tmp_path / "eval", progress=False)
    table = tmp_path / "eval" / "per_case.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(SyndiffError, match=f"per_case.csv.*{words}"):
        read_per_case(table)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"c0,", b"c1,"),
        (b"c0,", b"c0,x,"),
        (b"c0,", b'"c0,'),
        (b"c0,", b"\xff,"),
        (b"1.0", b"nan"),
        (b"100", b"9" * 5000),
        (b"100", b"1e2"),
        (b"\nc0", b"\n\nc0"),
    ],
)
def test_odd_cells_of_a_table_are_named(dataset: Dataset, tmp_path: Path, old: bytes, new: bytes) -> None:
    evaluate(RedThreshold(150), dataset, ALL[:2], tmp_path / "eval", progress=False)
    table = tmp_path / "eval" / "per_case.csv"
    content = table.read_bytes()
    assert old in content
    table.write_bytes(content.replace(old, new, 1))
    with pytest.raises(SyndiffError, match=r"per_case\.csv.*evaluate") as refused:
        read_per_case(table)
    assert len(str(refused.value)) < 500


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"per_case\.csv does not exist"):
        read_per_case(tmp_path / "per_case.csv")


@pytest.mark.real
def test_real_masks_against_themselves_eroded(cvc: Path, tmp_path: Path) -> None:
    class Annotator:
        """Answers with the annotation less its surface: what a careful but stingy reader would draw."""

        name = "annotator"

        def predict(self, image: NDArray, *, case_id: str) -> Prediction:
            _, target = dataset.load(dataset[case_id])
            inner = binary_erosion(target)
            return Prediction(inner, inner.astype(np.float32), {})

    dataset = Dataset.open(cvc)
    cases = [case.id for case in dataset.cases[::40]]
    summary = evaluate(Annotator(), dataset, cases, tmp_path / "eval", fingerprint="not read", progress=False)
    assert summary["metrics"]["precision"]["mean"] == 1
    assert summary["metrics"]["nsd"]["mean"] > 0.99  # thin spikes of a mask erode whole
    assert summary["metrics"]["hd95"]["mean"] <= 2
    assert 0.9 < summary["metrics"]["dice"]["mean"] < 1
    assert summary["counts"]["missed_cases"] == 0
