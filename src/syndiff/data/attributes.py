"""What a caption says of a lesion, measured: size, shape, place, colour in its surroundings, imaging conditions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.masks import bounding_box
from syndiff.errors import SyndiffError

_DIAGONAL = 480  # pixels; larger frames are measured at about this size, or sharpness would depend on the export
_RING = 0.4, 0.03  # width of the surroundings: of the lesion's radius, and at least this share of the diagonal
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class MaskAttributes:
    """What the mask alone says.

    `area`: share of the frame, in (0, 1]. `elongation`: ratio of the principal axes, 1 or more. `across` and
    `down`: the centre, from 0 (left, top) to 1 (right, bottom).
    """

    area: float
    elongation: float
    across: float
    down: float


@dataclass(frozen=True, kw_only=True)
class FrameAttributes:
    """Imaging conditions, measured around the lesion: they are the same before and after it is painted.

    `sharpness`: mean strength of detail finer than 1 pixel relative to detail of 1 to 3 pixels, at a diagonal
    of about 480 pixels; independent of brightness and contrast, and raised by noise. `brightness`: median luma in
    [0, 1] of the type's range.
    """

    sharpness: float
    brightness: float


@dataclass(frozen=True, kw_only=True)
class LesionAttributes(MaskAttributes, FrameAttributes):
    """Everything a caption can say of a lesion.

    Differences between the medians of the lesion and of its surroundings, in powers of two, so that they do not
    depend on the gain: `redness` of red / green, `lightness` of luma; `contrast` is the size of the latter.
    """

    redness: float
    lightness: float

    @property
    def contrast(self) -> float:
        """How far the lesion is lighter or darker than its surroundings, 0 or more."""
        return abs(self.lightness)


def measure_mask(lesion: NDArray[np.bool_]) -> MaskAttributes:
    """Measure a lesion's mask (HxW, whole frame). Raises SyndiffError when it is empty."""
    rows, columns = np.nonzero(lesion)
    if not rows.size:
        raise SyndiffError("The mask holds no lesion, so there is nothing to measure; give a mask with foreground.")
    height, width = lesion.shape
    # a pixel has a width too: the variance of a uniform distribution over it
    shortest, longest = np.linalg.eigvalsh(np.cov(rows, columns, bias=True) + np.eye(2) / 12)
    return MaskAttributes(
        area=rows.size / lesion.size,
        elongation=max(1.0, float(np.sqrt(longest / shortest))),
        across=float((columns.mean() + 0.5) / width),
        down=float((rows.mean() + 0.5) / height),
    )


def measure_frame(
    image: NDArray[np.uint8] | NDArray[np.uint16], lesion: NDArray[np.bool_], every: NDArray[np.bool_] | None = None
) -> FrameAttributes:
    """Measure the imaging conditions around `lesion` (HxW, not empty) in a frame (HxWx3).

    `every` (HxW) holds all lesions of the frame; they are left out.
    """
    return _View(image, lesion, every).conditions()


def measure_lesion(
    image: NDArray[np.uint8] | NDArray[np.uint16], lesion: NDArray[np.bool_], every: NDArray[np.bool_]
) -> LesionAttributes:
    """Measure one `lesion` (HxW, not empty) of a real case (HxWx3); `every` (HxW) holds all lesions of the frame.

    A lesion that fills the frame has no surroundings: its differences are 0, the conditions are its own.
    Raises SyndiffError when the lesion's mask is empty.
    """
    shape = measure_mask(lesion)
    view = _View(image, lesion, every)
    redness, lightness = view.differences()
    return LesionAttributes(**vars(shape), **vars(view.conditions()), redness=redness, lightness=lightness)


class _View:
    """A lesion with its surroundings, cut out and reduced."""

    def __init__(self, image: NDArray, lesion: NDArray[np.bool_], every: NDArray[np.bool_] | None) -> None:
        diagonal = float(np.hypot(*lesion.shape))
        width = max(_RING[0] * float(np.sqrt(lesion.sum() / np.pi)), _RING[1] * diagonal, 3.0)
        step = max(1, round(diagonal / _DIAGONAL))
        rows, columns = bounding_box(lesion)
        pad = int(np.ceil(width)) + 4 * step
        crop = tuple(
            # from whole blocks on, or another crop of the same frame would be reduced differently
            slice(max(side.start - pad, 0) // step * step, side.stop + pad)
            for side in (rows, columns)
        )
        self.rgb = _reduce(image[crop], step) / np.float32(np.iinfo(image.dtype).max)
        self.luma = self.rgb @ _LUMA
        share = _reduce(lesion[crop], step)
        foreign = share if every is None else _reduce((every | lesion)[crop], step)
        self.inside = share >= min(0.5, share.max())
        self.outside = ~_grown(foreign > 0, 1)  # pixels at a border may be mixed
        if not self.outside.any():
            self.outside = np.ones_like(self.inside)
            self.white, self.around = self._white(), np.zeros_like(self.inside)
            return
        self.white = self._white()
        ring = self.outside & _grown(share > 0, round(width / step) + 1)
        # the black border is no surrounding, unless all of it is black, as between fluorescent nuclei
        lit = self.luma > 0.05 * self.white
        if (ring & lit).sum() > 0.25 * ring.sum():
            self.outside &= lit
        self.around = ring & self.outside

    def _white(self) -> float:
        return max(float(np.percentile(self.luma[self.outside], 99)), 1e-6)

    def conditions(self) -> FrameAttributes:
        where = self.around if self.around.any() else self.outside
        known = self.outside.astype(np.float32)

        def smooth(sigma: float) -> NDArray[np.float32]:
            """The light without the lesions and the border, whose edges say nothing of the focus."""
            light, weight = (
                ndimage.gaussian_filter(values, sigma, mode="nearest") for values in (self.luma * known, known)
            )
            return light / np.maximum(weight, 1e-6)

        slightly, strongly = smooth(1.0), smooth(3.0)
        fine = float(np.abs(self.luma - slightly)[where].mean())
        coarse = float(np.abs(slightly - strongly)[where].mean())
        flat = 1e-4 * self.white  # rounding, not detail
        return FrameAttributes(
            sharpness=fine / coarse if coarse > flat else 0.0, brightness=float(np.median(self.luma[where]))
        )

    def differences(self) -> tuple[float, float]:
        """Of redness and of lightness, lesion against surroundings, in powers of two."""
        if not self.around.any():
            return 0.0, 0.0
        floor = 0.02 * self.white  # black is like black
        red, green = self.rgb[..., 0] + floor, self.rgb[..., 1] + floor
        redness, lightness = (
            float(np.median(values[self.inside]) - np.median(values[self.around]))
            for values in (np.log2(red / green), np.log2(self.luma + floor))
        )
        return redness, lightness


def _reduce(values: NDArray, step: int) -> NDArray[np.float32]:
    """Means over blocks of `step` x `step` pixels; blocks at the lower and the right edge may be smaller."""
    reduced: NDArray[np.float32] = values.astype(np.float32)
    for axis in (0, 1) if step > 1 else ():
        length = reduced.shape[axis]
        starts = np.arange(0, length, step)
        counts = np.diff(np.append(starts, length)).astype(np.float32)
        shape = [-1 if axis == other else 1 for other in range(reduced.ndim)]
        sums = np.add.reduceat(reduced, starts, axis=axis)
        reduced = (sums / counts.reshape(shape)).astype(np.float32)
    return reduced


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The mask and all within `by` pixels of it, corners included: much faster than by true distance."""
    grown: NDArray[np.uint8] = ndimage.maximum_filter(mask.view(np.uint8), 2 * by + 1)
    return grown > 0
