"""What is measured of a lesion to hold new ones against real ones: size, shape, place, and contrast."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from syndiff.data.attributes import measure_lesion, measure_mask
from syndiff.data.masks import components, without_specks
from syndiff.synthesis.placement.contour import grown
from syndiff.synthesis.placement.field import FieldOfView, to_pixels


@dataclass(frozen=True, kw_only=True)
class LesionShape:
    """Size, shape and place of a lesion, all relative to the field of view, so that frames of any size compare.

    `area`: share of the view, in (0, 1]. `elongation`: ratio of the principal axes, 1 or more. `distance`: of the
    lesion's centre from the view's, in radii of the disc of the view's area. `edge`: share of the contour that lies on
    the edge of the view, from 0 (whole) to 1.
    """

    area: float
    elongation: float
    distance: float
    edge: float


@dataclass(frozen=True, kw_only=True)
class LesionMeasures(LesionShape):
    """With `contrast`: how far the median redness and lightness differ from the surroundings', in powers of two."""

    contrast: float

    def rounded(self) -> dict[str, float]:
        """For a file."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def measure_shape(lesion: NDArray[np.bool_], seen: FieldOfView) -> LesionShape:
    """Measure a lesion's mask (HxW, not empty) in a frame that shows what `seen` says."""
    shape = measure_mask(lesion)
    in_view = int(to_pixels(seen.field, seen.step, lesion.shape).sum())
    contour = lesion & grown(np.pad(~lesion, 1, constant_values=True))[1:-1, 1:-1]
    rim = to_pixels(seen.rim, seen.step, lesion.shape)
    height, width = lesion.shape
    offset = (
        shape.down * height / seen.step - 0.5 - seen.centre[0],
        shape.across * width / seen.step - 0.5 - seen.centre[1],
    )
    return LesionShape(
        area=min(1.0, float(lesion.sum()) / in_view),
        elongation=shape.elongation,
        distance=float(np.hypot(*offset)) / seen.radius,
        edge=float((contour & rim).sum() / contour.sum()),
    )


def measure_contrast(
    image: NDArray[np.uint8] | NDArray[np.uint16], lesion: NDArray[np.bool_], every: NDArray[np.bool_]
) -> float:
    """Contrast of a `lesion` (HxW) of a frame (HxWx3) to its surroundings; `every` (HxW) holds all lesions there."""
    found = measure_lesion(image, lesion, every)
    return float(np.hypot(found.redness, found.lightness))


def measure(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    lesions: NDArray[np.bool_],
    every: NDArray[np.bool_],
    seen: FieldOfView,
) -> list[LesionMeasures]:
    """Measure each connected lesion in `lesions` (HxW), specks left out; `every` (HxW) holds all of the frame."""
    labels, areas = components(lesions)
    found = []
    for label in without_specks(areas):
        lesion = labels == label
        shape = asdict(measure_shape(lesion, seen))
        found.append(LesionMeasures(**shape, contrast=measure_contrast(image, lesion, every)))
    return found
