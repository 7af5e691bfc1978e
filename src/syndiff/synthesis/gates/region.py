"""A lesion with its surroundings, cut out once for all gates that look at pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.synthesis.field import field_of_view

LEAST = 24
"""Pixels that a mean over a part of the picture needs; with fewer, a score is not applicable."""


@dataclass(frozen=True, kw_only=True)
class GateInput:
    """A finished sample, or a real case looked at in the same way.

    `image` is what would be kept (HxWx3, uint8 or uint16), `label` its annotation (HxW), `lesion_mask` the
    lesion to judge alone and `paint_mask` where pixels were painted: the lesion and the margin around it.
    `case_id` seeds the noise of a diffusion segmenter.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    label: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_]
    paint_mask: NDArray[np.bool_]
    prompt: str = ""
    case_id: str = ""


class Region:
    """The part of a sample that holds what was painted and a ring of half the lesion's radius around it.

    All arrays are hxw or hxwx3 on that part. Colours are shares of the part's 99th percentile, so that dark
    modalities and 12-bit data in 16 bits are judged alike. Painted pixels fade in over `feather` pixels
    inside the border, so that zone belongs neither to the inside nor to the ring.
    """

    def __init__(self, sample: GateInput, feather: float) -> None:
        self.sample, self.feather = sample, feather
        radius = float(np.sqrt(sample.lesion_mask.sum() / np.pi))
        self.reach = max(6.0, 0.5 * radius)
        rows, columns = ndimage.find_objects(sample.paint_mask.astype(np.uint8))[0]
        pad = int(np.ceil(self.reach)) + 2
        self.window = (
            slice(max(rows.start - pad, 0), rows.stop + pad),
            slice(max(columns.start - pad, 0), columns.stop + pad),
        )
        self.lesion, self.paint = sample.lesion_mask[self.window], sample.paint_mask[self.window]

    @cached_property
    def colour(self) -> NDArray[np.float32]:
        """The picture, 1 = its 99th percentile."""
        part = self.sample.image[self.window].astype(np.float32)
        return part / max(float(np.percentile(part[::2, ::2], 99)), 1.0)

    @cached_property
    def light(self) -> NDArray[np.float32]:
        """Mean of the three channels."""
        return self.colour.mean(axis=2)

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Signed distance to the border of the painted area, in pixels: positive inside, ±0.5 beside the border."""
        rim = self.paint & ~ndimage.binary_erosion(self.paint, border_value=1)  # the frame's edge is no border
        distance = ndimage.distance_transform_edt(~rim) if rim.any() else np.full(rim.shape, float(sum(rim.shape)))
        return np.where(self.paint, distance + 0.5, 0.5 - distance).astype(np.float32)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Neither another lesion nor outside the field of view."""
        foreign = (self.sample.label & ~self.sample.lesion_mask)[self.window]
        step = max(1, max(self.sample.image.shape[:2]) // 128)  # as exact as a ring needs, and many times faster
        field = field_of_view(self.sample.image[::step, ::step])
        rows, columns = (np.arange(foreign.shape[i]) + self.window[i].start for i in (0, 1))
        return field[np.ix_(rows // step, columns // step)] & ~foreign

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
