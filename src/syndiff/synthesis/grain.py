"""Grain: what a camera puts into every pixel and a network or a warp leaves out of what it paints."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from syndiff.data.masks import bounding_box
from syndiff.synthesis.placement.contour import contour_distance

_REACH = 0.5
"""Width of the band around the mask whose grain is taken, in radii of the mask."""
_OCTAVES = ((2.0, 4.0), (1.0, 2.0), (0.0, 1.0))
"""Bands of grain from coarse to fine: what lies between Gaussians of so many pixels."""
_OUTLIER = 4.0
"""Standard deviations beyond which a residual is an edge or a highlight rather than grain."""


def match_grain(
    source: NDArray[np.uint8] | NDArray[np.uint16],
    painted: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    seed: int,
) -> NDArray[np.float32]:
    """`painted` (HxWx3 in [0, 1]) with as much grain inside `mask` (HxW) as `source` (HxWx3) has just outside it.

    The grain is noise drawn by `seed`, with the spectrum (the same in all directions, so that no edge becomes a streak)
    and the correlation of channels that the surroundings have. It is added octave by octave where the painting has too
    little, scaled so that the median absolute value inside becomes that outside. A network that paints at a lower
    resolution and a lesion that was turned and scaled are smoother than the frame, and a segmenter would learn that
    smooth means lesion. Nothing is taken away where there is grain enough, and nothing happens when there is nothing to
    take it from.
    """
    if not mask.any() or mask.all():
        return painted
    radius = np.sqrt(mask.sum() / np.pi)
    window = bounding_box(mask, int(np.ceil(max(8.0, radius))) + 2)
    frame = source[window].astype(np.float32) / np.float32(np.iinfo(source.dtype).max)
    inside, distance = mask[window], contour_distance(mask[window])
    core, ring = distance < -0.5, (distance > 0) & (distance <= max(6.0, _REACH * radius) - 0.5)
    if not core.any() or not ring.any():
        return painted
    residual = frame - _blurred(frame, _OCTAVES[0][1])
    limit = _OUTLIER * 1.4826 * np.median(np.abs(residual[ring]), axis=0).astype(np.float32)
    octaves = _noise_like(np.clip(residual, -limit, limit) * ring[..., None], seed)
    light = _light(frame)
    smooth = result = painted[window]
    for sigmas, texture in zip(_OCTAVES, octaves, strict=True):
        wanted = _amount(_band(light, sigmas)[ring])
        found = _amount(_band(_light(result), sigmas)[core])
        brought = _amount(_light(texture)[core])
        if found < wanted and brought > 0:  # not so for a painting with NaN, which is judged elsewhere
            result = result + texture * (inside * np.float32(np.sqrt(wanted**2 - found**2) / brought))[..., None]
    if result is smooth:
        return painted
    whole = painted.copy()
    whole[window] = np.clip(result, 0, 1)
    return whole


def _noise_like(picture: NDArray[np.float32], seed: int) -> Iterator[NDArray[np.float32]]:
    """The octaves of noise with the radial spectrum of a picture (hxwx3) and the covariance of its channels."""
    height, width = picture.shape[:2]
    shape = (fft.next_fast_len(height), fft.next_fast_len(width, real=True))
    rows, columns = fft.fftfreq(shape[0]).astype(np.float32)[:, None], fft.rfftfreq(shape[1]).astype(np.float32)
    radius = np.rint(np.hypot(rows, columns) * max(shape)).astype(np.intp)
    power = _light(np.abs(fft.rfft2(picture, shape, axes=(0, 1))) ** 2)
    radial = np.bincount(radius.ravel(), power.ravel()) / np.maximum(np.bincount(radius.ravel()), 1)
    values, vectors = np.linalg.eigh(np.cov(picture.reshape(-1, 3).T))
    root = ((vectors * np.sqrt(values.clip(min=0))) @ vectors.T).astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal((*shape, 3), np.float32) @ root
    spectrum = fft.rfft2(noise, axes=(0, 1)) * np.sqrt(radial).astype(np.float32)[radius][..., None]
    square = (2 * np.pi) ** 2 * (rows**2 + columns**2)
    for finer, coarser in _OCTAVES:
        band = np.exp(-(finer**2) * square / 2) - np.exp(-(coarser**2) * square / 2)
        yield fft.irfft2(spectrum * band[..., None], shape, axes=(0, 1))[:height, :width]


def _blurred(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A picture (hxw or hxwx3) under a Gaussian of `sigma` pixels."""
    if not sigma:
        return picture
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(picture, sigma, truncate=3, axes=(0, 1))
    return blurred


def _band(picture: NDArray[np.float32], sigmas: tuple[float, float]) -> NDArray[np.float32]:
    """What lies between two Gaussians in a picture (hxw)."""
    return _blurred(picture, sigmas[0]) - _blurred(picture, sigmas[1])


def _light(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the channels (hxwx3): hxw, many times faster than `mean` along the last axis."""
    return (picture[..., 0] + picture[..., 1] + picture[..., 2]) / np.float32(3)


def _amount(values: NDArray[np.float32]) -> float:
    """Median absolute value."""
    return float(np.median(np.abs(values)))
