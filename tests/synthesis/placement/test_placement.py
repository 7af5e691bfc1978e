"""New lesions lie where they may: in view, apart from others, and from another patient."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.placement.album import Album
from syndiff.synthesis.placement.field import field_of_view, to_pixels
from syndiff.synthesis.placement.measures import measure_shape
from syndiff.synthesis.placement.placing import OwnLesions, Placement, place, restyle
from syndiff.synthesis.placement.population import Target
from syndiff.synthesis.placement.search import PlacementRules

HEIGHT, WIDTH = 72, 96
Maker = Callable[..., Dataset]


@pytest.fixture
def album(make_dataset: Maker) -> Album:
    dataset = make_dataset()
    return Album(dataset, dataset.cases)


def target(album: Album, index: int = 0) -> Target:
    return album.population.target(index, 0)


WHOLE = Target(area=0.02, edge=0.0, distance=0.3, quarter=2)


def placements(dataset: Dataset, count: int = 12, margin: float = 0.25) -> list[Placement]:
    album = Album(dataset, dataset.cases)
    found = [
        place(
            album,
            dataset.cases[i % len(dataset.cases)],
            np.random.default_rng(i),
            target=target(album, i),
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
        assert (placement.inpaint_mask >= placement.lesion_mask).all()
        assert not (ndimage.binary_dilation(placement.inpaint_mask) & own).any()
        assert (field_of_view(placement.image) >= placement.inpaint_mask).all()
        assert np.array_equal(placement.label, own | placement.lesion_mask)
        assert placement.donor()[placement.inpaint_mask].min() > 0.1  # none of the donor's dark border


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
        band = placement.inpaint_mask & ~ndimage.binary_dilation(placement.lesion_mask)
        core = ndimage.binary_erosion(placement.lesion_mask)
        donor = placement.donor()
        red = donor[..., 0] - donor[..., 2]  # lesions are redder than what surrounds them
        assert red[core].mean() > red[band].mean() + 0.1


def test_without_margin_only_the_label_is_painted(make_dataset: Maker) -> None:
    for placement in placements(make_dataset(), 4, margin=0):
        assert np.array_equal(placement.inpaint_mask, placement.lesion_mask)


def test_a_lesion_that_fits_nowhere_is_no_placement(make_dataset: Maker) -> None:
    dataset = make_dataset(3)
    album, first, rng = Album(dataset, dataset.cases), dataset.cases[0], np.random.default_rng(0)
    assert place(album, first, rng, target=WHOLE, margin=0, rules=PlacementRules()) is not None
    nearly_all = np.indices((HEIGHT, WIDTH)).sum(axis=0) > 12  # of this frame is a lesion
    Image.fromarray(nearly_all).save(first.mask)
    album = Album(dataset, dataset.cases)
    assert place(album, first, rng, target=WHOLE, margin=0, rules=PlacementRules(backgrounds=1)) is None
    elsewhere = place(album, first, rng, target=WHOLE, margin=0, rules=PlacementRules())
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), margin=st.sampled_from([0.0, 0.25, 1.0]), own=st.sampled_from(["keep", "remove"]))
def test_no_lesion_ever_touches_another_or_leaves_the_view(
    album: Album, seed: int, margin: float, own: OwnLesions
) -> None:
    rng = np.random.default_rng(seed)
    first = album.cases[seed % len(album.cases)]
    placement = place(album, first, rng, target=target(album, seed), margin=margin, rules=PlacementRules(), own=own)
    if placement is None:
        return
    frame = album.frame(placement.background)
    seen = frame.view
    field = to_pixels(seen.field, seen.step, frame.own.shape)
    occupied = placement.removal_mask if placement.removal_mask is not None else frame.own
    assert not (ndimage.binary_dilation(placement.inpaint_mask) & occupied).any()
    assert (occupied >= frame.own).all()
    assert field[placement.inpaint_mask].all()
    assert not placement.inpaint_mask[[0, -1]].any() and not placement.inpaint_mask[:, [0, -1]].any()
    assert np.array_equal(
        placement.label, placement.lesion_mask if own == "remove" else frame.own | placement.lesion_mask
    )
    assert ndimage.label(placement.lesion_mask, np.ones((3, 3)))[1] == 1  # a bent lesion stays in one piece


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), margin=st.sampled_from([0.0, 0.25]), at_once=st.booleans())
def test_a_lesion_that_replaces_another_hides_it_and_is_as_large(
    album: Album, seed: int, margin: float, at_once: bool
) -> None:
    first = album.cases[seed % len(album.cases)]
    rules, rng = PlacementRules(), np.random.default_rng(seed)
    wanted = target(album, seed)
    placement = place(album, first, rng, target=wanted, margin=margin, rules=rules, own="replace", at_once=at_once)
    assert placement is not None  # the frame of the lesion that the target is like has always room
    frame = album.frame(placement.background)
    new = placement.lesion_mask
    assert np.array_equal(placement.label, new)
    changed = placement.inpaint_mask if at_once else placement.inpaint_mask | placement.removal_mask
    assert (placement.removal_mask is None) == at_once
    assert (changed >= (frame.own | new)).all()  # nothing of the old one stays
    apart = place(album, first, np.random.default_rng(seed), target=wanted, margin=margin, rules=rules, own="replace")
    assert apart is not None and np.array_equal(apart.lesion_mask, new)
    assert (apart.inpaint_mask & frame.own).sum() > 0.8 * frame.own.sum()  # the rules' share is of cells
    assert 0.8 * frame.own.sum() < new.sum() < 1.25 * rules.grow**2 * frame.own.sum()  # bent, and made of whole pixels
    seen = frame.view
    assert to_pixels(seen.field, seen.step, frame.own.shape)[placement.inpaint_mask].all()
    assert ndimage.label(new, np.ones((3, 3)))[1] == 1


def test_the_largest_of_several_lesions_is_replaced_and_the_others_are_removed(make_dataset: Maker) -> None:
    dataset = make_dataset()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    large, small = (rows - 36) ** 2 + (columns - 36) ** 2 < 64, (rows - 36) ** 2 + (columns - 70) ** 2 < 16
    Image.fromarray(large | small).save(dataset.cases[0].mask)
    album = Album(dataset, dataset.cases)
    for seed in range(6):
        placement = place(
            album,
            dataset.cases[0],
            np.random.default_rng(seed),
            target=Target(area=0.05, edge=0.0, distance=0.3, quarter=4),
            margin=0.25,
            rules=PlacementRules(),
            own="replace",
            at_once=True,
        )
        assert placement is not None and placement.removal_mask is not None
        assert (placement.lesion_mask & large).sum() > 0.5 * large.sum()
        assert placement.removal_mask[small].all() and not placement.removal_mask[large].any()
        assert placement.inpaint_mask[large].all() and not placement.label[small].any()


def test_a_lesion_that_the_edge_cuts_off_is_replaced_by_a_whole_one(make_dataset: Maker) -> None:
    dataset = make_dataset()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[26:42, 8:28] = True  # begins where the dark border ends
    Image.fromarray(mask).save(dataset.cases[0].mask)
    rules, large = PlacementRules(backgrounds=1), Target(area=0.09, edge=0.0, distance=0.5, quarter=1)
    album, first, rng = Album(dataset, dataset.cases), dataset.cases[0], np.random.default_rng(1)
    placement = place(album, first, rng, target=large, margin=0.25, rules=rules, own="replace")
    assert placement is not None and placement.removal_mask is not None
    field = field_of_view(placement.image)
    assert placement.removal_mask[mask].all() and field[placement.inpaint_mask].all()
    mask[26:42, 13:] = False  # most of what is left lies too near to the edge
    Image.fromarray(mask).save(first.mask)
    album = Album(dataset, dataset.cases)
    small = Target(area=0.02, edge=0.0, distance=0.5, quarter=1)
    assert place(album, first, rng, target=small, margin=0.25, rules=rules, own="replace") is None


def test_lesions_have_the_sizes_of_the_training_lesions_and_are_bent(album: Album) -> None:
    ratios, stiff = [], []
    for i in range(16):
        wanted = target(album, i)
        for rules in (PlacementRules(), PlacementRules(bend=0)):
            placement = place(album, album.cases[0], np.random.default_rng(i), target=wanted, margin=0.0, rules=rules)
            assert placement is not None
            shape = measure_shape(placement.lesion_mask, placement.view)
            (stiff if rules.bend == 0 else ratios).append(shape.area / wanted.area)
            assert placement.describe()["target"]["area"] == pytest.approx(wanted.area, abs=1e-5)
    assert min(ratios) > 0.8 and max(ratios) < 1.25 and 0.95 < np.mean(stiff) < 1.05  # a bend moves a few pixels
    assert ratios != stiff


@given(seed=st.integers(0, 10**6), turn=st.integers(0, 10**4))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_sixteen_attempts_in_a_row_each_takes_another_sixteenth_of_the_real_sizes(
    album: Album, seed: int, turn: int
) -> None:
    targets = [album.population.target(index, seed) for index in range(16 * turn, 16 * turn + 16)]
    areas = np.sort([each.area for each in targets])
    bounds = np.quantile(album.population.areas, np.linspace(0, 1, 17))
    assert (areas >= bounds[:-1] - 1e-12).all() and (areas <= bounds[1:] + 1e-12).all()
    assert sorted(each.quarter for each in targets) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert targets == [album.population.target(index, seed) for index in range(16 * turn, 16 * turn + 16)]


def test_a_target_that_the_edge_of_the_view_cuts_is_cut_there_and_hangs_over_nothing(album: Album) -> None:
    found = []
    for seed in range(8):
        wanted = Target(area=0.03, edge=0.2, distance=0.8, quarter=1)
        case = album.cases[seed]
        placement = place(album, case, np.random.default_rng(seed), target=wanted, margin=0.25, rules=PlacementRules())
        if placement is None:
            continue
        shape = measure_shape(placement.lesion_mask, placement.view)
        assert shape.edge > 0 and 0.6 * wanted.area < shape.area < 1.4 * wanted.area
        assert placement.image[placement.inpaint_mask].max(axis=1).min() > 20  # the black border is 6
        assert ndimage.label(placement.lesion_mask, np.ones((3, 3)))[1] == 1
        found.append(shape.edge)
        request = InpaintRequest(
            image=placement.image,
            mask=placement.inpaint_mask,
            lesion=placement.lesion_mask,
            prompt="",
            negative_prompt="",
            seed=0,
            donor=placement.donor,
        )
        blended = CopyPaste().inpaint([request])[0]
        edge = placement.lesion_mask & ndimage.binary_dilation(placement.image.max(axis=2) < 20, iterations=2)
        assert edge.any() and blended[edge].mean() > 0.2  # the border draws nothing dark into the lesion
    assert len(found) >= 5 and 0.1 < np.mean(found) < 0.35


def test_the_band_around_a_lesion_that_a_corner_joins_is_that_of_one_lesion(make_dataset: Maker) -> None:
    dataset = make_dataset()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[24:34, 40:50] = mask[34:44, 50:60] = True  # 200 pixels: a radius of 8; of two lesions it would be 5.6
    Image.fromarray(mask).save(dataset.cases[0].mask)
    album, rules = Album(dataset, dataset.cases), PlacementRules(backgrounds=1)
    placement = restyle(album, dataset.cases[0], np.random.default_rng(0), margin=1.0, rules=rules)
    assert placement is not None
    assert placement.inpaint_mask[28, 33] and not placement.inpaint_mask[28, 31]


def test_a_lesion_cut_off_by_the_edge_is_passed_over(make_dataset: Maker) -> None:
    dataset = make_dataset(4, groups=False)
    for case in dataset.cases[1:3]:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[30:45, :25] = True  # reaches into the dark border
        Image.fromarray(mask).save(case.mask)
    album = Album(dataset, dataset.cases)
    for i in range(8):
        rng = np.random.default_rng(i)
        placement = place(album, dataset.cases[0], rng, target=WHOLE, margin=0.0, rules=PlacementRules())
        assert placement is None or placement.lesion.id in {"c0", "c3"}
    for case in dataset.cases:
        Image.fromarray(mask).save(case.mask)
    with pytest.raises(SyndiffError, match="cut off by the edge"):
        place(
            Album(dataset, dataset.cases),
            dataset.cases[0],
            np.random.default_rng(0),
            target=WHOLE,
            margin=0.0,
            rules=PlacementRules(),
        )


def test_decoded_cases_take_a_bounded_amount_of_memory(make_dataset: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset()
    frame = Album(dataset, dataset.cases).frame(dataset.cases[0])
    monkeypatch.setattr("syndiff.synthesis.placement.album._FRAME_BYTES", 3 * frame.nbytes)
    album = Album(dataset, dataset.cases)
    for case in dataset.cases:
        album.frame(case)
    last, first = dataset.cases[-1], dataset.cases[0]
    last.image.unlink()
    first.image.unlink()
    assert album.frame(last).case == last  # still held
    with pytest.raises(SyndiffError, match="does not exist"):
        album.frame(first)
