"""Reviews draw the gates' bounds closer: what was rejected falls outside where a gate can tell it, and no further."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.data.dataset import Dataset
from syndiff.reviews.events import Subjects
from syndiff.reviews.store import ReviewStore
from syndiff.synthesis.gates.gate import Bounds, Gate
from syndiff.synthesis.gates.reviewed import Reviewed, tightened
from syndiff.synthesis.manifest import Sample, read_manifest

SHARPNESS = Gate("sharpness", lambda region: None, too_low="blurred", too_high="sharp")
SEAM = Gate("seam", lambda region: None, too_high="a seam")
WIDE = {"sharpness": Bounds(0.0, 10.0, 20), "seam": Bounds(None, 10.0, 20)}


def reviewed(accepted: list[dict[str, float | None]], rejected: list[dict[str, float | None]]) -> Reviewed:
    return Reviewed(accepted, rejected, "")


def test_a_bound_comes_halfway_between_what_was_rejected_and_accepted() -> None:
    said = reviewed([{"sharpness": x, "seam": 1.0} for x in (4.0, 5.0, 6.0)], [{"sharpness": 2.0, "seam": 1.0}])
    found = tightened([SHARPNESS, SEAM], WIDE, said)
    assert found == {"sharpness": Bounds(3.0, 10.0, 20), "seam": WIDE["seam"]}
    assert said.account(found) == {
        "hash": "", "rejected": 1, "rejected_outside": 1, "accepted": 3, "accepted_lost": 0,
    }  # fmt: skip


def test_both_sides_and_several_gates_are_used() -> None:
    good: list[dict[str, float | None]] = [{"sharpness": 5.0, "seam": 1.0}, {"sharpness": 5.5, "seam": 1.2}]
    bad: list[dict[str, float | None]] = [
        {"sharpness": 1.0, "seam": 1.0}, {"sharpness": 9.0, "seam": 1.0}, {"sharpness": 5.0, "seam": 8.0},
    ]  # fmt: skip
    found = tightened([SHARPNESS, SEAM], WIDE, reviewed(good, bad))
    assert found["sharpness"] == Bounds(3.0, 7.25, 20) and found["seam"] == Bounds(None, 4.6, 20)


def test_what_no_gate_can_tell_apart_changes_nothing() -> None:
    """Nor does a side that the gate does not have: a seam that is too faint is none."""
    same: list[dict[str, float | None]] = [{"sharpness": x} for x in (1.0, 2.0, 3.0)]
    assert tightened([SHARPNESS], WIDE, reviewed(same, same)) == WIDE
    assert tightened([SEAM], WIDE, reviewed([{"seam": 5.0}], [{"seam": 1.0}])) == WIDE
    assert tightened([SEAM], WIDE, reviewed([{"seam": 5.0}], [{"seam": None}])) == WIDE


_SCORES = st.lists(
    st.fixed_dictionaries({name: st.none() | st.floats(-5, 15, width=16) for name in WIDE}), min_size=1, max_size=12
)


@settings(max_examples=100, deadline=None)
@given(_SCORES, _SCORES)
def test_bounds_never_widen_and_lose_less_than_they_gain(accepted, rejected) -> None:
    said = reviewed(accepted, rejected)
    before, found = said.account(WIDE), tightened([SHARPNESS, SEAM], WIDE, said)
    after = said.account(found)
    for name, bounds in WIDE.items():
        assert found[name].low == bounds.low or found[name].low >= bounds.low
        assert found[name].high <= bounds.high
    gained = (after["rejected_outside"] - before["rejected_outside"]) / len(rejected)
    lost = (after["accepted_lost"] - before["accepted_lost"]) / len(accepted)
    assert gained >= 2 * lost - 1e-9
    assert (found == WIDE) == (gained == 0)


def _synthesize(syndiff, phantom: Path, out: Path, *more: object):
    given = ["--data", phantom, "--out", out, "--inpainter", "copy_paste"]
    return syndiff("synthesize", *given, "--count", 6, *more)


def _bounds(folder: Path) -> dict[str, Bounds]:
    kept = json.loads((folder / "gates.json").read_text())["bounds"]
    return {name: Bounds(**each) for name, each in kept.items()}


def _ranked(folder: Path) -> list[Sample]:
    """By contrast, those within the bounds of the folder's own gates first."""
    wide = _bounds(folder)
    return sorted(
        read_manifest(folder / "manifest.jsonl"),
        key=lambda each: (Reviewed([each.gates], [], "").account(wide)["accepted_lost"], each.gates["contrast"] or 0),
    )


@pytest.fixture
def first(syndiff, phantom: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A synthetic folder whose gates only score, and reviews that reject the two least contrasted lesions in bounds."""
    out, path = tmp_path / "first", tmp_path / "reviews.db"
    assert _synthesize(syndiff, phantom, out, "--gates", "report").status == 0
    samples, wide = _ranked(out), _bounds(out)
    assert Reviewed([sample.gates for sample in samples[:2]], [], "").account(wide)["accepted_lost"] == 0
    subjects = Subjects(Dataset.open(out))
    with ReviewStore(path) as store:
        for number, sample in enumerate(samples):
            store.add("ann", subjects[sample.id], *(("reject", "colour") if number < 2 else ("accept",)))
    return out, path


def test_rejected_samples_fall_outside_and_the_manifest_says_so(
    syndiff, phantom: Path, first: tuple[Path, Path], tmp_path: Path, caplog
) -> None:
    folder, path = first
    out = tmp_path / "second"
    given = ["--reviews", path, "--reviewed", folder, "--gates", "report", "--seed", 1]
    shown = _synthesize(syndiff, phantom, out, *given, "--dry-run")
    assert "2 of 2 rejected samples lie outside" in shown.out and not out.exists()
    made = _synthesize(syndiff, phantom, out, *given)
    assert made.status == 0 and "real lesions and reviews" in made.out, "the account says where its bounds come from"
    kept = json.loads((out / "gates.json").read_text())
    wide, bounds, samples = _bounds(folder), _bounds(out), _ranked(folder)
    lost = Reviewed([each.gates for each in samples[2:]], [], "").account(wide)["accepted_lost"]  # no further one is
    said = f"2 of 2 rejected samples lie outside the gates' bounds now; {lost} of 4 accepted ones would be lost"
    assert said in caplog.text
    assert kept["reviews"]["accepted_lost"] == lost and kept["calibrated_on"]["reviews"] == kept["reviews"]["hash"]
    sample = next(read_manifest(out / "manifest.jsonl"))
    assert sample.settings["gates"]["reviews"] == kept["reviews"]
    old = Reviewed([each.gates for each in samples], [], "")
    assert old.account(bounds)["accepted_lost"] == old.account(wide)["accepted_lost"] + 2

    assert _synthesize(syndiff, phantom, out, *given).status == 0  # the same command
    without = _synthesize(syndiff, phantom, out, "--gates", "report", "--seed", 1)
    assert without.status == 2 and "calibrated with reviews" in without.err
    with ReviewStore(path) as store:
        store.add("ben", Subjects(Dataset.open(folder))[sample.id], "reject", "seam")
    changed = _synthesize(syndiff, phantom, out, *given)
    assert changed.status == 2 and "calibrated with reviews" in changed.err


def test_reviews_without_effect_are_refused(syndiff, phantom: Path, first: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = first
    out = tmp_path / "second"
    for options, said in (
        (["--reviews", path], "without --reviewed"),
        (["--reviewed", folder], "without --reviews"),
        (["--reviews", path, "--reviewed", folder, "--gates", "off"], "has no effect while gates.mode is off"),
        (["--reviews", path, "--reviewed", phantom], "not a finished synthetic dataset"),
        (["--reviews", tmp_path / "none.db", "--reviewed", folder], "does not exist"),
    ):
        outcome = _synthesize(syndiff, phantom, out, *options)
        assert outcome.status == 2 and said in outcome.err, outcome.err
    with ReviewStore(tmp_path / "few.db") as store:
        store.add("ann", Subjects(Dataset.open(folder))["synthetic-000000"], "accept")
    few = _synthesize(syndiff, phantom, out, "--reviews", tmp_path / "few.db", "--reviewed", folder)
    assert few.status == 2 and "tells of 1 accepted and 0 rejected samples" in few.err
    assert not out.exists()
