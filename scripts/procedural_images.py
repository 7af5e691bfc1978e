"""Procedural images and masks that teach the compact autoencoder: nothing here was ever photographed.

Dead leaves (soft ellipses with gradients, painted over each other), band-limited noise, highlights and black frames,
half of them in the warm colours of tissue; masks of ellipses, thresholded noise and polygons.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]


def band_noise(rng: np.random.Generator, size: int, sigma: float) -> Array:
    """(size, size) Gaussian noise blurred by `sigma` pixels, scaled to unit standard deviation."""
    coarse = max(1, int(sigma / 2))  # blur a smaller map and enlarge it: the same spectrum, a fraction of the time
    small = -(-size // coarse) + 8
    field = ndimage.gaussian_filter(rng.standard_normal((small, small), dtype=np.float32), sigma / coarse)
    if coarse > 1:
        field = ndimage.zoom(field, coarse, order=1)
    field = field[:size, :size]
    return (field - field.mean()) / (field.std() + 1e-6)


def _colour(rng: np.random.Generator, warm: bool) -> Array:
    if not warm:
        return rng.uniform(0, 1, 3).astype(np.float32)
    red = rng.uniform(0.15, 1.0)
    green = red * rng.uniform(0.25, 0.9)
    return np.array([red, green, green * rng.uniform(0.5, 1.0)], dtype=np.float32)


def leaf(rng: np.random.Generator, size: int, radius: float) -> tuple[slice, slice, Array, Array, Array]:
    """One soft, bent ellipse: its window, its opacity in [0, 1] and its two local coordinates (h, w)."""
    centre_y, centre_x = rng.uniform(-0.1 * size, 1.1 * size, 2)
    reach = int(radius * 1.5) + 3
    rows, columns = (slice(*np.clip([int(c) - reach, int(c) + reach], 0, size)) for c in (centre_y, centre_x))
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(centre_y)
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(centre_x)
    angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (-np.sin(angle) * x + np.cos(angle) * y) / (radius * aspect) + rng.uniform(-0.4, 0.4) * u * u
    distance = np.sqrt(u * u + v * v)
    softness = max(0.35 / (radius * aspect), rng.choice([0.0, 0.02, 0.1, 0.4]) * rng.uniform(0.5, 1.5))
    return rows, columns, np.clip((1 - distance) / (2 * softness) + 0.5, 0, 1).astype(np.float32), u, v


def image(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8: one procedural picture."""
    warm = rng.random() < 0.6
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    slope = rng.uniform(-0.6, 0.6, 2)
    canvas = _colour(rng, warm) * (1 + slope[0] * y + slope[1] * x)[..., None]
    largest = rng.uniform(0.1, 0.5) * size
    for radius in sorted((largest * rng.random(int(rng.integers(5, 90))) ** 2 + 1.5), reverse=True):
        rows, columns, opacity, u, v = leaf(rng, size, radius)
        if opacity.size == 0:
            continue
        tint = _colour(rng, warm) if rng.random() < 0.6 else canvas[rows, columns].mean((0, 1)) * rng.uniform(0.6, 1.5)
        shading = 1 + rng.uniform(-0.5, 0.5) * u + rng.uniform(-0.5, 0.5) * v - rng.uniform(0, 0.4) * (u * u + v * v)
        opacity = opacity[..., None] * rng.choice([1.0, rng.uniform(0.2, 1.0)])
        canvas[rows, columns] += opacity * (tint * shading[..., None] - canvas[rows, columns])
    for _ in range(int(rng.integers(1, 4))):
        strength = rng.uniform(0.0, 0.12) * rng.choice([0.3, 1.0])
        canvas *= 1 + strength * band_noise(rng, size, float(np.exp(rng.uniform(-0.5, 3.5))))[..., None]
    if rng.random() < 0.6:  # highlights: the brightest spots of a noise field, white
        field = band_noise(rng, size, rng.uniform(1, 4))
        canvas += np.clip((field - rng.uniform(2.0, 3.2)) * rng.uniform(0.5, 3), 0, 1)[..., None]
    canvas += rng.normal(0, rng.uniform(0, 0.02), canvas.shape).astype(np.float32)
    if rng.random() < 0.5:
        canvas = ndimage.gaussian_filter(canvas, (*(2 * [rng.uniform(0.3, 1.5)]), 0))
    canvas = np.clip(canvas, 0, 1) ** rng.uniform(0.7, 1.6)
    if rng.random() < 0.2:  # the black surround of an endoscope's picture, sometimes with a small inset
        inside = np.maximum(np.abs(x + rng.uniform(-0.3, 0.3)), np.abs(y + rng.uniform(-0.3, 0.3)))
        canvas *= ((inside + rng.uniform(0, 0.4) * (np.abs(x) + np.abs(y))) < rng.uniform(0.35, 0.6))[..., None]
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def mask(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """(size, size) uint8 in {0, 255}: a blob, several objects, a polygon or thresholded noise; sometimes inverted."""
    kind = rng.integers(4)
    if kind == 0:
        field = band_noise(rng, size, float(np.exp(rng.uniform(1.0, 3.3))))
        inside = field > rng.uniform(-0.5, 2.0)
    elif kind == 1:
        count = int(rng.choice([1, 1, 2, 5, 20, 60]))
        inside = np.zeros((size, size), bool)
        for _ in range(count):
            rows, columns, opacity, *_ = leaf(rng, size, float(rng.uniform(2, 0.6 * size / np.sqrt(count) + 2)))
            inside[rows, columns] |= opacity > 0.5
    elif kind == 2:
        y, x = np.mgrid[0:size, 0:size].astype(np.float32)
        inside = np.ones((size, size), bool)
        centre = rng.uniform(0.2 * size, 0.8 * size, 2)
        for _ in range(int(rng.integers(3, 7))):
            angle = rng.uniform(0, 2 * np.pi)
            inside &= np.cos(angle) * (x - centre[0]) + np.sin(angle) * (y - centre[1]) < rng.uniform(0.05, 0.4) * size
    else:
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) - rng.uniform(0.2 * size, 0.8 * size, (2, 1, 1))
        radius = np.hypot(x, y) + rng.uniform(0, 8) * band_noise(rng, size, rng.uniform(2, 16))
        inside = radius < rng.uniform(3, 0.45 * size)
    return (inside ^ (rng.random() < 0.1)).astype(np.uint8) * 255
