"""The study of reviews: what a scripted reviewer rejects comes back less often, and only where it is heard."""

import json
from pathlib import Path

import numpy as np
import pytest

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.reviews.store import ReviewStore
from syndiff.studies.reviews import Script, measures, red, sharp
from syndiff.synthesis.manifest import read_manifest


def test_the_script_knows_blurred_from_sharp_and_red_from_green(phantom: Path) -> None:
    from scipy import ndimage

    dataset = Dataset.open(phantom)
    split = make_split(dataset)
    image, mask = dataset.load(dataset[split.train[0]])
    ring = ndimage.binary_dilation(mask, iterations=8) & ~mask
    picture = (image / 255).astype(np.float32)
    blurred, redder = picture.copy(), picture.copy()
    blurred[mask] = ndimage.gaussian_filter(picture, (2, 2, 0))[mask]
    redder[mask, 1] *= 0.4
    assert sharp(blurred, mask, ring) < sharp(picture, mask, ring) - 0.3
    assert red(redder, mask, ring) > red(picture, mask, ring) + 0.5
    keen = Script.learn("blurred", dataset, split)
    assert keen.judge(-9) == (False, 1) and keen.judge(9) == (True, 5)
    picky = Script.learn("colour", dataset, split)
    assert not picky.judge(-9)[0] and not picky.judge(9)[0] and picky.judge(float(np.median(picky.real))) == (True, 5)


def test_the_script_looks_at_the_lesion_that_was_added(syndiff, phantom: Path, tmp_path: Path) -> None:
    dataset, out = Dataset.open(phantom), tmp_path / "synthetic"
    given = ["--data", phantom, "--out", out, "--count", 1, "--inpainter", "copy_paste", "--gates", "off"]
    assert syndiff("synthesize", *given, "--set", "synthesis.background_lesion=keep").status == 0
    sample = next(each for each in read_manifest(out / "manifest.jsonl") if each.accepted)
    _, own = dataset.load(dataset[str(sample.source_case)])
    painted = Dataset.open(out)
    every, added = measures("blurred", painted, sample.id), measures("blurred", painted, sample.id, own)
    assert len(added) == 1 < len(every) and added[0] in every


def _study(syndiff, phantom: Path, out: Path, *more: object):
    return syndiff("study", "reviews", "--data", phantom, "--out", out, "--count", 12, "--rounds", 2, *more)


@pytest.mark.slow
def test_rounds_are_made_reviewed_and_compared(syndiff, phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    done = _study(syndiff, phantom, out, "--inpainter", "copy_paste")
    assert done.status == 0, done.err
    assert "| round | accepted, reviews heard |" in done.out and "Fisher" in done.out
    told = json.loads((out / "reviews.json").read_text())
    first, second = told["heard"]
    assert first["shown"] == 12 >= second["shown"] > 0 and told["unheard"][0] == first
    assert all(0 <= each["accepted"] <= each["shown"] <= each["attempts"] for each in (first, second))
    assert {path.name for path in out.glob("round-*")} == {"round-1", "round-2", "round-2-unheard"}
    with ReviewStore(out / "reviews.db", read_only=True) as store:
        events = len(store.events())
    assert events == 2 * (first["shown"] + second["shown"] + told["unheard"][1]["shown"])
    gates = json.loads((out / "round-2/gates.json").read_text())
    assert gates["reviews"]["accepted"] + gates["reviews"]["rejected"] == 12
    assert "reviews" not in json.loads((out / "round-2-unheard/gates.json").read_text())
    again = _study(syndiff, phantom, out, "--inpainter", "copy_paste")
    assert again.out == done.out
    with ReviewStore(out / "reviews.db", read_only=True) as store:
        assert len(store.events()) == events


def test_choices_without_effect_are_refused(syndiff, phantom: Path, tmp_path: Path) -> None:
    for options, said in (
        (["--rounds", 1], "expected 2 or more rounds"),
        (["--set", "gates.mode=off"], "gates.mode has no effect"),
        (["--inpainter", "copy_paste", "--set", "adapt.steps=3"], "adapt.steps has no effect"),
    ):
        outcome = _study(syndiff, phantom, tmp_path / "study", *options)
        assert outcome.status == 2 and said in outcome.err, outcome.err
    assert not (tmp_path / "study").exists()
