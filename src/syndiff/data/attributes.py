"""What a caption says of a lesion, measured: size, shape, place, colour against its surroundings, imaging conditions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
        rows, columns = ndimage.find_objects(lesion.astype(np.uint8))[0]
        pad = int(np.ceil(width)) + 4 * step
        crop = (
            slice(max(rows.start - pad, 0), rows.stop + pad),
            slice(max(columns.start - pad, 0), columns.stop + pad),
        )
        self.rgb = _reduce(image[crop], step) / np.float32(np.iinfo(image.dtype).max)
        self.luma = self.rgb @ _LUMA
        self.white = max(float(np.percentile(self.luma, 99)), 1e-6)
        share = _reduce(lesion[crop], step)
        self.inside = share >= min(0.5, share.max())
        foreign = share > 0 if every is None else _reduce((every | lesion)[crop], step) > 0
        far = ndimage.distance_transform_edt(share == 0) if (share == 0).any() else np.zeros(share.shape)
        ring = (far > 1) & (far <= width / step + 1) & ~foreign
        # the black border is no surrounding, unless all of it is black, as between fluorescent nuclei
        lit = ring & (self.luma > 0.05 * self.white)
        self.around = lit if lit.sum() > 0.25 * ring.sum() else ring

    def conditions(self) -> FrameAttributes:
        where = self.around if self.around.any() else self.inside
        smooth = ndimage.gaussian_filter(self.luma, 1.0, mode="nearest")
        smoother = ndimage.gaussian_filter(self.luma, 3.0, mode="nearest")
        fine = float(np.abs(self.luma - smooth)[where].mean())
        coarse = float(np.abs(smooth - smoother)[where].mean())
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
    """Means (float32) over blocks of `step` x `step`; those at the lower and right edge may be smaller."""
    values = values.astype(np.float32)
    for axis in (0, 1) if step > 1 else ():
        length = values.shape[axis]
        starts = np.arange(0, length, step)
        counts = np.diff(np.append(starts, length)).astype(np.float32)
        values = np.add.reduceat(values, starts, axis=axis) / np.expand_dims(
            counts, tuple(other for other in range(values.ndim) if other != axis)
        )
    return values
