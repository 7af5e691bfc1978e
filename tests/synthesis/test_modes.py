"""What becomes of the lesions that a frame has already, and frames that have none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grey import Grey, settings_of
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.errors import SyndiffError
from syndiff.pipeline.provenance import open_synthetic
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.synthesis.dry_run import dry_run
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.settings import SynthesisSettings

Maker = Callable[..., Dataset]


def make(dataset: Dataset, out: Path, count: int = 5, **changes: Any) -> list[tuple[Any, ...]]:
    """Synthesize; of every accepted sample its line, image, label, and the frame's image and mask."""
    arguments: dict[str, Any] = {"seed": 3, "progress": False} | changes
    ids = [case.id for case in dataset.cases]
    settings = settings_of(arguments)
    synthesize_cases(dataset, ids, arguments.pop("inpainter", Grey(2)), out, settings, count=count, **arguments)
    made, found = Dataset.open(out), []
    for line in read_manifest(out / "manifest.jsonl"):
        if line.accepted:
            frame = dataset[line.source_case] if "/" not in str(line.source_case) else None
            found.append((line, *made.load(made[line.id]), *(dataset.load(frame) if frame else (None, None))))
    assert len(found) == count
    return found


def test_remove_paints_over_the_frames_lesion_and_labels_the_new_one(make_dataset: Maker, tmp_path: Path) -> None:
    inpainter = Grey(2)
    for line, image, label, source, own in make(
        make_dataset(), tmp_path / "out", inpainter=inpainter, background_lesion="remove"
    ):
        assert label.any() and not (label & own).any()
        changed = (image != source).any(axis=2)
        assert changed[own].mean() > 0.95  # the old lesion is gone
        near = ndimage.distance_transform_edt(~(own | label)) < 10
        assert not changed[~near].any()
        assert line.removal["seed"] != line.seed and "polyp" not in line.removal["prompt"]
        assert "polyp" in line.removal["negative_prompt"] and line.removal["prompt"] in inpainter.prompts


def test_a_removal_that_fails_is_a_reason(make_dataset: Maker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(make_dataset(), out, count=8, inpainter=Grey(fails=2), background_lesion="remove")
    reasons = {line.reason for line in read_manifest(out / "manifest.jsonl")}
    assert "removing the frame's lesion: painted black" in reasons


def test_restyle_repaints_the_lesion_where_it_is(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    _, empty = dataset.load(dataset.cases[0])
    Image.fromarray(empty & False).save(dataset.cases[0].mask)  # nothing to restyle here
    for line, image, label, source, own in make(dataset, tmp_path / "out", 10, background_lesion="restyle"):
        assert np.array_equal(label, own) and line.source_case == line.mask_source != "c0"
        changed = (image != source).any(axis=2)
        assert changed[own].mean() > 0.9
        assert not changed[ndimage.distance_transform_edt(~own) > 6].any()
        assert line.removal is None


@pytest.mark.parametrize("reads_lesion_mask", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_replace_paints_another_lesion_over_the_frames(
    make_dataset: Maker, tmp_path: Path, reads_lesion_mask: bool, deep: bool
) -> None:
    """In one pass where the inpainter knows which part of its mask is lesion, else after a removal."""
    inpainter = Grey(2, reads_lesion_mask=reads_lesion_mask)
    dataset = make_dataset(12, deep=deep)
    for line, image, label, source, own in make(
        dataset, tmp_path / "out", 8, inpainter=inpainter, background_lesion="replace"
    ):
        assert line.mask_source != line.source_case and not np.array_equal(label, own)
        changed = (image != source).any(axis=2)
        assert changed[own | label].mean() > 0.9  # the old one is gone, the new one is there
        assert not changed[ndimage.distance_transform_edt(~(own | label)) > 8].any()
        assert (line.removal is None) == reads_lesion_mask
        if not reads_lesion_mask:
            assert "polyp" not in line.removal["prompt"] and line.removal["prompt"] in inpainter.prompts
    assert "its own lesion painted over" in build_synthesis_page(tmp_path / "out").read_text()


@pytest.mark.parametrize("masks", [False, True])
def test_lesion_free_frames_carry_the_new_lesion_only(make_dataset: Maker, tmp_path: Path, masks: bool) -> None:
    dataset = make_dataset()
    free = make_dataset(3, lesions=False, groups=False, name="free").root
    if not masks:
        free = free / "images"
    out = tmp_path / "out"
    found = make(dataset, out, 6, backgrounds=str(free))
    assert {line.source_case for line, *_ in found} == {f"backgrounds/c{i}" for i in range(3)}
    for line, image, label, *_ in found:
        stem = line.source_case.removeprefix("backgrounds/")
        top, left, height, width = line.placement["crop"]  # without the black border, which is 5 and 8 pixels wide
        assert top in (4, 5, 6) and left in (7, 8, 9) and image.shape[:2] == (height, width)
        whole = np.asarray(Image.open(tmp_path / f"free/images/{stem}.png"))
        source = whole[top : top + height, left : left + width]
        changed = (image != source).any(axis=2)
        assert changed[label].mean() > 0.9 and not changed[ndimage.distance_transform_edt(~label) > 6].any()
        assert ndimage.label(label)[1] == 1 and line.group == line.source_case
    assert Dataset.open(out).has_groups
    assert (out / "contact_sheet.png").is_file()
    split = make_split(dataset, method="random", seed=0)
    with pytest.raises(SyndiffError, match=r"made from .* cases outside"):
        open_synthetic(out, split, dataset)  # for its lesions: they are of all cases
    Image.fromarray(np.asarray(Image.open(tmp_path / "free/images/c0.png"))[::-1]).save(tmp_path / "free/images/c0.png")
    with pytest.raises(SyndiffError, match="backgrounds was"):
        make(dataset, out, 8, backgrounds=str(free))


def test_backgrounds_that_cannot_serve_are_said(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    with pytest.raises(SyndiffError, match="marks a lesion"):
        make(dataset, tmp_path / "out", backgrounds=str(make_dataset(3, name="not free").root))
    with pytest.raises(SyndiffError, match="holds no images"):
        make(dataset, tmp_path / "none", backgrounds=str(tmp_path / "nowhere"))
    with pytest.raises(SyndiffError, match="has no effect"):
        SynthesisSettings(backgrounds="free", background_lesion="remove")


@pytest.mark.parametrize("mode", ["remove", "restyle", "replace"])
def test_copy_paste_cannot_paint_from_text(make_dataset: Maker, tmp_path: Path, mode: str) -> None:
    with pytest.raises(SyndiffError, match="copy_paste paints nothing from text"):
        make(make_dataset(), tmp_path / "out", inpainter=CopyPaste(), background_lesion=mode)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_prompts_places_and_time_and_writes_nothing(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    before = sorted(tmp_path.rglob("*"))
    ids = [case.id for case in dataset.cases]
    said = dry_run(dataset, ids, Grey(2, seconds=0.05), SynthesisSettings(), count=600, seed=3)
    assert sorted(tmp_path.rglob("*")) == before
    seconds = float(said.split(" s a sample")[0].split()[-1])
    assert 0.05 <= seconds < 30 and "for 600 samples" in said and "nothing was written" in said
    make(dataset, tmp_path / "out", 5)
    for line in read_manifest(tmp_path / "out/manifest.jsonl"):  # what it showed is what comes
        assert f"prompt: {line.prompt}" in said and f"row {line.placement['row']}, column" in said
