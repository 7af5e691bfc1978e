"""The surface of the colon as one periodic texture: tone, redness, vessels, grain, stool, bubbles, mucus."""

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from syndiff.data.phantom.noise import TILE, Floats, shifted

CHANNELS = ("tone", "red", "vessel", "slope_u", "slope_v", "debris", "bubble", "film")


def make_mucosa(rng: np.random.Generator) -> Floats:
    """A random surface (len(CHANNELS), TILE, TILE); rows go round the tube, columns along it, both wrap."""
    cloud, broad = shifted("cloud", rng), shifted("broad", rng)
    medium, fine, tiny = (shifted(name, rng) for name in ("medium", "fine", "tiny"))
    debris = _debris(rng, medium, fine) if rng.random() < 0.45 else np.zeros_like(cloud)
    bubble, dome = _bubbles(rng) if rng.random() < 0.4 else (np.zeros_like(cloud), np.zeros_like(cloud))
    height = (
        0.3 * fine
        + 0.45 * tiny * np.clip(0.7 + 0.6 * broad, 0, 2)
        + rng.uniform(0.3, 1.0) * medium
        + 5 * debris * (1 + 0.4 * fine)
        + 6 * dome
    )
    slope_u = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * 0.5
    slope_v = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * 0.5
    film = np.clip((shifted("broad", rng) + 0.5 * cloud - rng.uniform(0.9, 2.2)) * 1.5, 0, 1)
    patches = np.clip(broad - 0.9, 0, None) + 0.5 * np.clip(medium - 1.2, 0, None)
    vessel = _vessels(rng) * np.clip(0.7 + 0.5 * shifted("broad", rng), 0, 1.3)
    tone = 0.7 * cloud + 0.3 * medium + 0.2 * fine
    return np.stack([tone, patches + 0.25 * cloud, vessel, slope_u, slope_v, debris, bubble, film])


def _vessels(rng: np.random.Generator) -> Floats:
    """Branching lines, thinner with every branching, 0 to about 1."""
    canvas = Image.new("L", (TILE, TILE))
    draw = ImageDraw.Draw(canvas)
    growing = [(*rng.uniform(0, TILE, 2), rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.6)) for _ in range(22)]
    drawn = 0
    while growing and drawn < 1100:
        x, y, way, thick = growing.pop()
        for _ in range(rng.integers(4, 14)):
            way += rng.normal(0, 0.28)
            to_x, to_y = x + 9 * np.cos(way), y + 9 * np.sin(way)
            ink = int(min(255, 70 + 60 * thick))
            back_x, back_y = to_x % TILE - to_x, to_y % TILE - to_y
            width = max(1, round(thick))
            draw.line((x, y, to_x, to_y), fill=ink, width=width)
            if back_x or back_y:  # across the edge, to the other side
                draw.line((x + back_x, y + back_y, to_x + back_x, to_y + back_y), fill=ink, width=width)
            x, y = to_x + back_x, to_y + back_y
            drawn += 1
        if thick > 0.7:
            spread = rng.uniform(0.3, 0.8)
            growing.insert(0, (x, y, way + spread, thick * 0.8))
            growing.insert(0, (x, y, way - spread, thick * 0.65))
    return gaussian_filter(np.asarray(canvas, np.float32) / 140, 0.8, mode="wrap")


def _debris(rng: np.random.Generator, medium: Floats, fine: Floats) -> Floats:
    """A few clots of stool, 0 to 1, with ragged edges."""
    field = np.zeros((TILE, TILE), np.float32)
    for _ in range(rng.integers(4, 22)):
        radius = rng.uniform(5, 26)
        patch, y, x = _patch(rng, radius)
        field[patch] = np.maximum(field[patch], 1.6 - np.hypot(y, x * rng.uniform(0.6, 1.5)) * 1.6)
    ragged = field + (0.35 * medium + 0.2 * fine) * (field > 0)
    return np.clip(ragged * 2.5, 0, 1)


def _bubbles(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Clusters of bubbles: bright rims (-1 to 1) and the domes that catch the light."""
    rim = np.zeros((TILE, TILE), np.float32)
    dome = np.zeros((TILE, TILE), np.float32)
    for _ in range(rng.integers(2, 8)):
        middle = rng.uniform(0, TILE, 2)
        for _ in range(rng.integers(3, 24)):
            radius = rng.uniform(2.5, 5) * rng.uniform(1, 2.4)
            patch, y, x = _patch(rng, radius, middle + rng.normal(0, 22, 2))
            out = np.hypot(y, x)
            inside = out < 1
            rim[patch] = np.where(inside, np.exp(-(((out - 0.85) / 0.13) ** 2)) - 0.25, rim[patch])
            dome[patch] = np.where(inside, np.sqrt(np.maximum(1 - out**2, 0)) * radius / 8, dome[patch])
    return gaussian_filter(rim, 0.6, mode="wrap"), dome


def _patch(rng: np.random.Generator, radius: float, middle: Floats | None = None) -> tuple[tuple, Floats, Floats]:
    """Wrapping indices of a square about a point, and the coordinates in it in units of `radius`."""
    middle = rng.uniform(0, TILE, 2) if middle is None else middle
    half = int(radius * 1.8) + 2
    start = np.floor(middle).astype(int)
    span = np.arange(-half, half + 1)
    y = ((span + start[0] - middle[0]) / radius)[:, None].astype(np.float32)
    x = ((span + start[1] - middle[1]) / radius)[None, :].astype(np.float32)
    return np.ix_((span + start[0]) % TILE, (span + start[1]) % TILE), y, x
