"""Grain: what a camera puts into every pixel and a network or a warp leaves out of what it paints."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
    smooth means lesion.
    Nothing is taken away where there is grain enough, and nothing happens when there is nothing to take it from.
    """
    if not mask.any() or mask.all():
        return painted
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    radius = np.sqrt(mask.sum() / np.pi)
    pad = int(np.ceil(max(8.0, radius))) + 2
    window = (slice(max(rows.start - pad, 0), rows.stop + pad), slice(max(columns.start - pad, 0), columns.stop + pad))
    frame = source[window].astype(np.float32) / np.float32(np.iinfo(source.dtype).max)
    inside = mask[window]
    core = ndimage.distance_transform_edt(inside) > 1
    ring = ~inside & (ndimage.distance_transform_edt(~inside) <= max(6.0, _REACH * radius))
    if not core.any() or not ring.any():
        return painted
    residual = _band(frame, (0.0, _OCTAVES[0][1]))
    limit = _OUTLIER * 1.4826 * np.median(np.abs(residual[ring]), axis=0).astype(np.float32)
    texture = _noise_like(np.clip(residual, -limit, limit) * ring[..., None], seed)
    smooth = result = painted[window]
    for sigmas in _OCTAVES:
        grain = _band(texture, sigmas) * inside[..., None]
        wanted, found, brought = (
            _amount(band) for band in (_band(frame, sigmas)[ring], _band(result, sigmas)[core], grain[core])
        )
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
    """What lies between two Gaussians in a picture (hxwx3)."""
    finer, coarser = (ndimage.gaussian_filter(picture, (sigma, sigma, 0), truncate=3) for sigma in sigmas)
    band: NDArray[np.float32] = finer - coarser
    return band


def _amount(band: NDArray[np.float32]) -> float:
    """Median absolute value of the light of pixels (nx3)."""
    return float(np.median(np.abs(band.mean(axis=1))))
