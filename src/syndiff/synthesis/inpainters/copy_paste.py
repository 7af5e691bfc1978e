"""A real training lesion blended seamlessly into another frame: the control arm of augmentation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.masks import bounding_box
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.harmonic import harmonic


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
        return [seamless(to_unit(r.image), r.donor(), r.mask) for r in requests]


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
    offset = harmonic((target[crop] - donor[crop]).astype(np.float64), inside)
    result[crop][inside] = np.clip(donor[crop][inside] + offset, 0, 1)
    return result
