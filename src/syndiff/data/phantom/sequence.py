"""A sequence: one colon, its polyps, and a camera that drifts through it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter, minimum_filter

from syndiff.data.phantom.caption import describe
from syndiff.data.phantom.colon import Colon, View, cast, lens, make_colon, turn
from syndiff.data.phantom.lesion import SHAPES, Lesion, make_lesion
from syndiff.data.phantom.mucosa import make_mucosa
from syndiff.data.phantom.noise import Floats
from syndiff.data.phantom.shading import Scene, find, make_appearance, photograph

FIELD = 0.95  # radians from the middle of the picture to its upper edge
SKETCH = 48  # lines of the coarse picture that polyps are placed and measured in
SMALLEST, LARGEST = 0.01, 0.20  # of the frame's area


@dataclass(frozen=True)
class Frame:
    """One picture: `image` HxWx3 uint8 RGB, `mask` HxW True on the visible polyps, and a sentence about them."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    caption: str


def render_sequence(seed: int, group: int, frames: int, height: int, width: int) -> list[Frame]:
    """The first `frames` frames of sequence `group` of phantom `seed`; more frames continue the same motion."""
    rng = np.random.default_rng([seed, group])
    window = make_window(rng, height, width)
    appearance, colon, mucosa = make_appearance(rng), make_colon(rng), make_mucosa(rng)
    motion = make_motion(rng)
    scene = Scene(colon, mucosa, appearance, place_lesions(rng, colon, motion, width / height))
    rays = lens(height, width, height / 2, FIELD)[:, window.ravel() > 0]
    sequence = []
    for index in range(frames):
        noise = np.random.default_rng([seed, group, index + 1])
        image, owner, shiny = photograph(scene, *motion.pose(index), rays, window, noise)
        sequence.append(Frame(image, owner > 0, describe(scene.lesions, owner, shiny, window > 0.5)))
    return sequence


@dataclass(frozen=True)
class Motion:
    """A camera that sways about a pose: rows z, yaw, pitch, roll; columns middle, amplitude, speed, phase."""

    swing: NDArray[np.float64]

    def pose(self, index: float) -> tuple[float, Floats]:
        """Depth along the tube and rotation (3, 3) at frame `index`."""
        middle, amplitude, speed, phase = self.swing.T
        z, yaw, pitch, roll = middle + amplitude * np.sin(speed * index + phase)
        return float(z), turn(yaw, pitch, roll)


def make_motion(rng: np.random.Generator) -> Motion:
    """Somewhere near the start of the tube, looking up to 45 degrees off its axis."""
    aside, way = 0.95 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    middle = [rng.uniform(-0.2, 0.2), aside * np.cos(way), aside * np.sin(way), rng.uniform(-np.pi, np.pi)]
    amplitude = rng.uniform([0.04, 0.04, 0.04, 0.03], [0.16, 0.15, 0.15, 0.2])
    return Motion(np.stack([middle, amplitude, rng.uniform(0.25, 0.6, 4), rng.uniform(0, 6.28, 4)], axis=1))


def place_lesions(rng: np.random.Generator, colon: Colon, motion: Motion, aspect: float) -> tuple[Lesion, ...]:
    """One polyp, or two, that stay in view as the camera sways and cover about the wanted share of the frame."""
    width = round(SKETCH * aspect)
    rays = lens(SKETCH, width, SKETCH / 2, FIELD)
    views = [cast(colon, *motion.pose(index), rays) for index in (0, 4, 9)]
    lesions: tuple[Lesion, ...] = ()
    for number in range(1 + (rng.random() < 0.2)):
        best: tuple[float, Lesion] | None = None
        largest = LARGEST if number == 0 else 0.05
        wanted = float(rng.uniform(np.sqrt(1.4 * SMALLEST), np.sqrt(0.8 * largest)) ** 2)
        for _ in range(6):
            lesion = _candidate(rng, views[0], rays, wanted)
            area = float(_survey((*lesions, lesion), views[:1], rays)[0][0, number])
            lesion = lesion.scaled(float(np.clip(np.sqrt(wanted / (area + 0.002)), 0.5, 1.6)))
            areas, pieces = _survey((*lesions, lesion), views, rays)
            worst = float(np.abs(np.log((areas[:, number] + 1e-4) / wanted)).max())
            if areas.sum(axis=1).max() > LARGEST * 1.05:
                worst += 1
            worst += np.abs(pieces - number - 1).max()
            if best is None or worst < best[0]:
                best = (worst, lesion)
            if worst < 0.5:
                break
        assert best is not None
        lesions = (*lesions, best[1])
    return lesions


def _candidate(rng: np.random.Generator, view: View, rays: Floats, wanted: float) -> Lesion:
    points = view.points(view.distance)
    off_axis = np.arccos(np.clip(rays[2], -1, 1)) / FIELD
    facing = -(view.normal * view.direction).sum(0)
    size = np.sqrt(wanted / np.pi * 1.2) * 2 * FIELD * view.distance
    depth = view.distance.reshape(SKETCH, -1)
    broken = (maximum_filter(depth, 7) - minimum_filter(depth, 7)).ravel() > 0.5 * view.distance  # by a fold
    good = ~broken & (off_axis < 0.75) & (view.distance > 0.45) & (view.distance < 2.2) & (size < 0.6) & (facing > 0.2)
    choice = np.flatnonzero(good) if good.any() else np.flatnonzero(off_axis < 0.75)
    at = rng.choice(choice)
    shape = SHAPES[rng.choice(len(SHAPES), p=(0.4, 0.25, 0.17, 0.18))]
    return make_lesion(rng, shape, points[:, at], view.normal[:, at], float(size[at]))


def _survey(lesions: tuple[Lesion, ...], views: list[View], rays: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Share of the picture that each polyp covers in each view (views, lesions), and separate pieces (views,)."""
    inside = rays[2] > np.cos(1.05 * FIELD)
    areas, pieces = [], []
    for view in views:
        owner = find(lesions, view).owner * inside
        areas.append([(owner == k + 1).mean() for k in range(len(lesions))])
        pieces.append(label(owner.reshape(SKETCH, -1))[1])
    return np.array(areas, np.float32), np.array(pieces)


def make_window(rng: np.random.Generator, height: int, width: int) -> Floats:
    """What the endoscope shows of the frame (height, width), from 0 (black) to 1: a square with cut corners."""
    half = height / 2
    y = np.abs(np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None] / half
    x = np.abs(np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] / half
    tall, wide = rng.uniform(0.93, 0.995), min(rng.uniform(0.95, 1.15), 0.98 * width / height)
    if rng.random() < 0.65:
        outside = np.maximum(np.maximum(y - tall, x - wide), (x + y - rng.uniform(1.35, 1.6)) / np.sqrt(2))
    else:
        power = rng.uniform(2.5, 6)
        outside = ((x / wide) ** power + (y / tall) ** power) ** (1 / power) - 1
    return np.clip(0.5 - outside * half / 1.6, 0, 1).astype(np.float32)
