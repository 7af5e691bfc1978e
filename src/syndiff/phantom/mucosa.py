"""The surface of the colon as one periodic texture: tone, redness, vessels, grain, stool, bubbles, mucus."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from syndiff.phantom.noise import TILE, Floats, corners, shifted

CHANNELS = ("tone", "red", "vessel", "slope_u", "slope_v", "debris", "bubble", "film")


LANES = 4  # channels in a word
SHARES = 16  # steps between two texels


@dataclass(frozen=True)
class Mucosa:
    """A texture of eight CHANNELS of 8 bits, four to a word of 16-bit lanes.

    Weights that add up to 256 cannot carry from one lane into the next, so four channels are interpolated by the
    arithmetic of one.
    """

    words: NDArray[np.uint64]  # (2, TILE * TILE); rows go round the tube, columns along it, both wrap
    low: Floats  # (8, 1) value of 0
    step: Floats  # (8, 1) value of one unit of the 16-bit lanes after weighting

    def sample(self, row: Floats, column: Floats) -> Floats:
        """The channels (8, n) at n fractional texels, interpolated."""
        places, down, across = corners(TILE, TILE, row, column)
        lower, right = (np.rint(share * SHARES).astype(np.uint64) for share in (down, across))
        upper, left = SHARES - lower, SHARES - right
        weights = upper * left, upper * right, lower * left, lower * right
        sampled = np.empty((len(CHANNELS), row.size), np.float32)
        for word, out in zip(self.words, (sampled[:LANES], sampled[LANES:]), strict=True):
            mixed = np.zeros(row.size, np.uint64)
            for place, weight in zip(places, weights, strict=True):
                mixed += word.take(place) * weight
            out[:] = mixed.view(np.uint16).reshape(-1, LANES).T
        sampled *= self.step
        sampled += self.low
        return sampled


def make_mucosa(rng: np.random.Generator) -> Mucosa:
    """A random surface."""
    cloud, broad = shifted("cloud", rng), shifted("broad", rng)
    medium, fine, tiny = (shifted(name, rng) for name in ("medium", "fine", "tiny"))
    nothing = np.zeros_like(cloud)
    debris = _debris(rng, medium, fine) if rng.random() < 0.35 else nothing
    bubble, dome = _bubbles(rng) if rng.random() < 0.4 else (nothing, nothing)
    grain = 0.3 * fine + 0.45 * tiny * np.clip(0.7 + 0.6 * broad, 0, 2) + rng.uniform(0.3, 1.0) * medium
    height = grain + 5 * debris * (1 + 0.4 * fine) + 6 * dome
    slope_u = np.roll(height, -1, 0) - np.roll(height, 1, 0)
    slope_v = np.roll(height, -1, 1) - np.roll(height, 1, 1)
    film: Floats = np.clip((shifted("broad", rng) + 0.5 * cloud - rng.uniform(0.9, 2.2)) * 1.5, 0, 1)
    patches = np.clip(broad - 0.9, 0, None) + 0.5 * np.clip(medium - 1.2, 0, None)
    vessel = _vessels(rng) * np.clip(0.7 + 0.5 * shifted("broad", rng), 0, 1.3)
    tone = 0.7 * cloud + 0.3 * medium + 0.2 * fine
    planes = (tone, patches + 0.25 * cloud, vessel, slope_u / 2, slope_v / 2, debris, bubble, film)
    return _pack(planes)


def _pack(planes: tuple[Floats, ...]) -> Mucosa:
    low = np.array([plane.min() for plane in planes], np.float32)
    high = np.array([plane.max() for plane in planes], np.float32)
    step = (high - low) / np.float32(255) + np.float32(1e-9)
    scale = 1 / step
    texels = np.empty((len(planes) // LANES, TILE, TILE, LANES), np.uint16)
    for channel, plane in enumerate(planes):
        texels[channel // LANES, :, :, channel % LANES] = (plane - low[channel]) * scale[channel] + np.float32(0.5)
    return Mucosa(texels.view(np.uint64).reshape(2, -1), low[:, None], step[:, None] * np.float32(SHARES**-2))


def _vessels(rng: np.random.Generator) -> Floats:
    """Branching lines, thinner with every branching, 0 to about 1."""
    canvas = Image.new("L", (TILE, TILE))
    draw = ImageDraw.Draw(canvas)
    growing = [(*rng.uniform(0, TILE, 2), rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.6)) for _ in range(22)]
    drawn = 0
    while growing and drawn < 900:
        x, y, way, thick = growing.pop()
        width, ink = max(1, round(thick)), int(min(255, 70 + 60 * thick))
        for bend in rng.normal(0, 0.28, rng.integers(4, 14)):
            way += bend
            to_x, to_y = x + 9 * np.cos(way), y + 9 * np.sin(way)
            draw.line((x, y, to_x, to_y), fill=ink, width=width)
            back_x, back_y = to_x % TILE - to_x, to_y % TILE - to_y
            if back_x or back_y:  # across the edge, to the other side
                draw.line((x + back_x, y + back_y, to_x + back_x, to_y + back_y), fill=ink, width=width)
            x, y = to_x + back_x, to_y + back_y
            drawn += 1
        if thick > 0.7:
            spread = rng.uniform(0.3, 0.8)
            growing.insert(0, (x, y, way + spread, thick * 0.8))
            growing.insert(0, (x, y, way - spread, thick * 0.65))
    lines: Floats = np.asarray(canvas, np.float32) / np.float32(140)
    gaussian_filter(lines, 0.8, mode="wrap", output=lines)
    return lines


def _debris(rng: np.random.Generator, medium: Floats, fine: Floats) -> Floats:
    """A few clots of stool, 0 to 1, with ragged edges."""
    field = np.zeros((TILE, TILE), np.float32)
    for _ in range(rng.integers(4, 20)):
        radius = rng.uniform(5, 22)
        patch, y, x = _patch(rng.uniform(0, TILE, 2), radius)
        field[patch] = np.maximum(field[patch], 1.6 - np.hypot(y, x * rng.uniform(0.6, 1.5)) * 1.6)
    ragged = field + (0.35 * medium + 0.2 * fine) * (field > 0)
    return np.clip(ragged * 2.5, 0, 1)


def _bubbles(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Clusters of bubbles: bright rims (-0.25 to 0.75) and the domes that catch the light."""
    rim = np.zeros((TILE, TILE), np.float32)
    dome = np.zeros((TILE, TILE), np.float32)
    for _ in range(rng.integers(2, 6)):
        middle = rng.uniform(0, TILE, 2)
        for _ in range(rng.integers(3, 18)):
            radius = rng.uniform(2, 4) * rng.uniform(1, 2.4)
            patch, y, x = _patch(middle + rng.normal(0, 18, 2), radius)
            out = np.hypot(y, x)
            inside = out < 1
            rim[patch] = np.where(inside, np.exp(-(((out - 0.85) / 0.13) ** 2)) - 0.25, rim[patch])
            dome[patch] = np.where(inside, np.sqrt(np.maximum(1 - out**2, 0)) * radius / 8, dome[patch])
    gaussian_filter(rim, 0.6, mode="wrap", output=rim)
    return rim, dome


Patch = tuple[NDArray[np.intp], ...]


def _patch(middle: NDArray[np.float64], radius: float) -> tuple[Patch, Floats, Floats]:
    """Wrapping indices of a square about a point, and the coordinates in it in units of `radius`."""
    start = np.floor(middle).astype(np.intp)
    span = np.arange(-int(radius * 1.8) - 2, int(radius * 1.8) + 3)
    y = ((span + start[0] - middle[0]) / radius)[:, None].astype(np.float32)
    x = ((span + start[1] - middle[1]) / radius)[None, :].astype(np.float32)
    return np.ix_((span + start[0]) % TILE, (span + start[1]) % TILE), y, x
