"""`adapt --reviews`: rated samples join the training cases, as much as they were rated, and the model says so."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.errors import SyndiffError
from syndiff.pipeline.reviewing import rated_samples
from syndiff.reviews.events import Subjects
from syndiff.reviews.store import ReviewStore
from syndiff.training.inpainting_crops import LesionCrops

TINY = (
    *("--set", "inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_channels=16"),
    *("inpainter.caption_layers=1", "adapt.minutes=0", "adapt.steps=1", "adapt.crops=8", "adapt.batch_size=2"),
)


@pytest.fixture
def reviewed(syndiff, phantom: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A synthetic folder, and ratings 5, 3 and 1, one of 5 that was rejected, and one of 2 and 4 with another mask."""
    out, path = tmp_path / "synthetic", tmp_path / "reviews.db"
    given = ["--data", phantom, "--out", out, "--count", 6, "--inpainter", "copy_paste", "--gates", "off"]
    assert syndiff("synthesize", *given).status == 0
    made = Subjects(Dataset.open(out))
    with ReviewStore(path) as store:
        for number, rating in enumerate("53152"):
            store.add("ann", made[f"synthetic-00000{number}"], "rate", rating)
        store.add("ann", made["synthetic-000003"], "reject", "seam")
        store.add("ben", made["synthetic-000004"], "rate", "4")
        mask = np.zeros(made["synthetic-000004"].shape, bool)
        mask[20:60, 20:60] = True
        store.correct("ben", made["synthetic-000004"], mask)
    return out, path


def test_samples_weigh_what_they_were_rated(phantom: Path, reviewed: tuple[Path, Path]) -> None:
    folder, path = reviewed
    dataset, split = Dataset.open(phantom), make_split(Dataset.open(phantom))
    rated = rated_samples(path, [folder], dataset, split)
    ((synthetic, weights),) = rated.sources
    assert weights == {"synthetic-000000": 1, "synthetic-000001": 0.5, "synthetic-000004": 0.5}
    assert synthetic.load(synthetic["synthetic-000004"])[1].sum() == 1600
    assert rated.about["samples"] == 3 and rated.about["weight"] == 2 and rated.about["learned_elsewhere"] == []
    few = replace(split, train=split.train[:1])
    with pytest.raises(SyndiffError, match="would leak"):
        rated_samples(path, [folder], dataset, few)


def test_all_samples_together_weigh_no_more_than_the_real_cases(phantom: Path, reviewed: tuple[Path, Path]) -> None:
    folder, path = reviewed
    dataset, split = Dataset.open(phantom), make_split(Dataset.open(phantom))
    rated = rated_samples(path, [folder] * 9, dataset, split)
    assert sum(sum(weights.values()) for _, weights in rated.sources) == pytest.approx(len(split.train))


def test_lesions_are_drawn_as_often_as_they_weigh(phantom: Path) -> None:
    dataset = Dataset.open(phantom)
    first, second, third = (case.id for case in dataset.cases[:3])
    lesions = {case: [(dataset.load(dataset[case])[1], "a polyp")] for case in (first, second, third)}
    crops = LesionCrops(dataset, {first: lesions[first]}, background="mucosa")
    assert crops.order(3, (0,)) == [0, 0, 0]
    crops.add(dataset, {second: lesions[second], third: lesions[third]}, {second: 0.5, third: 0.25})
    order = crops.order(700, (0,))
    assert Counter(order) == {0: 400, 1: 200, 2: 100} and order == crops.order(700, (0,)) != sorted(order)
    image, outline, _, _ = crops.draw([0, 1, 2], (0,), size=64, settings=_settings())
    assert image.shape == (3, 3, 64, 64) and (outline.sum((1, 2, 3)) > 0).all()


def _settings():
    from syndiff.training.settings import AdaptSettings

    return AdaptSettings(background_share=0)


def test_the_model_says_what_it_heard_and_other_ratings_are_refused(
    syndiff, phantom: Path, reviewed: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, path = reviewed
    run = tmp_path / "inpainter"
    given = ["adapt", "--data", phantom, "--out", run, "--reviews", path, "--reviewed", folder, *TINY]
    shown = syndiff(*given, "--dry-run")
    assert "reviews: 3 rated samples, worth 2 real lesions" in shown.out and not run.exists(), shown.err
    done = syndiff(*given)
    assert done.status == 0, done.err
    told = json.loads(next(run.glob("checkpoints/*/model.json")).read_text())
    assert told["learned_from"]["reviews"]["samples"] == 3
    painted = ["synthesize", "--data", phantom, "--model", run, "--count", 1, "--out", tmp_path / "next"]
    assert syndiff(*painted, "--gates", "off", "--set", "compact.steps=1").status == 0
    with ReviewStore(path) as store:
        store.add("ben", Subjects(Dataset.open(folder))["synthetic-000005"], "rate", "5")
    changed = syndiff(*given)
    assert changed.status == 2 and "learned_from.reviews.samples: 3 there, 4 here" in changed.err


def test_reviews_that_an_inpainter_cannot_learn_from_are_refused(
    syndiff, phantom: Path, reviewed: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, path = reviewed
    with ReviewStore(tmp_path / "low.db") as store:
        store.add("ann", Subjects(Dataset.open(folder))["synthetic-000000"], "rate", "1")
    for options, said in (
        (["--reviews", path], "without --reviewed"),
        (["--reviews", tmp_path / "low.db", "--reviewed", folder], "above 1"),
        (["--reviews", path, "--reviewed", phantom], "not a finished synthetic dataset"),
        (["--reviews", path, "--reviewed", folder, "--inpainter", "sdxl"], "no effect with the inpainter sdxl"),
    ):
        small = [] if "sdxl" in options else TINY
        outcome = syndiff("adapt", "--data", phantom, "--out", tmp_path / "run", *options, *small)
        assert outcome.status == 2 and said in outcome.err, outcome.err
    assert not (tmp_path / "run").exists()
