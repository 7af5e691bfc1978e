"""Slices of a NIfTI volume as pictures: which numbers are black and white, and which way is up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_SHARES = (0.1, 99.9)  # per cent of the voxels
_SAMPLE = 2**20  # voxels that the range is taken from at most


class NoNumbers(Exception):
    """A volume without a finite number."""


@dataclass(frozen=True)
class Display:
    """What turns the stored numbers of a slice into HxWx3: uint8 for RGB and plain 8-bit voxels, else uint16.

    One range serves the whole volume, so that grey means the same in every slice. In this order: cal_min to cal_max of
    the header where it has them; 0 to 255 for uint8 without scaling; else from the 0.1 to the 99.9 percentile of all
    voxels (of every n-th one in a volume of more than a million). scl_slope and scl_inter come first. Numbers beyond
    the range become black or white, and what is no number black.
    """

    slope: float
    inter: float
    low: float
    high: float
    as_stored: bool

    @classmethod
    def of(cls, header: "Nifti1Header", slices: Callable[[], Iterator[NDArray]]) -> "Display":
        """The display of a volume; `slices` gives its stored slices, from the first one on, each time it is called."""
        kind = header.get_data_dtype()
        slope, inter = (float(header[name]) for name in ("scl_slope", "scl_inter"))
        if not np.isfinite(slope) or slope == 0:
            slope, inter = 1.0, 0.0
        elif not np.isfinite(inter):
            inter = 0.0
        low, high = float(header["cal_min"]), float(header["cal_max"])
        if kind.names:
            return cls(slope, inter, 0, 255, as_stored=True)
        if np.isfinite([low, high]).all() and low < high:
            return cls(slope, inter, low, high, as_stored=False)
        if kind == np.uint8 and (slope, inter) == (1, 0):
            return cls(slope, inter, 0, 255, as_stored=True)
        low, high = _percentiles(slices(), int(np.prod(header.get_data_shape(), dtype=object)))
        low, high = sorted((low * slope + inter, high * slope + inter))
        return cls(slope, inter, low, high, as_stored=False)

    def picture(self, stored: NDArray) -> NDArray:
        """A stored slice (a x b) as a picture (a x b x 3)."""
        if stored.dtype.names:
            return np.stack([stored[colour] for colour in ("R", "G", "B")], axis=-1)
        if not self.as_stored:
            with np.errstate(all="ignore"):  # numbers that are none, or overflow
                values = stored.astype(np.float64) * self.slope + self.inter
                unit = (values - self.low) / max(self.high - self.low, np.finfo(np.float64).tiny)
                stored = np.rint(np.clip(np.nan_to_num(unit, nan=0.0), 0, 1) * 65535).astype(np.uint16)
        return stored[..., None].repeat(3, axis=2)


@dataclass(frozen=True)
class Turn:
    """How a stored slice (first axis x second axis) becomes an upright picture (rows x columns), and back."""

    first_is_rows: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright(self, stored: NDArray) -> NDArray:
        """A stored slice (a x b, or a x b x 3) as rows x columns."""
        picture = stored if self.first_is_rows else stored.swapaxes(0, 1)
        return np.ascontiguousarray(self._flipped(picture))

    def stored(self, picture: NDArray) -> NDArray:
        """The way back: rows x columns as first x second axis."""
        picture = self._flipped(picture)
        return picture if self.first_is_rows else picture.swapaxes(0, 1)

    def _flipped(self, picture: NDArray) -> NDArray:
        return picture[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


def turn_of(header: "Nifti1Header") -> Turn:
    """The turn that shows slices as radiologists see them: the patient's right on the left, front or head at the top.

    A slice seen from the side has the front on the left. Without a code that says what the affine refers to, rows run
    along the second axis and columns along the first, as numbered.
    """
    from nibabel.orientations import aff2axcodes

    if not (int(header["qform_code"]) or int(header["sform_code"])):
        return Turn()
    first, second = aff2axcodes(header.get_best_affine())[:2]
    if first is None or second is None:
        return Turn()
    # columns run along left-right if that axis is in the plane, else along front-back
    first_is_columns = first in "LR" or (second not in "LR" and first in "AP")
    columns, rows = (first, second) if first_is_columns else (second, first)
    return Turn(not first_is_columns, flip_rows=rows in "AS", flip_columns=columns in "RA")


def _percentiles(slices: Iterator[NDArray], voxels: int) -> tuple[float, float]:
    """The stored numbers between which nearly all voxels lie. Raises NoNumbers where none is finite."""
    step = -(-voxels // _SAMPLE)
    parts, skip = [], 0
    for each in slices:
        flat = each.ravel(order="F")
        parts.append(flat[skip::step].astype(np.float64))
        skip = (skip - len(flat)) % step
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not values.size:
        raise NoNumbers
    low, high = np.percentile(values, _SHARES, overwrite_input=True)
    return float(low), float(high)
