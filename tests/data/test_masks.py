"""Lesions of a mask: joined by a corner they are one, and a speck beside a lesion is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from syndiff.data.masks import MIN_PIXELS, bounding_box, components, count_components, largest_component, without_specks


def test_components_have_the_labels_of_the_pixels_and_their_areas() -> None:
    mask = np.random.default_rng(0).random((50, 70)) < 0.35
    labels, areas = components(mask)
    expected, count = ndimage.label(np.pad(mask, 5), np.ones((3, 3)))  # elsewhere in a larger frame
    assert np.array_equal(labels, expected[5:-5, 5:-5]) and len(areas) == count
    assert [int((labels == 1 + i).sum()) for i in range(count)] == areas.tolist()


def test_pixels_that_touch_at_a_corner_are_one_lesion() -> None:
    labels, areas = components(np.eye(5, dtype=bool))
    assert areas.tolist() == [5] and np.array_equal(labels, np.eye(5))


def test_an_empty_mask_has_no_lesion() -> None:
    empty = np.zeros((4, 6), bool)
    labels, areas = components(empty)
    assert not labels.any() and labels.shape == empty.shape and len(areas) == len(without_specks(areas)) == 0
    assert np.array_equal(largest_component(empty), empty)


def test_of_several_lesions_the_largest_is_chosen() -> None:
    mask = np.zeros((40, 60), bool)
    mask[2:5, 2:5] = mask[20:30, 30:50] = mask[36, 58] = True
    largest = np.zeros_like(mask)
    largest[20:30, 30:50] = True
    assert np.array_equal(largest_component(mask), largest)


@pytest.mark.parametrize(
    ("areas", "lesions"),
    [
        ([MIN_PIXELS, MIN_PIXELS - 1], [1]),
        ([MIN_PIXELS - 1], []),
        ([49, 1000, 50], [2, 3]),  # a twentieth of the largest
    ],
)
def test_a_speck_is_small_or_small_beside_the_largest(areas: list[int], lesions: list[int]) -> None:
    assert without_specks(np.array(areas)).tolist() == lesions


def test_a_bounding_box_holds_the_mask_and_stays_in_the_frame() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4:7, 2:9] = True
    assert bounding_box(mask) == (slice(4, 7), slice(2, 9))
    assert mask[bounding_box(mask, 3)].shape == (3 + 3 + 3, 2 + 7 + 3)  # two pixels are left of it


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_components_are_counted_as_they_are_labelled(mask: np.ndarray) -> None:
    assert count_components(mask) == len(components(mask)[1])
