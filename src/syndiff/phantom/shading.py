"""The colour of tissue, the lamp and the wet highlights."""

from dataclasses import dataclass

import numpy as np

from syndiff.phantom.colon import Camera, Colon, unit
from syndiff.phantom.lesion import Polyp
from syndiff.phantom.mucosa import Mucosa
from syndiff.phantom.noise import TILE, Floats
from syndiff.phantom.tracing import Surface

PALETTE = np.array([[0.93, 0.47, 0.34], [0.94, 0.60, 0.42], [0.90, 0.65, 0.42], [0.90, 0.60, 0.48]], np.float32)
STOOL = np.array([0.84, 0.53, 0.18], np.float32)
BLOOD = np.array([0.58, 0.22, 0.17], np.float32)
GLARE = np.array([1.0, 0.90, 0.76], np.float32)
TEXELS = np.float32(TILE / (2 * np.pi))  # of the surface texture per lumen radius


@dataclass(frozen=True)
class Appearance:
    """What a whole sequence shares of patient and instrument."""

    base: Floats  # (3,) display colour of well lit mucosa
    tone: float  # strength of light and dark mottling
    redness: float  # strength of reddish patches
    vessels: float  # visibility of vessels
    grain: float  # unevenness of the wet surface
    wet: float  # width of the highlights
    lamp: Floats  # (3,) from the lens, in the camera's frame, lumen radii
    reach: float  # how far the lamp carries, lumen radii
    exposure: float
    warmth: Floats  # (3,) gain of the video processor
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
    """Everything that stays while the camera moves."""

    colon: Colon
    mucosa: Mucosa
    appearance: Appearance
    lesions: tuple[Polyp, ...]


def tissue(scene: Scene, view: Camera, surface: Surface) -> tuple[Floats, Floats]:
    """Display colour (3, n) in full light, and normals (3, n) with the grain of the surface."""
    appearance, mucosa = scene.appearance, scene.mucosa
    along = view.direction[2] * surface.distance + np.float32(view.z)
    sample = mucosa.sample(view.theta * TEXELS, along * TEXELS)
    tone, red, vessel, slope_u, slope_v, debris, bubble, film = sample
    hollow = np.clip(view.hollow, -0.5, 0.5)
    tint = np.ones((3, tone.size), np.float32)
    for lesion, hits in zip(scene.lesions, surface.hits, strict=True):
        hits = hits.where(hits.belongs > 0.15)
        rays = hits.rays
        place = hits.local * np.float32(lesion.size)
        u = lesion.texture_at[0] * TILE + (place[0] + 0.4 * place[2]) * TEXELS
        v = lesion.texture_at[1] * TILE + (place[1] - 0.3 * place[2]) * TEXELS
        own, fine = mucosa.sample(u, v), mucosa.sample(2.1 * u, 2.1 * v)
        rough = np.float32(lesion.roughness)
        own[0] += 0.5 * rough * fine[0]
        own[2] *= np.float32(lesion.vessels)
        own[3:5] = rough * (0.6 * own[3:5] + 1.4 * fine[3:5])
        own[5:] = 0
        share = np.minimum((hits.belongs - 0.15) / 0.7, 1)
        sample[:, rays] += (own - sample[:, rays]) * share
        tint[:, rays] += (lesion.tint[:, None] - tint[:, rays]) * share
        hollow[rays] *= 1 - share

    relief = np.float32(appearance.grain) / (1 + 0.6 * surface.distance)
    slope_u *= relief
    slope_v *= relief
    normal = surface.normal.copy()
    normal[0] += slope_u * view.radial[1]
    normal[1] -= slope_u * view.radial[0]
    normal[2] -= slope_v

    colour = tint * appearance.base[:, None] * (1 + appearance.tone * tone - 0.25 * hollow)
    redness = np.clip(appearance.redness * red, -0.1, 0.28)
    colour[1] *= (1 - redness) * (1 - 0.1 * film)
    colour[2] *= (1 - 0.8 * redness) * (1 - 0.35 * film)
    colour += (BLOOD[:, None] - colour) * np.clip(appearance.vessels * vessel, 0, 0.85)
    if debris.any():
        colour += (STOOL[:, None] * (0.9 + 0.3 * tone) - colour) * debris
    if bubble.any():
        colour += np.float32(0.25) * bubble
    return colour, unit(normal)


def light(
    appearance: Appearance, lamp: Floats, points: Floats, toward: Floats, normal: Floats
) -> tuple[Floats, Floats]:
    """Light (n,) on surface `points` (3, n) seen along `toward` (3, n), and highlights (n,) from 0 to 1."""
    to_lamp = lamp[:, None] - points
    squared = np.einsum("kn,kn->n", to_lamp, to_lamp)
    to_lamp /= np.sqrt(squared)
    facing = np.maximum((np.einsum("kn,kn->n", normal, to_lamp) + 0.5) / 1.5, 0)  # tissue glows round corners
    falloff = 1 / (0.15 + squared / np.float32(appearance.reach**2))
    closing = np.clip(9 * (points[0] ** 2 + points[1] ** 2), 0.03, 1)  # where the tube's bend ends the view
    half = unit(to_lamp - toward)
    width = np.float32(0.005 * appearance.wet)
    shine = np.clip((np.einsum("kn,kn->n", normal, half) - 1 + width) / width * 1.8, 0, 1)
    shine *= np.sqrt(shine) * np.clip(2.2 * falloff - 0.15, 0, 1)
    return (0.92 * facing + 0.08) * falloff * closing, shine


def develop(appearance: Appearance, colour: Floats, light: Floats, shine: Floats) -> Floats:
    """Display values (3, n) in [0, 1] of lit tissue; near the lamp it pales."""
    bright = (1 - np.exp(-1.4 * light)) ** np.float32(1 / 1.5)
    image = colour * (bright * appearance.warmth[:, None])
    glare = np.float32(0.75) * (1 - np.exp(-0.45 * np.maximum(light - 1.2, 0)))
    image += (GLARE[:, None] - image) * glare
    image += (1 - image) * shine
    return image
