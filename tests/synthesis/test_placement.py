"""New lesions lie where they may: in view, apart from others, and from another patient."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import DatasetFolder
from syndiff.errors import SyndiffError
from syndiff.synthesis.album import Album
from syndiff.synthesis.field import field_of_view
from syndiff.synthesis.placement import Placement, PlacementRules, place

HEIGHT, WIDTH = 72, 96
Maker = Callable[..., DatasetFolder]


def placements(dataset: DatasetFolder, count: int = 12, margin: float = 0.25) -> list[Placement]:
    album = Album(dataset, dataset.cases)
    found = [
        place(
            album,
            dataset.cases[i % len(dataset.cases)],
            np.random.default_rng(i),
            margin=margin,
            rules=PlacementRules(),
        )
        for i in range(count)
    ]
    return [placement for placement in found if placement]


def test_lesions_lie_in_view_and_touch_no_other(make_dataset: Maker) -> None:
    dataset = make_dataset()
    found = placements(dataset)
    assert len(found) >= 10
    for placement in found:
        _, own = dataset.load(placement.background)
        assert placement.lesion_mask.any()
        assert (placement.paint_mask >= placement.lesion_mask).all()
        assert not (ndimage.binary_dilation(placement.paint_mask) & own).any()
        assert (field_of_view(placement.image) >= placement.paint_mask).all()
        assert np.array_equal(placement.label, own | placement.lesion_mask)
        assert placement.donor[placement.paint_mask].min() > 0.1  # none of the donor's dark border


def test_a_lesion_comes_from_another_group_where_there_is_one(make_dataset: Maker) -> None:
    for placement in placements(make_dataset()):
        assert placement.lesion.group != placement.background.group
    for placement in placements(make_dataset(2, name="one group")):
        assert placement.lesion.id != placement.background.id


def test_the_same_seed_gives_the_same_place_and_others_differ(make_dataset: Maker) -> None:
    dataset = make_dataset()
    first, again = placements(dataset), placements(dataset)
    assert [p.describe() for p in first] == [p.describe() for p in again]
    assert len({p.row * 1000 + p.column for p in first}) > len(first) / 2
    assert len({p.angle for p in first}) == len(first)


def test_the_donor_shows_the_lesion_where_the_mask_is(make_dataset: Maker) -> None:
    for placement in placements(make_dataset()):
        band = placement.paint_mask & ~ndimage.binary_dilation(placement.lesion_mask)
        core = ndimage.binary_erosion(placement.lesion_mask)
        red = placement.donor[..., 0] - placement.donor[..., 2]  # lesions are redder than what surrounds them
        assert red[core].mean() > red[band].mean() + 0.1


def test_without_margin_only_the_label_is_painted(make_dataset: Maker) -> None:
    for placement in placements(make_dataset(), 4, margin=0):
        assert np.array_equal(placement.paint_mask, placement.lesion_mask)


def test_a_lesion_that_fits_nowhere_is_no_placement(make_dataset: Maker) -> None:
    dataset = make_dataset(3)
    album, first, rng = Album(dataset, dataset.cases), dataset.cases[0], np.random.default_rng(0)
    assert place(album, first, rng, margin=0, rules=PlacementRules()) is not None
    nearly_all = np.indices((HEIGHT, WIDTH)).sum(axis=0) > 12  # of this frame is a lesion
    Image.fromarray(nearly_all).save(first.mask)
    album = Album(dataset, dataset.cases)
    assert place(album, first, rng, margin=0, rules=PlacementRules(backgrounds=1)) is None
    elsewhere = place(album, first, rng, margin=0, rules=PlacementRules())
    assert elsewhere is not None and elsewhere.background.id != first.id


def test_masks_without_any_lesion_are_said_so(make_dataset: Maker) -> None:
    dataset = make_dataset(3, lesions=False)
    with pytest.raises(SyndiffError, match="masks are empty"):
        placements(dataset, 1)


def test_field_of_view_finds_the_border_and_lets_dark_modalities_be() -> None:
    frame = np.full((90, 120, 3), 12, np.uint8)
    frame[10:80, 20:100] = 150
    frame[40:50, 50:60] = 3  # a hole in the view is not its border
    expected = np.zeros((90, 120), bool)
    expected[10:80, 20:100] = True
    found = field_of_view(frame)
    assert (found ^ expected).mean() < 0.01 and found[45, 55]
    assert np.array_equal(field_of_view(frame.astype(np.uint16) * 16), found)  # 12 bits in 16

    cells = np.full((90, 120, 3), 4, np.uint8)
    cells[20:30, 20:30] = 200
    assert field_of_view(cells).all()
    assert field_of_view(np.zeros((50, 60, 3), np.uint8)).all()
    assert field_of_view(np.full((1000, 1300, 3), 99, np.uint8)).all()
