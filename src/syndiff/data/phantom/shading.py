"""From what the rays meet to a picture: the colour of tissue, the lamp, wet highlights, the endoscope's optics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter, uniform_filter1d

from syndiff.data.phantom.colon import Colon, View, cast, unit
from syndiff.data.phantom.lesion import Hits, Lesion, trace
from syndiff.data.phantom.noise import TILE, Floats, bilinear

PALETTE = np.array([[0.93, 0.47, 0.34], [0.94, 0.60, 0.42], [0.90, 0.65, 0.42], [0.90, 0.60, 0.48]], np.float32)
STOOL = np.array([0.84, 0.53, 0.18], np.float32)
BLOOD = np.array([0.58, 0.22, 0.17], np.float32)
GLARE = np.array([1.0, 0.90, 0.76], np.float32)
TEXELS = np.float32(TILE / (2 * np.pi))  # of the surface texture per lumen radius


@dataclass(frozen=True)
class Appearance:
    """What a whole sequence shares of patient and instrument."""

    base: Floats  # (3,) albedo of the mucosa
    tone: float  # strength of light and dark mottling
    redness: float  # strength of reddish patches
    vessels: float  # visibility of vessels, 0 to 1
    grain: float  # unevenness of the wet surface
    wet: float  # width of the highlights
    lamp: Floats  # (3,) from the lens, in the camera's frame, lumen radii
    reach: float  # how far the lamp carries, lumen radii
    exposure: float
    warmth: Floats  # (3,) gain of the processor
    blur: float  # deviation of the optics' blur, pixels at 288 lines
    noise: float  # deviation of the sensor's noise, of full scale


def make_appearance(rng: np.random.Generator) -> Appearance:
    """A random patient and instrument."""
    mix = rng.dirichlet(np.full(len(PALETTE), 0.8))
    lamp = [rng.choice([-1, 1]) * rng.uniform(0.08, 0.2), rng.uniform(-0.12, 0.12), 0]
    return Appearance(
        base=(mix @ PALETTE * rng.uniform(0.9, 1.05)).astype(np.float32),
        tone=rng.uniform(0.05, 0.1),
        redness=rng.uniform(0.08, 0.28),
        vessels=rng.uniform(0.3, 1.0),
        grain=rng.uniform(0.08, 0.2),
        wet=rng.uniform(0.6, 1.3),
        lamp=np.array(lamp, np.float32),
        reach=rng.uniform(0.6, 1.3),
        exposure=rng.uniform(0.75, 1.2),
        warmth=np.array([1, rng.uniform(0.93, 1.03), rng.uniform(0.85, 1.05)], np.float32),
        blur=rng.uniform(0.55, 0.95),
        noise=rng.uniform(0.004, 0.010),
    )


@dataclass(frozen=True)
class Scene:
    """Everything that does not change while the camera moves."""

    colon: Colon
    mucosa: Floats
    appearance: Appearance
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True)
class Surface:
    """What n rays meet of wall and polyps."""

    distance: Floats  # (n,)
    normal: Floats  # (3, n)
    owner: NDArray[np.uint8]  # (n,) index + 1 of the polyp, 0 on the wall
    hits: tuple[Hits, ...]  # what is seen of each polyp


def find(lesions: Sequence[Lesion], view: View) -> Surface:
    """The nearest of wall and polyps along each ray."""
    distance, normal = view.distance.copy(), view.normal.copy()
    owner = np.zeros(distance.size, np.uint8)
    seen = []
    for number, lesion in enumerate(lesions, start=1):
        hits = trace(lesion, view)
        hits = hits.where(hits.distance <= distance[hits.rays])
        distance[hits.rays] = hits.distance
        normal[:, hits.rays] = hits.normal
        owner[hits.rays] = np.where(hits.belongs > 0.5, number, owner[hits.rays])
        seen.append(hits)
    return Surface(distance, normal, owner, tuple(seen))


def photograph(
    scene: Scene, z: float, rotation: Floats, rays: Floats, window: Floats, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Image (H, W, 3), the polyp each pixel shows (H, W), index + 1 or 0, and where highlights are (H, W).

    `rays` (3, n) belong to the n pixels of `window` (H, W) that are above 0, in the order of reading.
    """
    view = cast(scene.colon, z, rotation, rays)
    surface = find(scene.lesions, view)
    albedo, normal = _tissue(scene, view, surface)
    lamp = rotation @ scene.appearance.lamp + np.array([0, 0, z], np.float32)
    seen = window > 0
    light, shine = _light(scene.appearance, lamp, view, surface, normal, seen)
    colour = _develop(scene.appearance, albedo, light, shine)

    image = np.zeros((3, *window.shape), np.float32)
    image.reshape(3, -1)[:, np.flatnonzero(seen)] = colour
    if rng.random() < 0.3:
        uniform_filter1d(image, int(rng.integers(2, 6)), axis=int(rng.integers(1, 3)), output=image)
    grain = rng.standard_normal(window.shape, dtype=np.float32) * np.float32(scene.appearance.noise)
    for channel, column in zip(image, (0, 11, 23), strict=True):  # the same grain, far enough apart to look independent
        gaussian_filter(channel, scene.appearance.blur * window.shape[0] / 288, truncate=2.5, output=channel)
        channel += np.roll(grain, column, axis=1)
    image = image * window + np.float32(0.03) * (1 - window)
    pixels = (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0)

    owner = np.zeros(window.shape, np.uint8)
    owner[seen] = surface.owner
    owner[window <= 0.5] = 0
    shiny = np.zeros(window.shape, np.bool_)
    shiny[seen] = shine > 0.5
    return np.ascontiguousarray(pixels), owner, shiny


def _tissue(scene: Scene, view: View, surface: Surface) -> tuple[Floats, Floats]:
    """Albedo (3, n), and the normals with the grain of the wet surface, (3, n)."""
    appearance, mucosa = scene.appearance, scene.mucosa
    points = view.points(surface.distance)
    sample = bilinear(mucosa, view.theta * TEXELS, points[2] * TEXELS)
    tone, red, vessel, slope_u, slope_v, debris, bubble, film = sample
    hollow = view.hollow.copy()
    tint = np.ones_like(points)
    for lesion, hits in zip(scene.lesions, surface.hits, strict=True):
        rays = hits.rays
        place = hits.local * np.float32(lesion.size)
        u = lesion.texture_at[0] * TILE + (place[0] + 0.4 * place[2]) * TEXELS
        v = lesion.texture_at[1] * TILE + (place[1] - 0.3 * place[2]) * TEXELS
        coarse, fine = bilinear(mucosa, u, v), bilinear(mucosa, 2.1 * u, 2.1 * v)
        share = np.clip((hits.belongs - 0.15) / 0.7, 0, 1)
        rough = np.float32(lesion.roughness)
        tone[rays] += (coarse[0] + 0.5 * rough * fine[0] - tone[rays]) * share
        red[rays] += (coarse[1] - red[rays]) * share
        vessel[rays] += (lesion.vessels * coarse[2] - vessel[rays]) * share
        slope_u[rays] += (rough * (0.6 * coarse[3] + 1.4 * fine[3]) - slope_u[rays]) * share
        slope_v[rays] += (rough * (0.6 * coarse[4] + 1.4 * fine[4]) - slope_v[rays]) * share
        tint[:, rays] += (lesion.tint[:, None] - tint[:, rays]) * share
        for cover in (debris, bubble, film, hollow):
            cover[rays] *= 1 - share
    fade = np.float32(appearance.grain) / (1 + 0.6 * surface.distance)
    normal = surface.normal.copy()
    normal[0] += fade * slope_u * view.radial[1]
    normal[1] -= fade * slope_u * view.radial[0]
    normal[2] -= fade * slope_v
    unit(normal)

    albedo = appearance.base[:, None] * tint * (1 + appearance.tone * tone - 0.25 * np.clip(hollow, -0.5, 0.5))
    redness = np.clip(appearance.redness * red, -0.1, 0.28)
    albedo[1] *= (1 - redness) * (1 - 0.1 * film)
    albedo[2] *= (1 - 0.8 * redness) * (1 - 0.35 * film)
    albedo += (BLOOD[:, None] - albedo) * np.clip(appearance.vessels * vessel, 0, 0.85)
    albedo += (STOOL[:, None] * (0.9 + 0.3 * tone) - albedo) * debris
    albedo += np.float32(0.25) * bubble
    return albedo, normal


def _light(
    appearance: Appearance, lamp: Floats, view: View, surface: Surface, normal: Floats, seen: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Diffuse light and highlights, (n,) each."""
    points = view.points(surface.distance)
    to_lamp = lamp[:, None] - points
    squared = np.einsum("kn,kn->n", to_lamp, to_lamp)
    to_lamp /= np.sqrt(squared)
    facing = np.maximum((np.einsum("kn,kn->n", normal, to_lamp) + 0.5) / 1.5, 0)
    falloff = 1 / (0.15 + squared / np.float32(appearance.reach**2))
    light = (0.92 * facing + 0.08) * falloff * _openness(surface.distance, seen)
    light *= np.clip(4 * np.sqrt(points[0] ** 2 + points[1] ** 2), 0.05, 1)  # where the tube's bend closes the view
    light *= np.float32(1.25 * appearance.exposure / np.quantile(light[::7], 0.75))
    half = unit(to_lamp - view.direction)
    width = np.float32(0.005 * appearance.wet)
    shine = np.clip((np.einsum("kn,kn->n", normal, half) - 1 + width) / width * 1.8, 0, 1) ** 1.5
    return light, shine * np.clip(2.2 * falloff - 0.15, 0, 1)


def _openness(distance: Floats, seen: NDArray[np.bool_]) -> Floats:
    """How much of the surroundings' light reaches a pixel (n,): less just behind something nearer."""
    size = max(3, round(0.16 * seen.shape[0]))
    depth = np.zeros(seen.shape, np.float32)
    depth[seen] = distance
    near = uniform_filter(depth, size)[seen] / uniform_filter(seen.astype(np.float32), size)[seen]
    gap = np.maximum(distance / near - 1, 0)
    return 1 - np.float32(3.0) * gap * np.exp(-3 * gap)  # a far background is not darkened


def _develop(appearance: Appearance, albedo: Floats, light: Floats, shine: Floats) -> Floats:
    """Display values (3, n) in [0, 1]: what is dim turns red, what is bright turns white."""
    bright = (1 - np.exp(-1.4 * light)) ** np.float32(1 / 1.5)
    image = albedo * bright * appearance.warmth[:, None]
    glare = np.float32(0.75) * (1 - np.exp(-np.maximum(light - 1.2, 0) * 0.45))
    image += (GLARE[:, None] - image) * glare
    image += (1 - image) * shine
    return image
