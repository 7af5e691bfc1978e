"""`syndiff calibrate`: patients that the model has never met, a wide contour that predictions then have."""

import csv
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import syndiff as package
from renamed import renamed
from syndiff.cli import main
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.documents import read_json
from syndiff.files import locked
from syndiff.models.predictor import Start
from syndiff.phantom import write_phantom
from tiny_commands import TINY

AVERAGE = ["--average", "--miss", 0.5]
"""What one patient allows to promise."""


@pytest.fixture(scope="module")
def trained(_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    main(["train", "--data", str(_phantom), "--out", str(run), *TINY])
    return run


@pytest.fixture(scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("elsewhere") / "elsewhere"
    write_phantom(root, groups=24, frames=1, height=64, width=72, seed=5)
    about = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**about, "name": "elsewhere"}))
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def elsewhere(_elsewhere: Path, tmp_path: Path) -> Path:
    """24 patients of another centre."""
    return Path(shutil.copytree(_elsewhere, tmp_path / "elsewhere"))


def description(run: Path) -> Path:
    return next(run.glob("checkpoints/*/model.json"))


def test_a_calibrated_model_draws_a_wide_contour(syndiff, run: Path, elsewhere: Path) -> None:
    before = read_json(description(run))
    outcome = syndiff("calibrate", "--run", run, "--data", elsewhere, "--external", "--miss", 0.4)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(
        "With 90 % confidence, in at least 90 % of new patients like the 24 calibration patients, the wide contour "
        "misses at most 40 % of the lesion's pixels in every frame.\n"
    )
    assert "not valid at another centre" in outcome.out and "used up" in outcome.out
    described = read_json(description(run))
    found = described.pop("calibration")
    assert described == before and found["groups"] == found["frames"] == 24 and found["failures"] == 0

    dataset, segmenter = Dataset.open(elsewhere), package.load(run)
    missed = []
    for case in dataset.cases:
        image, lesion = dataset.load(case)
        answer = segmenter.predict(image, case_id=case.id)
        assert answer.wide is not None and not (answer.mask & ~answer.wide).any()
        assert (answer.wide == (answer.probability > np.float32(found["threshold"]))).all()
        missed.append((lesion & ~answer.wide).sum() / lesion.sum())
    assert max(missed) <= 0.4
    begun = segmenter.predict(image, start=Start(answer.latents, 50))
    assert begun.wide is None  # it was calibrated on answers from noise


def test_other_settings_have_no_wide_contour_and_say_so(
    syndiff, run: Path, phantom: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert syndiff("calibrate", "--run", run, "--data", phantom, *AVERAGE, "--tta", 2).status == 0
    with caplog.at_level(logging.WARNING, "syndiff"):
        assert package.load(run, tta=2).wide_thresholds and not caplog.records
        assert package.load(run, tta=2, seed=3).wide_thresholds
        assert package.load(run).wide_thresholds == ()
    assert "calibrated with tta 2 (now" in caplog.text


def test_a_calibration_replaces_only_itself_and_mends_a_damaged_one(syndiff, run: Path, phantom: Path) -> None:
    path = description(run)
    first = package.calibrate(run, phantom, average=True, miss=0.5, progress=False)
    whole = read_json(path)
    assert package.calibrate(run, phantom, average=True, miss=0.5, progress=False) == first
    assert read_json(path) == whole
    path.write_text(json.dumps({**whole, "calibration": {**whole["calibration"], "threshold": "low"}}))
    refused = syndiff("predict", "--run", run, "--images", phantom / "images", "--out", run / "masks")
    assert refused.status == 2 and "threshold is 'low'" in refused.err
    assert syndiff("calibrate", "--run", run, "--data", phantom, *AVERAGE).status == 0
    assert read_json(path) == whole


def test_too_few_patients_are_refused_with_what_they_allow(syndiff, run: Path, phantom: Path) -> None:
    before = description(run).read_bytes()
    outcome = syndiff("calibrate", "--run", run, "--data", phantom)
    assert outcome.status == 2 and "from 1 patient (group)" in outcome.err and "22 are needed" in outcome.err
    assert "--average --miss 0.5" in outcome.err
    assert description(run).read_bytes() == before and not list(run.glob("**/*.tmp"))


def test_cases_that_the_model_has_met_are_refused(syndiff, run: Path, phantom: Path, tmp_path: Path) -> None:
    copy = renamed(phantom, tmp_path / "copy")
    outcome = syndiff("calibrate", "--run", run, "--data", copy, "--external", *AVERAGE)
    assert outcome.status == 2 and "has seen" in outcome.err
    own = syndiff("calibrate", "--run", run, "--data", phantom, "--external", *AVERAGE)
    assert own.status == 2 and "--external is for another dataset" in own.err
    (run / "seen.json").unlink()
    untold = syndiff("calibrate", "--run", run, "--data", copy, "--external", *AVERAGE)
    assert untold.status == 2 and "holds no seen.json" in untold.err


def test_test_cases_that_are_copies_of_training_cases_are_refused(
    syndiff, run: Path, phantom: Path, tmp_path: Path
) -> None:
    """Its seen.json says that the run has learned from a picture that is a test case as well."""
    seen, split = read_json(run / "seen.json"), json.loads((run / "split.json").read_text())
    dataset = Dataset.open(phantom)
    seen["learned"][dataset.content(dataset[split["test"][0]])] = "a copy"
    (run / "seen.json").write_text(json.dumps(seen))
    outcome = syndiff("calibrate", "--run", run, "--data", phantom, *AVERAGE)
    assert outcome.status == 2 and "nothing can be guaranteed" in outcome.err and "flattered" not in outcome.err


def test_a_split_through_patients_is_refused(syndiff, run: Path, phantom: Path) -> None:
    split = Split.read(run / "split.json")
    leaky = replace(split, method="random", leaky=True)
    leaky.write(run / "split.json")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(split.hash, leaky.hash))
    outcome = syndiff("calibrate", "--run", run, "--data", phantom, *AVERAGE)
    assert outcome.status == 2 and "lets frames of one patient lie on both sides" in outcome.err


def test_patients_must_be_known_or_said_to_be_one_a_case(syndiff, run: Path, elsewhere: Path) -> None:
    given = ["calibrate", "--run", run, "--data", elsewhere, "--external", *AVERAGE]
    both = syndiff(*given, "--group-per-case")
    assert both.status == 2 and "leave --group-per-case out" in both.err
    (elsewhere / "groups.csv").unlink()
    unknown = syndiff(*given)
    assert unknown.status == 2 and "no groups.csv" in unknown.err and "--group-per-case" in unknown.err
    said = syndiff(*given, "--group-per-case")
    assert said.status == 0 and "One image a patient was assumed" in said.out, said.err


def test_a_run_in_use_is_left_alone(syndiff, run: Path, phantom: Path) -> None:
    with locked(run):
        outcome = syndiff("calibrate", "--run", run, "--data", phantom, *AVERAGE)
    assert outcome.status == 2 and "is in use by" in outcome.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--average", "--coverage", 0.8], "no effect with --average"),
        (["--miss", 1.5], "--miss is 1.5"),
        (["--confidence", 1], "--confidence is 1.0"),
        (["--miss", "nan"], "--miss is nan"),
        (["--tta", 3, *AVERAGE], "inference_tta is 3"),
    ],
)
def test_what_cannot_be_promised_is_a_sentence(
    syndiff, run: Path, phantom: Path, more: list[object], said: str
) -> None:
    outcome = syndiff("calibrate", "--run", run, "--data", phantom, *more)
    assert outcome.status == 2 and said in outcome.err, outcome.err


def test_each_of_several_classes_is_calibrated_alone(syndiff, tmp_path: Path) -> None:
    own, run, patients = tmp_path / "own", tmp_path / "run", tmp_path / "patients"
    for root, groups, seed in ((own, 6, 0), (patients, 24, 5)):
        write_phantom(root, groups=groups, frames=1, height=64, width=72, seed=seed, instruments=True)
    about = json.loads((patients / "dataset.json").read_text())
    (patients / "dataset.json").write_text(json.dumps({**about, "name": "patients"}))
    main(["train", "--data", str(own), "--out", str(run), *TINY])
    given = ["calibrate", "--run", run, "--data", patients, "--external", "--average", "--miss", 0.5]
    for more, said in (
        ([], "Found no --class, expected one of polyp, instrument"),
        (["--class", "tool"], "Found --cl"),
    ):
        refused = syndiff(*given, *more)
        assert refused.status == 2 and said in refused.err, refused.err
    told = syndiff(*given, "--class", "polyp")
    assert told.status == 0 and "the wide contour of polyp misses at most 50 % of its pixels" in told.out, told.err

    dataset, segmenter = Dataset.open(patients), package.load(run)
    threshold = read_json(description(run))["calibration"]["polyp"]["threshold"]
    assert segmenter.wide_thresholds == (threshold, None)
    missed = []
    for case in dataset.cases:
        image, masks = dataset.load_classes(case)
        answer = segmenter.predict(image, case_id=case.id)
        polyp = answer.wide_by_class["polyp"]
        assert (polyp == (answer.masks[0] | (answer.probabilities[0] > np.float32(threshold)))).all()
        assert [*answer.wides] == ["polyp"] and (answer.wide == (polyp | answer.masks[1])).all()
        missed.append((masks[0] & ~polyp).sum() / masks[0].sum())
    assert np.mean(missed) <= 0.5

    done = syndiff("predict", "--run", run, "--images", patients / "images", "--out", tmp_path / "masks", "--overlay")
    with (tmp_path / "masks" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert done.status == 0 and "instrument: wide_area_pixels" not in rows[0]
    assert all(int(row["polyp: wide_area_pixels"]) >= int(row["polyp: area_pixels"]) for row in rows)
