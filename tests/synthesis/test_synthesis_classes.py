"""A dataset of several classes: one of them is painted, the others stay, and labels hold all of them."""

import json
from pathlib import Path

import numpy as np
import pytest

import syndiff
from syndiff.data.class_view import ClassView, class_of
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.models.predictor import OneClass, Prediction
from syndiff.pipeline.reviewing import heed, rated_samples, reviewed_samples
from syndiff.reviews.events import Subjects
from syndiff.reviews.store import ReviewStore
from syndiff.synthesis.manifest import read_manifest


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Polyps and instruments: six sequences of two frames."""
    root = tmp_path_factory.mktemp("two") / "set"
    syndiff.write_phantom(root, groups=6, frames=2, height=72, width=88, instruments=True)
    return root


def settings(**more: object):
    chosen = {"inpainter": "copy_paste", **more}
    return syndiff.load_settings("compact", values={f"synthesis.{name}": value for name, value in chosen.items()})


def test_a_class_is_seen_alone_and_put_back_among_the_others(two: Path) -> None:
    dataset = Dataset.open(two)
    view = class_of(dataset, [case.id for case in dataset.cases])
    assert isinstance(view, ClassView) and view.targets == ("polyp",) and view.classes == {1: "polyp"}
    assert view.fingerprint() == dataset.fingerprint()
    for case in dataset.cases:
        _, masks = dataset.load_classes(case)
        np.testing.assert_array_equal(view.load(case)[1], masks[0])
        np.testing.assert_array_equal(view.others(case), masks[1])
        np.testing.assert_array_equal(view.merged(case, masks[0]), masks)
        everywhere = view.merged(case, np.ones_like(masks[0]))
        assert everywhere[0].all() and not everywhere[1].any()
        assert not view.merged(None, masks[0])[1].any()
    assert class_of(dataset, [], "instrument").targets == ("instrument",)
    with pytest.raises(SyndiffError, match=r"no class 'polip' \(did you mean 'polyp'\?\)"):
        class_of(dataset, [], "polip")


def test_one_class_needs_no_choice(phantom: Path) -> None:
    dataset = Dataset.open(phantom)
    assert class_of(dataset, []) is dataset and class_of(dataset, [], "polyp") is dataset
    with pytest.raises(SyndiffError, match="has one class, polyp; leave it out"):
        class_of(dataset, [], "instrument")


def test_painted_cases_keep_the_other_class_and_tell_what_was_painted(two: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    summary = syndiff.synthesize(two, out, count=2, settings=settings(), progress=False)
    assert summary.accepted == 2
    made, origin = Dataset.open(out), Dataset.open(two)
    assert made.told_apart == origin.told_apart == Targets(("polyp", "instrument"), (1, 2))
    accepted = [sample for sample in read_manifest(out / "manifest.jsonl") if sample.accepted]
    for sample in accepted:
        assert sample.settings["paints"] == "polyp" and "polyp" in sample.told
        image, (polyp, tool) = made.load_classes(made[sample.id])
        below, (own, before) = origin.load_classes(origin[sample.source_case])
        np.testing.assert_array_equal(tool, before)
        assert (polyp & own).sum() == own.sum() and polyp.sum() > own.sum()
        np.testing.assert_array_equal(image[tool], below[tool])
    table = json.loads((out / "real_lesions.json").read_text())["lesions"]
    assert len(table) > 0 and (out / "contact_sheet.png").is_file() and (out / "synthesis.html").is_file()
    with pytest.raises(SyndiffError, match="paints"):
        again = settings(paints="instrument")
        syndiff.synthesize(two, out, count=3, settings=again, progress=False)


def test_reviews_are_heard_of_the_painted_class(two: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "made", tmp_path / "reviews.db"
    syndiff.synthesize(two, out, count=2, settings=settings(), progress=False)
    made, origin, split = Subjects(Dataset.open(out)), Dataset.open(two), Split.read(out / "split.json")
    good, bad = (case.id for case in made.dataset.cases)
    with ReviewStore(path) as store:
        for kind, value in (("accept", ""), ("rate", "5")):
            store.add("ann", made[good], kind, value)
        store.add("ann", made[bad], "reject", "seam")
    polyps = class_of(origin, split.train, "polyp")
    heard = reviewed_samples(path, [out], polyps, split)
    assert (len(heard.accepted), len(heard.rejected)) == (1, 1)
    ((samples, weights),) = rated_samples(path, [out], polyps, split).sources
    _, (polyp, _) = made.dataset.load_classes(made.dataset[good])
    assert weights.keys() == {good}
    np.testing.assert_array_equal(samples.load_classes(samples[good])[1], [polyp])
    (_, (kept, ids)) = heed(path, [(origin, split.train), (made.dataset, [good, bad])]).sources
    assert [*ids] == [good] and len(kept.load_classes(kept[good])[1]) == 2
    for read in (reviewed_samples, rated_samples):
        with pytest.raises(SyndiffError, match=r"was painted with polyp.*here instrument is painted"):
            read(path, [out], class_of(origin, (), "instrument"), split)


def test_a_gate_asks_a_segmenter_of_several_for_the_painted_class_alone() -> None:
    targets, spots = (
        Targets(("polyp", "instrument"), (1, 2)),
        np.random.default_rng(0).random((2, 5, 7), np.float32) / 2,
    )

    class Fixed:
        name = "fixed"

        def predict(self, image, *, case_id: str) -> Prediction:
            return Prediction.of(spots, targets, {})

    whole, one = (each.predict(np.zeros((5, 7, 3), np.uint8), case_id="a") for each in (Fixed(), OneClass(Fixed(), 1)))
    np.testing.assert_array_equal(one.mask, whole.masks[1])
    np.testing.assert_array_equal(one.probability, spots[1])
