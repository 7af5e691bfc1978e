"""The lesions of a mask: its connected components, which of them are specks, and where they lie."""

import numpy as np
from numpy.typing import NDArray

MIN_PIXELS = 16
"""A lesion of fewer pixels is a speck."""

_MIN_SHARE = 1 / 20  # of the mask's largest lesion
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The connected components of a mask (HxW): labels (HxW), 0 background and 1 to n, and their n areas in pixels.

    Pixels that touch at a corner are one lesion (8 neighbours): an contour drawn by hand is often joined by no more.
    """
    from scipy import ndimage  # half a second, which a single prediction does without

    labels = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labels, np.zeros(0, np.int64)
    window = bounding_box(mask)  # a lesion is often a hundredth of the frame
    labels[window], _ = ndimage.label(mask[window], _EIGHT_NEIGHBOURS)
    return labels, np.bincount(labels[window].ravel())[1:]


def count_components(mask: NDArray[np.bool_]) -> int:
    """How many `components` a mask (HxW) has, without the time that SciPy takes to be imported.

    Joins the runs of neighbouring rows that touch, at a corner too; each join of two that were apart is one less.
    """
    if not mask.any():
        return 0
    mask = mask[bounding_box(mask)]
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]  # the first column behind a run
    stride = mask.shape[1] + 2
    first = np.searchsorted(row * stride + end, (row + 1) * stride + start, "left")
    last = np.searchsorted(row * stride + start, (row + 1) * stride + end, "right")
    count, parent = len(row), list(range(len(row)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = run = parent[parent[run]]
        return run

    for run, (begin, stop) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for below in range(begin, stop):
            one, other = root(run), root(below)
            if one != other:
                parent[other], count = one, count - 1
    return count


def without_specks(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the `components` that are no specks, given the areas of all of them.

    A speck has fewer than `MIN_PIXELS`, or less than a twentieth of the largest: what a pencil or a brush leaves
    behind beside a lesion.
    """
    return 1 + np.flatnonzero(areas >= max(MIN_PIXELS, areas.max(initial=0) * _MIN_SHARE))


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of the `components` of a mask (HxW), the first of equals; empty when the mask is."""
    labels, areas = components(mask)
    return labels == 1 + np.argmax(areas) if len(areas) else np.zeros_like(mask)


def bounding_box(mask: NDArray[np.bool_], pad: int = 0) -> tuple[slice, slice]:
    """Rows and columns that hold a mask (HxW, not empty) and `pad` pixels around it, within the frame."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(int(rows[0]) - pad, 0), int(rows[-1]) + 1 + pad),
        slice(max(int(columns[0]) - pad, 0), int(columns[-1]) + 1 + pad),
    )
