"""`train --reviews`: accepted and corrected cases alone, corrected masks in training alone, and all of it recorded."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split, make_split
from syndiff.pipeline.reviewing import heed
from syndiff.reviews.events import Subjects
from syndiff.reviews.store import ReviewStore
from tiny_commands import TINY


@pytest.fixture
def synthetic(syndiff, phantom: Path, tmp_path: Path) -> Path:
    out = tmp_path / "synthetic"
    made = syndiff(
        "synthesize", "--data", phantom, "--out", out, "--count", 4, "--inpainter", "copy_paste", "--gates", "off"
    )
    assert made.status == 0, made.err
    return out


@pytest.fixture
def reviews(phantom: Path, synthetic: Path, tmp_path: Path) -> Path:
    """One synthetic case accepted, one corrected, one rejected, one not looked at; of each side of the real ones one
    corrected.
    """
    path = tmp_path / "reviews.db"
    real, split = Subjects(Dataset.open(phantom)), make_split(Dataset.open(phantom))
    made = Subjects(Dataset.open(synthetic))
    ids = [case.id for case in made.dataset.cases]
    with ReviewStore(path) as store:
        store.add("ann", made[ids[0]], "accept")
        store.correct("ann", made[ids[1]], _square(made[ids[1]].shape))
        store.add("ann", made[ids[2]], "accept")
        store.add("ben", made[ids[2]], "reject", "seam")
        for case in (split.train[0], split.val[0], split.test[0]):
            store.correct("ann", real[case], _square(real[case].shape))
    return path


def _square(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[10:40, 20:60] = True
    return mask


def _train(syndiff, phantom: Path, out: Path, *more: object):
    return syndiff("train", "--data", phantom, "--out", out, *more, *TINY)


def test_accepted_and_corrected_cases_are_used_and_recorded(
    syndiff, phantom: Path, synthetic: Path, reviews: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    given = ["--synthetic", synthetic, "--reviews", reviews]
    shown = _train(syndiff, phantom, out, *given, "--dry-run")
    assert "1 accepted and 1 corrected ones are used, 1 rejected and 1 without a decision are left out" in shown.out
    assert "14 cases to train on" in shown.out and not out.exists()
    assert _train(syndiff, phantom, out, *given).status == 0
    split = Split.read(out / "split.json")
    told = json.loads((out / "reviews.json").read_text())
    ids = [case.id for case in Dataset.open(synthetic).cases]
    assert list(told["real"]) == [split.train[0]] and list(told["synthetic"]) == ids[:2]
    assert told["synthetic"][ids[0]] is None and told["synthetic"][ids[1]] == told["real"][split.train[0]]
    model = json.loads(next(out.glob("checkpoints/*/model.json")).read_text())
    assert model["reviews"] == {name: told[name] for name in model["reviews"]} and model["reviews"]["rejected"] == 1
    seen = json.loads((out / "seen.json").read_text())
    assert len(seen["learned"]) == 14
    assert syndiff("evaluate", "--run", out, "--data", phantom).status == 0


def test_other_reviews_are_refused_when_the_run_resumes(
    syndiff, phantom: Path, synthetic: Path, reviews: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    given = ["--synthetic", synthetic, "--reviews", reviews]
    assert _train(syndiff, phantom, out, *given).status == 0
    with ReviewStore(reviews) as store:
        made = Subjects(Dataset.open(synthetic))
        store.add("ann", made[made.dataset.cases[0].id], "rate", "5")  # changes nothing that is trained on
    assert _train(syndiff, phantom, out, *given).status == 0
    with ReviewStore(reviews) as store:
        store.add("ben", made[made.dataset.cases[3].id], "accept")
    changed = _train(syndiff, phantom, out, *given)
    assert changed.status == 2 and "data.reviews.accepted: 1 there, 2 here" in changed.err
    without = _train(syndiff, phantom, out, "--synthetic", synthetic)
    assert without.status == 2 and "data.reviews" in without.err


def test_a_corrected_mask_replaces_the_annotation_in_training_alone(phantom: Path, reviews: Path) -> None:
    dataset, split = Dataset.open(phantom), make_split(Dataset.open(phantom))
    ((corrected, ids),) = heed(reviews, [(dataset, split.train)]).sources
    first = split.train[0]
    assert tuple(ids) == split.train
    for case in dataset.cases:
        image, mask = corrected.load(case)
        assert (image == dataset.load(case)[0]).all()
        assert (mask == (_square(mask.shape) if case.id == first else dataset.load(case)[1])).all()
    assert corrected.fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("undo", [True, False])
def test_reviews_that_change_nothing_are_refused(
    syndiff, phantom: Path, synthetic: Path, tmp_path: Path, undo: bool
) -> None:
    """Of held-out cases, undone, or of nothing that is given."""
    path, out = tmp_path / "other.db", tmp_path / "run"
    real, split = Subjects(Dataset.open(phantom)), make_split(Dataset.open(phantom))
    made = Subjects(Dataset.open(synthetic))
    with ReviewStore(path) as store:
        store.correct("ann", real[split.test[0]], _square(real[split.test[0]].shape))
        accepted = store.add("ann", made["synthetic-000000"], "accept")
        if undo:
            store.add("ann", made["synthetic-000000"], "undo", accepted.id)
    alone = _train(syndiff, phantom, out, "--reviews", path)
    assert alone.status == 2 and "would change nothing" in alone.err
    if undo:
        both = _train(syndiff, phantom, out, "--synthetic", synthetic, "--reviews", path)
        assert both.status == 2 and "accepts no case" in both.err
    assert not out.exists()


def _missing(path: Path) -> None:
    path.unlink()


def _damaged(path: Path) -> None:
    path.write_bytes(b"x" * 5000)


def _maskless(path: Path) -> None:
    for file in path.with_name("reviews.masks").iterdir():
        file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize("damage", [_missing, _damaged, _maskless])
def test_damaged_reviews_are_told_before_anything_is_written(
    syndiff, phantom: Path, reviews: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(reviews)
    outcome = _train(syndiff, phantom, tmp_path / "run", "--reviews", reviews)
    assert outcome.status == 2 and "reviews" in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()
