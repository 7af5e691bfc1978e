"""A lesion with its surroundings, cut out once for all gates that look at pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from syndiff.data.masks import bounding_box
from syndiff.synthesis.placement.contour import contour_distance
from syndiff.synthesis.placement.field import FieldOfView, judge_view

LEAST = 24
"""Pixels that a mean over a part of the picture needs; with fewer, a score is not applicable."""


@dataclass(frozen=True, kw_only=True)
class GateInput:
    """A finished sample, or a real case looked at in the same way.

    `image` is what would be kept (HxWx3, uint8 or uint16), `label` its annotation (HxW), `lesion_mask` the
    lesion to judge alone and `inpaint_mask` where pixels were painted: the lesion and the margin around it.
    `case_id` seeds the noise of a diffusion segmenter. `seen` is what the frame shows, found in `image` if None.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    label: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_]
    inpaint_mask: NDArray[np.bool_]
    prompt: str = ""
    case_id: str = ""
    seen: FieldOfView | None = None


class Region:
    """The part of a sample that holds what was painted and a ring of half the lesion's radius around it.

    All arrays are hxw or hxwx3 on that part. Colours are shares of the part's 99th percentile, so that dark
    modalities and 12-bit data in 16 bits are judged alike. Inpainted pixels fade in over `feather` pixels
    inside the border, so that zone belongs neither to the inside nor to the ring.
    """

    def __init__(self, sample: GateInput, feather: float) -> None:
        self.sample, self.feather = sample, feather
        radius = float(np.sqrt(sample.lesion_mask.sum() / np.pi))
        self.reach = max(6.0, 0.5 * radius)
        self.window = bounding_box(sample.inpaint_mask, int(np.ceil(self.reach)) + 2)
        self.lesion, self.paint = sample.lesion_mask[self.window], sample.inpaint_mask[self.window]

    @cached_property
    def colour(self) -> NDArray[np.float32]:
        """The picture, 1 = its 99th percentile."""
        part = self.sample.image[self.window].astype(np.float32)
        return part / max(float(np.percentile(part[::2, ::2], 99)), 1.0)

    @cached_property
    def light(self) -> NDArray[np.float32]:
        """Mean of the three channels."""
        red, green, blue = (self.colour[..., channel] for channel in range(3))  # several times faster than mean()
        light: NDArray[np.float32] = (red + green + blue) / np.float32(3)
        return light

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Signed distance to the border of the inpainted area, in pixels: positive inside, ±0.5 beside the border."""
        return -contour_distance(self.paint)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Neither another lesion nor outside the field of view, nor at its edge: the black border is no seam."""
        foreign = (self.sample.label & ~self.sample.lesion_mask)[self.window]
        seen = self.sample.seen or judge_view(self.sample.image)
        rows, columns = (np.arange(foreign.shape[i]) + self.window[i].start for i in (0, 1))
        return (seen.field & ~seen.rim)[np.ix_(rows // seen.step, columns // seen.step)] & ~foreign

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """The lesion without the zone in which painting fades; the whole lesion where nothing else is left."""
        core = self.lesion & (self.depth > self.feather + 1)
        return core if core.sum() >= LEAST else self.lesion

    @cached_property
    def ring(self) -> NDArray[np.bool_]:
        """The surroundings: up to half a radius from what was painted, a pixel away from it."""
        return (self.depth < -1.5) & (self.depth > -self.reach) & self.usable

    def halves(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Inside and ring, or None when one of them is too small to compare."""
        if min(self.inside.sum(), self.ring.sum()) < LEAST:
            return None
        return self.inside, self.ring
