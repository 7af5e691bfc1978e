"""Frames and lesions of other folders: cut to their view, named, grouped, and refused where they cannot serve."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from grey import Grey, settings_of
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.pipeline.provenance import datasets_behind
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.placement.elsewhere import lesion_free, open_lender
from syndiff.synthesis.placement.field import judge_view, view_box
from syndiff.synthesis.settings import SynthesisSettings

Maker = Callable[..., Dataset]


def frame(height: int = 240, width: int = 320) -> np.ndarray:
    """A view of 200 x 220 pixels in a black border, with an inset that reaches into its lower left corner."""
    picture = np.full((height, width, 3), 8, np.uint8)
    picture[20:220, 80:300] = (170, 110, 90)
    picture[150:, :120] = 6
    picture[180:190, 20:60] = (20, 220, 60)
    return picture


def test_a_frame_is_cut_to_its_view_without_border_and_inset() -> None:
    rows, columns = view_box(frame())
    assert abs(rows.start - 20) <= 3 and abs(rows.stop - 220) <= 3
    assert abs(columns.start - 120) <= 3 and abs(columns.stop - 300) <= 3
    dark = np.full((72, 96, 3), 9, np.uint8)  # dark by nature: all of it is in view
    assert view_box(dark) == (slice(0, 72), slice(0, 96))


def test_a_dark_notch_is_no_edge_of_the_view() -> None:
    picture = frame()
    picture[150:, :120] = picture[20:220, 80:300].mean(axis=(0, 1)).astype(np.uint8)
    picture[:, :80] = picture[220:] = 8
    picture[80:140, 80:140] = 5  # the lumen, at the edge
    seen = judge_view(picture)
    at = 110 // seen.step, 100 // seen.step
    assert not seen.field[at] and seen.barred[at] and not seen.outside[at]
    assert seen.outside[5, 5] and not seen.barred[5, 5]


def test_groups_of_lesion_free_frames_are_known_where_they_are_told(make_dataset: Maker, tmp_path: Path) -> None:
    root = make_dataset(4, lesions=False, groups=True, name="free").root
    for path in (root / "masks").iterdir():
        path.unlink()
    (root / "masks").rmdir()
    assert [case.group for case in lesion_free(root)] == [f"backgrounds/g{i // 2}" for i in range(4)]
    (root / "groups.csv").write_text("case,group\nc0,a\n")
    with pytest.raises(SyndiffError, match="does not list 3 case"):
        lesion_free(root)
    (root / "groups.csv").unlink()
    assert [case.group for case in lesion_free(root)] == [f"backgrounds/c{i}" for i in range(4)]


def test_lesions_of_another_dataset_are_lent_at_the_sizes_of_the_own_ones(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, other, out = make_dataset(), make_dataset(4, name="other"), tmp_path / "out"
    for case in other.cases:  # twice as large as the own ones
        image = Image.open(case.image).resize((192, 144))
        image.crop((48, 36, 144, 108)).save(case.image)
        mask = Image.open(case.mask).resize((192, 144), Image.Resampling.NEAREST)
        mask.crop((48, 36, 144, 108)).save(case.mask)
    (other.root / "dataset.json").write_text('{"name": "other centre", "classes": {"1": "polyp"}}')
    arguments = {"seed": 0, "progress": False, "lesions": str(other.root)}
    settings = settings_of(arguments)
    synthesize_cases(dataset, [c.id for c in dataset.cases], Grey(2), out, settings, count=8, **arguments)
    made = [line for line in read_manifest(out / "manifest.jsonl") if line.accepted]
    assert {str(line.mask_source).split("/")[0] for line in made} == {"lesions"}
    assert {line.source_case for line in made} <= {case.id for case in dataset.cases}
    for line in made:
        assert line.lesions and 0.7 < line.lesions[0]["area"] / line.placement["target"]["area"] < 1.35
    assert datasets_behind(out) == {"other centre"}
    with pytest.raises(SyndiffError, match="lesions"):  # the same folder, with the own lesions
        synthesize_cases(
            dataset, [c.id for c in dataset.cases], Grey(2), out, SynthesisSettings(), count=9, seed=0, progress=False
        )


def test_lenders_that_cannot_serve_are_said(make_dataset: Maker, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(SyndiffError, match="a synthetic dataset"):
        open_lender(tmp_path)
    with pytest.raises(SyndiffError, match="has no effect with background_lesion=restyle"):
        SynthesisSettings(lesions="other", background_lesion="restyle")
    dataset, empty = make_dataset(), make_dataset(3, lesions=False, name="empty")
    arguments = {"seed": 0, "progress": False, "lesions": str(empty.root)}
    settings = settings_of(arguments)
    with pytest.raises(SyndiffError, match="of its 3 cases none has a whole lesion"):
        synthesize_cases(
            dataset, [c.id for c in dataset.cases], Grey(2), tmp_path / "out", settings, count=1, **arguments
        )
