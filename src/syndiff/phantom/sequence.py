"""A sequence: one colon, its polyps, and a camera that sways in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter, minimum_filter

from syndiff.phantom.caption import describe
from syndiff.phantom.colon import Camera, Colon, cast, make_colon, turn
from syndiff.phantom.lesion import Polyp, make_lesion
from syndiff.phantom.mucosa import make_mucosa
from syndiff.phantom.noise import Floats
from syndiff.phantom.optics import FIELD, lens, make_endoscope, photograph
from syndiff.phantom.shading import Scene, make_appearance
from syndiff.phantom.tracing import find

SKETCH = 32  # shorter side of the coarse picture that polyps are placed and measured in
SMALLEST, LARGEST = 0.015, 0.17  # of the frame's area that a polyp is meant to cover
MOST = 0.2  # that all polyps of a frame may cover


@dataclass(frozen=True)
class Frame:
    """One picture: `image` HxWx3 uint8 RGB, `mask` HxW True on the visible polyps, and a sentence about them.

    `window` (HxW) is what the endoscope shows of the frame.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    caption: str
    window: NDArray[np.bool_]


def render_sequence(seed: int, group: int, frames: int, height: int, width: int) -> list[Frame]:
    """The first `frames` frames of sequence `group` of phantom `seed`; more frames continue the same motion."""
    rng = np.random.default_rng([seed, group])
    endoscope, appearance = make_endoscope(rng, height, width), make_appearance(rng)
    colon, mucosa, motion = make_colon(rng), make_mucosa(rng), make_motion(rng)
    scene = Scene(colon, mucosa, appearance, place_lesions(rng, colon, motion, height / width))
    sequence = []
    for index in range(frames):
        own = np.random.default_rng([seed, group, index + 1])
        image, owner, shiny = photograph(scene, endoscope, *motion.pose(index), own)
        window = endoscope.window > 0.5
        caption = describe(scene.lesions, owner, shiny, window)
        sequence.append(Frame(image, owner > 0, caption, window))
    return sequence


@dataclass(frozen=True)
class Motion:
    """A camera that sways about a pose: rows z, yaw, pitch, roll; columns middle, amplitude, speed, phase."""

    swing: NDArray[np.float64]

    def pose(self, index: int) -> tuple[float, Floats]:
        """Depth along the tube and rotation (3, 3) at frame `index`."""
        middle, amplitude, speed, phase = self.swing.T
        z, yaw, pitch, roll = middle + amplitude * np.sin(speed * index + phase)
        return float(z), turn(yaw, pitch, roll)


def make_motion(rng: np.random.Generator) -> Motion:
    """Somewhere near the start of the tube, looking up to 55 degrees off its axis."""
    aside, way = 0.95 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    middle = [rng.uniform(-0.2, 0.2), aside * np.cos(way), aside * np.sin(way), rng.uniform(-np.pi, np.pi)]
    amplitude = rng.uniform([0.04, 0.04, 0.04, 0.03], [0.16, 0.15, 0.15, 0.2])
    return Motion(np.stack([middle, amplitude, rng.uniform(0.25, 0.6, 4), rng.uniform(0, 2 * np.pi, 4)], axis=1))


def place_lesions(rng: np.random.Generator, colon: Colon, motion: Motion, aspect: float) -> tuple[Polyp, ...]:
    """One polyp, or two, that stay in view as the camera sways and cover about the wanted share of the frame.

    `aspect` is the frame's height over its width. Candidates are tried in turn, and the first that is good enough
    is taken, or the best of them.
    """
    height, width = round(SKETCH * max(1.0, aspect)), round(SKETCH * max(1.0, 1 / aspect))
    rays = lens(height, width)
    views = [cast(colon, *motion.pose(index), rays) for index in (0, 4, 9)]
    lesions: tuple[Polyp, ...] = ()
    for number in range(1 + (rng.random() < 0.2)):
        largest = LARGEST if number == 0 else 0.04
        wanted = rng.uniform(np.sqrt(SMALLEST), np.sqrt(largest)) ** 2
        taken = find(lesions, views[0]).owner.reshape(height, width)
        best: tuple[float, Polyp] | None = None
        for _ in range(5):
            lesion = _candidate(rng, views[0], taken, wanted)
            area = _survey((*lesions, lesion), views[:1], (height, width))[0][0, number]
            lesion = lesion.scaled(float(np.clip(np.sqrt(wanted / (area + 0.002)), 0.5, 1.6)))
            areas, pieces = _survey((*lesions, lesion), views, (height, width))
            fault = float(np.abs(np.log((areas[:, number] + 1e-4) / wanted)).max())
            fault += float(np.abs(pieces - number - 1).max()) + (areas.sum(axis=1).max() > MOST)
            if best is None or fault < best[0]:
                best = fault, lesion
            if fault < 0.7:
                break
        assert best is not None
        lesions = (*lesions, best[1])
    return lesions


def _candidate(rng: np.random.Generator, view: Camera, taken: NDArray[np.uint8], wanted: float) -> Polyp:
    """A polyp at a random place that is in view, lit, not too oblique, not on the brink of a fold, not taken."""
    shape = taken.shape
    off_axis = np.arccos(np.clip(lens(*shape)[2], -1, 1)) / FIELD
    facing = -np.einsum("kn,kn->n", view.normal, view.direction)
    size = np.sqrt(1.2 * wanted * taken.size / np.pi) / (min(shape) / 2) * FIELD * view.distance
    depth = view.distance.reshape(shape)
    brink = (maximum_filter(depth, 5) - minimum_filter(depth, 5)).ravel() > 0.4 * view.distance
    central = (off_axis < 0.75) & (maximum_filter(taken, 9).ravel() == 0)
    good = central & ~brink & (view.distance > 0.45) & (view.distance < 2.2) & (size < 0.6) & (facing > 0.25)
    at = rng.choice(np.flatnonzero(good if good.any() else off_axis < 0.75))
    return make_lesion(rng, view.points(view.distance)[:, at], view.normal[:, at], float(size[at]))


def _survey(
    lesions: tuple[Polyp, ...], views: list[Camera], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Share of the picture that each polyp covers in each view (views, lesions), and separate pieces (views,)."""
    inside = lens(*shape)[2] > np.cos(1.05 * FIELD)
    areas, pieces = [], []
    for view in views:
        owner = find(lesions, view).owner * inside
        areas.append([np.mean(owner == number) for number in range(1, len(lesions) + 1)])
        pieces.append(label(owner.reshape(shape))[1])  # no part of a polyp is to hang by a corner: it counts apart
    return np.array(areas), np.array(pieces)
