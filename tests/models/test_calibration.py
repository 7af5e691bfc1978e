"""The calibration in a model's description: read strictly, and used for the weights and settings that it is of."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from syndiff.data.targets import Targets
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.models.calibration import (
    Calibration,
    inference_settings,
    read_calibrations,
    statement,
    store_calibration,
    wide_thresholds,
)

CALIBRATION = Calibration(
    sentence=statement(groups=30, miss=0.1, coverage=0.9, confidence=0.9, group_per_case=False),
    threshold=0.137,
    kind="groups",
    miss=0.1,
    coverage=0.9,
    confidence=0.9,
    groups=30,
    frames=61,
    failures=0,
    group_per_case=False,
    extra_of_frame=0.031,
    extra_of_mask=0.22,
    dataset="Kvasir-SEG",
    fingerprint="f" * 64,
    seed=0,
    timestep=999,
    steps=1,
    tta=8,
    weights="a" * 64,
)
ONE, TWO = Targets(), Targets(("polyp", "instrument"), (1, 2))
SETTINGS: dict[str, int | None] = {"timestep": 999, "steps": 1, "tta": 8}


def stored(**changed: object) -> dict[str, object]:
    """What JSON makes of it."""
    return json.loads(json.dumps({"step": 7, "calibration": {**asdict(CALIBRATION), **changed}}))


def test_it_is_read_as_it_was_stored_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"format": 1, "val_dice": 0.1234567890123456, "unknown": [1, {"a": None}]}))
    before = json.loads(path.read_text())
    for calibration in (CALIBRATION, replace(CALIBRATION, threshold=0.2)):
        assert store_calibration(path, calibration, ONE) == (calibration != CALIBRATION)
        described = read_json(path)
        assert read_calibrations(described, path, ONE) == {"foreground": calibration}
        assert {name: value for name, value in described.items() if name != "calibration"} == before
    assert read_calibrations({"step": 7}, path, ONE) == {}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"threshold": "0.1"}, "threshold is '0.1', expected a number"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": 0.7}, "threshold is 0.7, expected a number, above 0 and at most 0.5"),
        ({"threshold": 0}, "threshold is 0"),
        ({"kind": "both"}, "kind is 'both', expected one of groups, average"),
        ({"kind": "average"}, "null on average"),
        ({"coverage": None}, "expected numbers for groups"),
        ({"tta": None}, "tta is None"),
        ({"wide": 1}, "holds 'wide', which this version does not know"),
    ],
)
def test_a_damaged_one_is_refused_with_the_value(changed: dict[str, object], said: str) -> None:
    with pytest.raises(SyndiffError, match=said) as refusal:
        read_calibrations(stored(**changed), "model.json", ONE)
    assert "model.json: calibration" in str(refusal.value) and "syndiff calibrate" in str(refusal.value)
    for damaged in ([], None, "x", {}):
        with pytest.raises(SyndiffError, match=r"model\.json: calibration"):
            read_calibrations({"calibration": damaged}, "model.json", ONE)


def test_it_is_used_for_its_weights_and_settings_alone(caplog: pytest.LogCaptureFixture) -> None:
    def found(**changed: int | None) -> tuple[float | None, ...]:
        return wide_thresholds(stored(), "model.json", ONE, weights="a" * 64, inference={**SETTINGS, **changed})

    with caplog.at_level(logging.WARNING):
        assert found() == (0.137,) and wide_thresholds({}, "model.json", ONE, weights=None, inference=SETTINGS) == ()
        assert not caplog.records
        assert found(tta=1) == ()
        assert "calibrated with tta 8 (now 1)" in caplog.text and "no wide contour is drawn" in caplog.text
        assert found(timestep=50) == () and found(steps=None) == ()
        second = wide_thresholds(stored(), "model.json", ONE, weights="a" * 64, inference=SETTINGS, refined=True)
        assert second == () and "calibrated with refine none (now a second look)" in caplog.text
    with pytest.raises(SyndiffError, match="is of the weights"):
        wide_thresholds(stored(), "model.json", ONE, weights="b" * 64, inference=SETTINGS)


def test_each_of_several_classes_has_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"step": 7, "calibration": {"tool": {}}}')  # of a class that the model has not
    assert not store_calibration(path, CALIBRATION, TWO, "instrument")
    described = json.loads(path.read_text())
    assert wide_thresholds(described, path, TWO, weights=None, inference=SETTINGS) == (None, 0.137)
    store_calibration(path, replace(CALIBRATION, threshold=0.2, tta=2), TWO, "polyp")
    described = json.loads(path.read_text())
    assert {name: each.threshold for name, each in read_calibrations(described, path, TWO).items()} == {
        "polyp": 0.2,
        "instrument": 0.137,
    }
    with caplog.at_level(logging.WARNING):
        assert wide_thresholds(described, path, TWO, weights=None, inference=SETTINGS) == (None, 0.137)
    assert "polyp was calibrated with tta 2 (now 8)" in caplog.text
    with pytest.raises(SyndiffError, match="is of 'polyp', but the model tells apart"):
        read_calibrations(described, path, Targets(("tool", "instrument"), (1, 2)))


def test_settings_of_inference_are_those_given_else_the_models_own() -> None:
    own = {"kind": "diffusion", "timesteps": 1000, "inference_timestep": -1, "inference_steps": 1, "inference_tta": 8}
    assert inference_settings(own) == inference_settings(own, timestep=-1) == SETTINGS
    assert inference_settings(own, timestep=999) == SETTINGS
    assert inference_settings(own, timestep=50, steps=2, tta=1) == {"timestep": 50, "steps": 2, "tta": 1}
    assert inference_settings({**own, "kind": "control"}) == {"timestep": None, "steps": None, "tta": 8}


def test_the_sentences_say_what_holds() -> None:
    assert statement(groups=30, miss=0.1, coverage=0.9, confidence=0.95, group_per_case=False) == (
        "With 95 % confidence, in at least 90 % of new patients like the 30 calibration patients, the wide contour "
        "misses at most 10 % of the lesion's pixels in every frame."
    )
    of_class = statement(
        groups=30, miss=0.1, coverage=0.9, confidence=0.95, group_per_case=False, class_name="instrument"
    )
    assert "the wide contour of instrument misses at most 10 % of its pixels in every frame" in of_class
    mean = statement(groups=12, miss=0.125, coverage=None, confidence=None, group_per_case=True)
    assert mean.startswith("On average over new patients") and mean.endswith("One image a patient was assumed.")
    text = str(CALIBRATION)
    assert "above 0.137" in text and "adds 3.1 % of a frame" in text and "22 % of the masks' area" in text
    assert "not valid at another centre" in text and "61 cases of Kvasir-SEG are used up" in text
    assert "Where patients have several images" in str(replace(CALIBRATION, group_per_case=True))
    assert "masks' area" not in str(replace(CALIBRATION, extra_of_mask=None))
