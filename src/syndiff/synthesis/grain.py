"""Grain: what a camera puts into every pixel and a network or a warp leaves out of what it paints."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.synthesis.outline import outline_distance, surroundings

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
    window = surroundings(mask, int(np.ceil(max(8.0, radius))) + 2)
    frame = source[window].astype(np.float32) / np.float32(np.iinfo(source.dtype).max)
    inside, distance = mask[window], outline_distance(mask[window])
    core, ring = distance < -0.5, (distance > 0) & (distance <= max(6.0, _REACH * radius) - 0.5)
    if not core.any() or not ring.any():
        return painted
    residual = _band(frame, (0.0, _OCTAVES[0][1]))
    limit = _OUTLIER * 1.4826 * np.median(np.abs(residual[ring]), axis=0).astype(np.float32)
    texture = _noise_like(np.clip(residual, -limit, limit) * ring[..., None], seed)
    smooth = result = painted[window]
    for sigmas in _OCTAVES:
        grain = _band(texture, sigmas) * inside[..., None]
        wanted = _amount(_band(_light(frame), sigmas)[ring])
        found = _amount(_band(_light(result), sigmas)[core])
        brought = _amount(_light(grain)[core])
        if found < wanted and brought > 0:  # not so for a painting with NaN, which is judged elsewhere
            result = result + grain * np.float32(np.sqrt(wanted**2 - found**2) / brought)
    if result is smooth:
        return painted
    whole = painted.copy()
    whole[window] = np.clip(result, 0, 1)
    return whole


def _noise_like(picture: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Noise with the radial spectrum of a picture (hxwx3) and the covariance of its channels."""
    shape = picture.shape[:2]
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    radius = np.rint(frequency * max(shape)).astype(np.intp)
    power = (np.abs(np.fft.rfft2(picture, axes=(0, 1))) ** 2).mean(axis=2)
    radial = np.bincount(radius.ravel(), power.ravel()) / np.maximum(np.bincount(radius.ravel()), 1)
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal(picture.shape), axes=(0, 1))
    texture = np.fft.irfft2(noise * np.sqrt(radial)[radius][..., None], s=shape, axes=(0, 1))
    values, vectors = np.linalg.eigh(np.cov(picture.reshape(-1, 3).T))
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return (texture @ root).astype(np.float32)


def _band(picture: NDArray[np.float32], sigmas: tuple[float, float]) -> NDArray[np.float32]:
    """What lies between two Gaussians in a picture (hxw or hxwx3)."""
    finer, coarser = (ndimage.gaussian_filter(picture, sigma, truncate=3, axes=(0, 1)) for sigma in sigmas)
    band: NDArray[np.float32] = finer - coarser
    return band


def _light(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the channels (hxwx3): hxw."""
    light: NDArray[np.float32] = picture.mean(axis=2)
    return light


def _amount(values: NDArray[np.float32]) -> float:
    """Median absolute value."""
    return float(np.median(np.abs(values)))
