import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import Mask, case_metrics, overlap, surface

quick = settings(max_examples=60, deadline=None)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """Two masks of one size, from 1x1 on, empty ones and single rows included."""
    size = draw(sizes)
    return draw(arrays(bool, size)), draw(arrays(bool, size))


def disc(height: int, width: int, row: float, column: float, radius: float) -> Mask:
    rows, columns = np.ogrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def square(top: int, left: int, side: int, shape: tuple[int, int] = (40, 50)) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(seed: int) -> tuple[Mask, Mask]:
    """Two overlapping unions of discs, like an annotation and a fair prediction of it."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros((60, 80), dtype=bool) for _ in range(2)]
    for _ in range(3):
        row, column, radius = rng.uniform(0, 60), rng.uniform(0, 80), rng.uniform(3, 12)
        for mask in masks:
            mask |= disc(60, 80, row + rng.normal(0, 2), column + rng.normal(0, 2), radius + rng.normal())
    return masks[0], masks[1]


def brute_force(prediction: Mask, target: Mask, tolerance: float) -> tuple[float, float]:
    """HD95 and NSD from all pairwise distances of SciPy's erosion boundaries."""
    points = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (prediction, target)]
    distances = cdist(*points)
    directed = distances.min(axis=1), distances.min(axis=0)
    within = np.concatenate(directed) <= tolerance
    return max(np.percentile(side, 95) for side in directed), within.mean()


def test_shifted_squares_have_the_closed_form_scores() -> None:
    metrics = case_metrics(square(10, 10, 10), square(10, 15, 10), tolerance=1)
    assert (metrics.intersection, metrics.predicted, metrics.annotated) == (50, 100, 100)
    assert metrics.dice == 0.5
    assert metrics.iou == pytest.approx(1 / 3)
    assert metrics.precision == metrics.recall == 0.5
    # The far column (10 of 36 surface pixels on each side) is 5 away; more than 5 % of the surface.
    assert metrics.hd95 == 5
    # Within one pixel on each side: six pixels of the upper edge, six of the lower, and the two ends
    # (next to those edges) of the column that lies inside the other square.
    assert metrics.nsd == 28 / 72


def test_nested_squares_have_a_distance_and_a_surface_score_known_by_hand() -> None:
    inner, outer = square(12, 12, 6), square(10, 10, 10)
    metrics = case_metrics(inner, outer, tolerance=2)
    assert metrics.recall == 0.36
    assert metrics.precision == 1
    # Of the outer 36 surface pixels, the 6 opposite each inner side are exactly 2 away, the others further:
    # corners sqrt(8), their neighbours sqrt(5). All 20 inner ones are exactly 2 away.
    assert metrics.nsd == pytest.approx((20 + 24) / (20 + 36))
    assert metrics.hd95 == pytest.approx(math.sqrt(8))


EMPTY = np.zeros((30, 40), dtype=bool)


def test_both_masks_empty_is_a_perfect_overlap_without_distances() -> None:
    metrics = case_metrics(EMPTY, EMPTY)
    assert metrics.dice == metrics.iou == 1
    assert metrics.precision is metrics.recall is metrics.hd95 is metrics.nsd is None
    assert (metrics.lesions, metrics.missed_lesions, metrics.false_lesions) == (0, 0, 0)


def test_a_missed_lesion_costs_the_image_diagonal() -> None:
    metrics = case_metrics(EMPTY, square(3, 3, 5, EMPTY.shape))
    assert metrics.dice == metrics.iou == metrics.recall == metrics.nsd == 0
    assert metrics.precision is None
    assert metrics.hd95 == 50
    assert (metrics.lesions, metrics.missed_lesions, metrics.false_lesions) == (1, 1, 0)


def test_a_false_lesion_costs_the_image_diagonal() -> None:
    metrics = case_metrics(square(3, 3, 5, EMPTY.shape), EMPTY)
    assert metrics.dice == metrics.iou == metrics.precision == metrics.nsd == 0
    assert metrics.recall is None
    assert metrics.hd95 == 50
    assert (metrics.lesions, metrics.missed_lesions, metrics.false_lesions) == (0, 0, 1)


def test_lesions_are_counted_by_component() -> None:
    target = square(2, 2, 5) | square(20, 20, 5) | square(30, 40, 3)
    prediction = square(6, 6, 3) | square(22, 5, 4) | square(2, 40, 2) | square(30, 40, 3)
    metrics = case_metrics(prediction, target)
    assert (metrics.lesions, metrics.missed_lesions, metrics.false_lesions) == (3, 1, 2)


def test_pixels_meeting_at_a_corner_are_one_lesion() -> None:
    assert case_metrics(np.eye(5, dtype=bool), np.eye(5, dtype=bool)).lesions == 1


def test_image_border_belongs_to_the_surface() -> None:
    full = np.ones((4, 5), dtype=bool)
    assert surface(full).sum() == 14
    assert not surface(full)[1:-1, 1:-1].any()


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0, 3.5])
def test_agrees_with_monai(seed: int, tolerance: float) -> None:
    masks = blobs(seed)
    metrics = case_metrics(*masks, tolerance=tolerance)
    prediction, target = (torch.from_numpy(mask)[None, None].float() for mask in masks)
    assert metrics.dice == pytest.approx(compute_dice(prediction, target).item(), abs=1e-6)
    hausdorff = compute_hausdorff_distance(prediction, target, include_background=True, percentile=95)
    assert metrics.hd95 == pytest.approx(hausdorff.item(), abs=1e-4)
    surface_dice = compute_surface_dice(prediction, target, [tolerance], include_background=True)
    assert metrics.nsd == pytest.approx(surface_dice.item(), abs=1e-6)


@quick
@given(pairs(), st.floats(0, 6))
def test_distances_agree_with_brute_force(masks: tuple[Mask, Mask], tolerance: float) -> None:
    metrics = case_metrics(*masks, tolerance=tolerance)
    if all(mask.any() for mask in masks):
        hd95, nsd = brute_force(*masks, tolerance)
        assert metrics.hd95 == pytest.approx(hd95)
        assert metrics.nsd == pytest.approx(nsd)


@quick
@given(pairs())
def test_ranges_and_identities_hold_for_any_masks(masks: tuple[Mask, Mask]) -> None:
    metrics = case_metrics(*masks)
    for value in (metrics.dice, metrics.iou, metrics.precision, metrics.recall, metrics.nsd):
        assert value is None or 0 <= value <= 1
    assert metrics.iou == pytest.approx(metrics.dice / (2 - metrics.dice))
    if metrics.precision and metrics.recall:
        harmonic = 2 / (1 / metrics.precision + 1 / metrics.recall)
        assert metrics.dice == pytest.approx(harmonic)
    assert metrics.hd95 is None or 0 <= metrics.hd95 <= math.hypot(*masks[0].shape)
    assert 0 <= metrics.missed_lesions <= metrics.lesions
    assert metrics.intersection == np.logical_and(*masks).sum()


@quick
@given(pairs())
def test_exchanging_the_masks_exchanges_precision_and_recall_only(masks: tuple[Mask, Mask]) -> None:
    forth, back = case_metrics(*masks), case_metrics(*masks[::-1])
    assert (forth.dice, forth.iou, forth.hd95, forth.nsd) == (back.dice, back.iou, back.hd95, back.nsd)
    assert (forth.precision, forth.recall) == (back.recall, back.precision)
    assert (forth.lesions - forth.missed_lesions == 0) == (forth.intersection == 0)


@quick
@given(pairs(), sizes, sizes)
def test_moving_both_masks_in_a_larger_frame_changes_nothing(
    masks: tuple[Mask, Mask], before: tuple[int, int], after: tuple[int, int]
) -> None:
    margin = list(zip(before, after, strict=True))
    here, there = (case_metrics(*(np.pad(mask, pad) for mask in masks)) for pad in (1, margin))
    if not all(mask.any() for mask in masks):
        return  # the diagonal of the frame, which did change
    assert here == there


@quick
@given(sizes.flatmap(lambda size: arrays(bool, size)))
def test_a_mask_agrees_with_itself(mask: Mask) -> None:
    metrics = case_metrics(mask, mask, tolerance=0)
    assert metrics.dice == metrics.iou == 1
    assert metrics.missed_lesions == metrics.false_lesions == 0
    if mask.any():
        assert metrics.precision == metrics.recall == metrics.nsd == 1
        assert metrics.hd95 == 0


@quick
@given(sizes, st.data())
def test_pooled_counts_score_like_one_large_case(size: tuple[int, int], data: st.DataObject) -> None:
    cases = [(data.draw(arrays(bool, size)), data.draw(arrays(bool, size))) for _ in range(3)]
    scored = [case_metrics(*case) for case in cases]
    large = case_metrics(*(np.concatenate(masks) for masks in zip(*cases, strict=True)))
    pooled = overlap(*(sum(getattr(m, n) for m in scored) for n in ("intersection", "predicted", "annotated")))
    assert (pooled or (1, 1)) == (large.dice, large.iou)


@pytest.mark.parametrize(
    ("prediction", "target", "tolerance", "words"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4), bool), 2, "prediction is an array of float64"),
        (np.zeros((4, 4), bool), np.zeros((1, 4, 4), bool), 2, r"target .* shape \(1, 4, 4\)"),
        (np.zeros((4, 4), bool), np.zeros((4, 5), bool), 2, "back to the size"),
        (np.zeros((0, 4), bool), np.zeros((0, 4), bool), 2, r"shape \(0, 4\)"),
        (np.zeros((4, 4), bool), np.zeros((4, 4), bool), -1, "tolerance is -1"),
        (np.zeros((4, 4), bool), np.zeros((4, 4), bool), math.nan, "tolerance is nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    prediction: np.ndarray, target: np.ndarray, tolerance: float, words: str
) -> None:
    with pytest.raises(SyndiffError, match=words):
        case_metrics(prediction, target, tolerance=tolerance)
