"""The endoscope: its lens, the window that it shows, and the photograph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter, uniform_filter1d

from syndiff.phantom.colon import cast
from syndiff.phantom.noise import Floats
from syndiff.phantom.shading import Appearance, Scene, develop, light, tissue
from syndiff.phantom.tracing import find

FIELD = 0.95  # radians from the middle of the picture to the nearer edges of the frame
BLACK = 0.03  # of full scale, outside the window


def lens(height: int, width: int) -> Floats:
    """Ray directions (3, height * width) of an equidistant lens: x right, y down, z ahead."""
    half = min(height, width) / 2
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None] / np.float32(half)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] / np.float32(half)
    out = np.sqrt(x * x + y * y) + np.float32(1e-6)
    scale = np.sin(out * FIELD) / out
    return np.stack([scale * x, scale * y, np.cos(out * FIELD)]).reshape(3, -1).astype(np.float32)


@dataclass(frozen=True)
class Endoscope:
    """A lens and the window of the frame that it fills."""

    window: Floats  # (height, width) from 0, black, to 1
    pixels: NDArray[np.intp]  # (n,) flat indices of the pixels above 0
    rays: Floats  # (3, n) their directions
    crowd: Floats  # (n,) share of such pixels in the neighbourhood

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (..., n) of the window's pixels laid out as pictures (..., height, width), 0 elsewhere."""
        picture = np.zeros((*values.shape[:-1], self.window.size), values.dtype)
        picture[..., self.pixels] = values
        return picture.reshape(*values.shape[:-1], *self.window.shape)

    def around(self, values: Floats) -> Floats:
        """The mean of values (n,) in each pixel's neighbourhood, a sixth of the frame wide."""
        return _mean(self.spread(values)).ravel()[self.pixels] / self.crowd


def _mean(picture: Floats) -> Floats:
    return uniform_filter(picture, max(3, round(0.16 * min(picture.shape))))


def make_endoscope(rng: np.random.Generator, height: int, width: int) -> Endoscope:
    """A random window: a square with cut corners or a rounded one."""
    half = min(height, width) / 2
    y = np.abs(np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None] / half
    x = np.abs(np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] / half
    short, long = rng.uniform(0.9, 0.98), rng.uniform(0.9, 1.1)
    long = min(long, 0.98 * max(height, width) / min(height, width))
    tall, wide = (long, short) if height > width else (short, long)
    if rng.random() < 0.65:
        outside = np.maximum(np.maximum(y - tall, x - wide), (x + y - rng.uniform(1.3, 1.55)) / np.sqrt(2))
    else:
        power = rng.uniform(2.5, 6)
        outside = ((x / wide) ** power + (y / tall) ** power) ** (1 / power) - 1
    window = np.clip(0.5 - outside * half / 1.6, 0, 1).astype(np.float32)
    pixels = np.flatnonzero(window)
    crowd = _mean((window > 0).astype(np.float32)).ravel()[pixels]
    return Endoscope(window, pixels, np.ascontiguousarray(lens(height, width)[:, pixels]), crowd)


def photograph(
    scene: Scene, endoscope: Endoscope, z: float, rotation: Floats, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """The scene from (0, 0, z), the camera turned by `rotation` (3, 3).

    Returns the image (H, W, 3), the polyp that each pixel shows (H, W), its index + 1 or 0, and where the
    highlights are (H, W).
    """
    view = cast(scene.colon, z, rotation, endoscope.rays)
    surface = find(scene.lesions, view)
    colour, normal = tissue(scene, view, surface)
    lamp = rotation @ scene.appearance.lamp + np.array([0, 0, z], np.float32)
    bright, shine = light(scene.appearance, lamp, view.points(surface.distance), view.direction, normal)
    gap = np.maximum(surface.distance / endoscope.around(surface.distance) - 1, 0)
    bright *= 1 - 3 * gap * np.exp(-3 * gap)  # dim just behind something nearer, but not far behind
    bright *= np.float32(1.25 * scene.appearance.exposure / np.quantile(bright[::7], 0.75))
    image = endoscope.spread(develop(scene.appearance, colour, bright, shine))
    shown = endoscope.window > 0.5
    owner, shiny = _settle(endoscope.spread(surface.owner)) * shown, endoscope.spread(shine > 0.5) & shown
    return _expose(scene.appearance, image, endoscope.window, rng), owner, shiny


def _settle(owner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel (H, W) to the polyp that has most of the 3 x 3 about it: a ray is a point, a pixel is not."""
    settled = np.zeros_like(owner)
    for number in range(1, int(owner.max()) + 1):
        settled[uniform_filter((owner == number).astype(np.float32), 3) > 0.5] = number
    return settled


def _expose(appearance: Appearance, image: Floats, window: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, sensor noise and the window's edge on an image (3, H, W), as bytes (H, W, 3)."""
    if rng.random() < 0.3:  # the camera moves
        uniform_filter1d(image, int(rng.integers(2, 6)), axis=int(rng.integers(1, 3)), output=image)
    noise = rng.standard_normal(window.shape, dtype=np.float32) * np.float32(appearance.noise)
    blur = appearance.blur * min(window.shape) / 288
    for channel, apart in zip(image, (0, 11, 23), strict=True):  # one noise, far enough apart to look like three
        gaussian_filter(channel, blur, truncate=2.5, output=channel)
        channel += np.roll(noise, apart, axis=1)
    image = BLACK + (image - BLACK) * window
    pixels = (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
