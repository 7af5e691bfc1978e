"""A real training lesion blended seamlessly into another frame: the control arm of augmentation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from syndiff.data.masks import bounding_box
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.view_edge import carried_on
from syndiff.synthesis.placement.contour import grown
from syndiff.synthesis.placement.field import judge_view, to_pixels


class CopyPaste:
    """Gradient-domain blending (Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003).

    Inside the mask the result has the lesion's gradients; on the mask's border it meets the frame exactly.
    A band of the lesion's own surroundings is taken along (the margin), so that the border to be matched is
    mucosa against mucosa and the lesion keeps its contrast.
    """

    name = "copy_paste"
    capabilities = Capabilities(margin=0.25, copies=True, libraries=("scipy",))

    def check_prompt(self, text: str) -> None:
        """Any prompt will do: it is recorded, not read."""

    @property
    def seen(self) -> Seen:
        """It has learned nothing."""
        return Seen()

    def describe(self) -> dict[str, Any]:
        """Name the backend; it has no weights."""
        settings = {"margin": self.capabilities.margin, "blending": "poisson"}
        nothing: dict[str, Any] = {"model": None, "revision": None, "hash": None, "learned_from": []}
        return {"name": self.name, **nothing, "settings": settings}

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Blend the donor of each request into its frame."""
        return [_blended(request) for request in requests]


def _blended(request: InpaintRequest) -> NDArray[np.float32]:
    """The donor in its frame; where the edge of the view cuts it off, only what is in view is blended with."""
    image, donor = to_unit(request.image), request.donor()
    if not request.mask.any():
        return image
    border = carried_on(image, donor, request.mask, _well_in_view(request.image))
    painted = seamless(border, donor, request.mask)
    return np.where(request.mask[..., None], painted, image)


def _well_in_view(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    """What of a frame (HxWx3) lies two cells off the edge of its view (HxW), where the picture is not dimmed by it."""
    seen = judge_view(image)
    return to_pixels(~grown(grown(seen.outside)), seen.step, image.shape[:2])


def seamless(target: NDArray[np.float32], donor: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `target` (HxWx3 in [0, 1]) with the gradients of `donor` (same shape) inside `mask` (HxW).

    The result is donor + h, where h is harmonic inside the mask and equals target - donor around it; its
    normal derivative is zero on the frame's edge, where nothing lies around. A mask without any surroundings
    (the whole frame) gives the donor. Values are clipped to [0, 1].
    """
    result = target.copy()
    if mask.all():
        return np.clip(donor, 0, 1)
    if not mask.any():
        return result
    crop = bounding_box(mask, 1)
    inside = mask[crop]
    offset = _harmonic((target[crop] - donor[crop]).astype(np.float64), inside)
    result[crop][inside] = np.clip(donor[crop][inside] + offset, 0, 1)
    return result


def _harmonic(border: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Solve the Laplace equation on the n pixels `inside` (hxw) with the values of `border` (hxwxC) around.

    Returns nxC. One sparse factorisation of the five-point stencil serves all channels.
    """
    count = int(inside.sum())
    number = np.cumsum(inside).reshape(inside.shape) - 1
    degree = np.zeros(count)
    known = np.zeros((count, border.shape[2]))
    rows, columns = [], []
    for here, there in _NEIGHBOURS:
        both = inside[here] & inside[there]
        rows.append(number[here][both])
        columns.append(number[there][both])
        at_border = inside[here] & ~inside[there]
        known[number[here][at_border]] += border[there][at_border]  # no pixel twice in one direction
        degree[number[here][inside[here]]] += 1
    links = (np.concatenate(rows), np.concatenate(columns))
    adjacency = sparse.coo_array((np.ones(len(links[0])), links), shape=(count, count))
    laplacian = (sparse.diags_array(degree) - adjacency).tocsc()
    # symmetric and diagonally dominant: no pivoting is needed, which makes the factors several times smaller
    factors = linalg.splu(laplacian, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factors.solve(known)


_FIRST, _LAST, _ALL = slice(None, -1), slice(1, None), slice(None)
_NEIGHBOURS = (
    ((_FIRST, _ALL), (_LAST, _ALL)),
    ((_LAST, _ALL), (_FIRST, _ALL)),
    ((_ALL, _FIRST), (_ALL, _LAST)),
    ((_ALL, _LAST), (_ALL, _FIRST)),
)
"""Every pixel that has a neighbour below, above, right and left, with that neighbour."""
