"""The colon: a tube with folds around the camera's path, and what each camera ray meets of it.

Lengths are in units of the lumen's radius. The tube runs along +z; its wall is given by the distance
r(z, theta) from the camera's path, so a ray at an angle a off the path meets it where the cosine of the angle
at which the camera sees (r, z) first exceeds cos a. That makes exact occlusion by the folds a running maximum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from syndiff.phantom.noise import TILE, Floats, bilinear, noise_bank

ANGLES = 256
DEPTHS = 440
NEAREST_Z = -1.5
FARTHEST_Z = 13.0
STEP_Z = (FARTHEST_Z - NEAREST_Z) / (DEPTHS - 1)
BEHIND = 0.7  # lumen radii behind the camera that the widest rays can still see
RAY_STEPS = 256  # a power of two, for the bisection


@dataclass(frozen=True)
class Colon:
    """A wall: `radius` (ANGLES, DEPTHS) and `relief` (3, ANGLES, DEPTHS) = dr/dz, dr/dtheta, hollowness."""

    radius: Floats
    relief: Floats


def make_colon(rng: np.random.Generator) -> Colon:
    """A random stretch of colon: an eccentric, bending tube, three-cornered, crossed by crescent folds."""
    z = np.linspace(NEAREST_Z, FARTHEST_Z, DEPTHS, dtype=np.float32)[None, :]
    theta = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False, dtype=np.float32)[:, None]
    corner = rng.uniform(0, 2 * np.pi)
    tube = 1.0 + rng.uniform(0.02, 0.1) * np.cos(3 * (theta - corner) + 0.15 * z)
    tube += rng.uniform(0.02, 0.08) * np.sin(rng.uniform(0.5, 1.1) * z + rng.uniform(0, 6))
    tube -= _folds(rng, z, theta, corner)
    tube += rng.uniform(0.003, 0.010) * _undulation(rng, z, theta)
    tube = np.maximum(tube, 0.16)

    away = rng.uniform(0, 2 * np.pi)
    turn = rng.uniform(0, 2 * np.pi)
    offset = rng.uniform(0.05, 0.6)
    bend = rng.uniform(0.015, 0.12) * np.maximum(z - rng.uniform(0.5, 2.5), 0) ** 2
    centre_x = offset * np.cos(away) * np.exp(-np.maximum(z, 0) / 3) + bend * np.cos(turn)
    centre_y = offset * np.sin(away) * np.exp(-np.maximum(z, 0) / 3) + bend * np.sin(turn)
    along = centre_x * np.cos(theta) + centre_y * np.sin(theta)
    across = centre_x * np.sin(theta) - centre_y * np.cos(theta)
    inside = np.hypot(centre_x, centre_y) < tube
    radius = along + np.sqrt(np.maximum(tube**2 - across**2, 0))
    radius = np.where(inside, np.maximum(radius, 0.02), 0.02)
    least = np.clip(0.4 - 0.08 * np.maximum(z, 0), 0.02, 0.4)  # keeps the wall off the lens
    radius = np.hypot(np.maximum(radius - least, 0), least).astype(np.float32)

    slope_z = np.gradient(radius, STEP_Z, axis=1)
    wrapped = np.concatenate([radius[-1:], radius, radius[:1]])
    slope_theta = (wrapped[2:] - wrapped[:-2]) * (ANGLES / (4 * np.pi))
    window = 24
    padded = np.pad(radius, ((0, 0), (window, window)), mode="edge").cumsum(axis=1, dtype=np.float64)
    mean = (padded[:, 2 * window :] - padded[:, : -2 * window]) / (2 * window)
    hollow = radius - mean.astype(np.float32)
    return Colon(radius, np.stack([slope_z, slope_theta, hollow]).astype(np.float32))


def _folds(rng: np.random.Generator, z: Floats, theta: Floats, corner: float) -> Floats:
    """How far the haustral folds stand into the lumen at (theta, z)."""
    height = np.zeros((ANGLES, DEPTHS), np.float32)
    at = rng.uniform(-0.6, 0.5)
    while at < FARTHEST_Z:
        near = slice(*np.searchsorted(z[0], [at - 1.1, at + 1.1]))
        span = rng.uniform(0.9, 3.0)  # radians either side of the crescent's middle
        middle = corner + rng.integers(0, 3) * 2.094 + rng.normal(0, 0.35)
        distance = np.abs((theta - middle + np.pi) % (2 * np.pi) - np.pi)
        crescent = np.clip(1 - (distance / span) ** 2, 0, 1) ** 0.7
        wobble = rng.uniform(0.05, 0.4) * np.cos(theta - rng.uniform(0, 6))
        wobble += rng.uniform(0.02, 0.12) * np.cos(2 * theta - rng.uniform(0, 6))
        wobble += rng.uniform(0.0, 0.035) * np.cos(5 * theta - rng.uniform(0, 6))
        off = z[:, near] - at - wobble
        width = rng.uniform(0.07, 0.18)
        shape = np.exp(-((off / np.where(off < 0, 1.4 * width, width)) ** 2))
        height[:, near] += rng.uniform(0.14, 0.5) * crescent * shape
        at += rng.uniform(0.35, 1.2)
    return height


def _undulation(rng: np.random.Generator, z: Floats, theta: Floats) -> Floats:
    row = np.broadcast_to(theta * np.float32(TILE / (2 * np.pi)), (ANGLES, DEPTHS)).ravel()
    column = np.broadcast_to(z * np.float32(TILE / (2 * np.pi)), (ANGLES, DEPTHS)).ravel()
    column = column + np.float32(rng.uniform(0, TILE))
    return bilinear(noise_bank()["medium"][None], row, column)[0].reshape(ANGLES, DEPTHS)


@dataclass(frozen=True)
class Camera:
    """What n rays from the camera meet of the bare wall, in the tube's frame."""

    z: float  # of the camera, which is at x = y = 0
    direction: Floats  # (3, n)
    distance: Floats  # (n,)
    normal: Floats  # (3, n) towards the lumen
    hollow: Floats  # (n,) depth of the wall behind its neighbourhood along the tube
    theta: Floats  # (n,) angle round the tube
    radial: Floats  # (2, n) its cosine and sine

    def points(self, distance: Floats) -> Floats:
        """Where the rays have come after `distance` (n,): (3, n)."""
        points = self.direction * distance
        points[2] += np.float32(self.z)
        return points


def cast(colon: Colon, z: float, rotation: Floats, rays: Floats) -> Camera:
    """Trace camera rays (3, n) from (0, 0, z), turned by `rotation` (3, 3), to the wall."""
    direction = rotation.astype(np.float32) @ rays
    out = np.sqrt(direction[0] ** 2 + direction[1] ** 2) + np.float32(1e-6)
    theta = np.arctan2(direction[1], direction[0])
    horizon, far = _profile(colon, z)
    row = theta * np.float32(ANGLES / (2 * np.pi))
    floor = np.floor(row)
    part = row - floor
    here = (floor.astype(np.int32) % ANGLES) * RAY_STEPS
    beside = np.where(here + RAY_STEPS == horizon.size, 0, here + RAY_STEPS)

    def between(table: Floats, step: NDArray[np.int32]) -> Floats:
        low, high = table.take(here + step), table.take(beside + step)
        return low + (high - low) * part

    last = np.zeros(theta.size, np.int32)  # the last step along the tube that the ray still clears, by bisection
    stride = RAY_STEPS // 2
    while stride:
        last += (between(horizon, last + stride) < direction[2]) * np.int32(stride)
        stride //= 2
    last = np.minimum(last, RAY_STEPS - 2)
    clear, blocked = between(horizon, last), between(horizon, last + 1)
    share = np.clip((direction[2] - clear) / (blocked - clear + np.float32(1e-7)), 0, 1)
    near, beyond = between(far, last), between(far, last + 1)
    distance = near + (beyond - near) * share
    radial = direction[:2] / out
    column = np.clip((direction[2] * distance + (z - NEAREST_Z)) / np.float32(STEP_Z), 0, DEPTHS - 2)
    slope_z, slope_theta, hollow = bilinear(colon.relief, row, column)
    tilt = np.clip(slope_theta / np.maximum(out * distance, np.float32(0.05)), -3, 3)
    normal = np.stack([-radial[0] - radial[1] * tilt, -radial[1] + radial[0] * tilt, np.clip(slope_z, -4, 4)])
    return Camera(z, direction, distance, unit(normal), hollow, theta, radial)


def unit(vectors: Floats) -> Floats:
    """Vectors (3, n) brought to length one, in place."""
    vectors /= np.sqrt(np.einsum("kn,kn->n", vectors, vectors)) + np.float32(1e-6)
    return vectors


def _profile(colon: Colon, z: float) -> tuple[Floats, Floats]:
    """For each angle round the tube and step along it, flattened (ANGLES * RAY_STEPS,): the cosine of the
    widest angle off the path that is still open beyond this step, and how far the wall is from the camera there.
    """
    ahead = np.sinh(np.linspace(np.arcsinh(-BEHIND), np.arcsinh(FARTHEST_Z - 1), RAY_STEPS))  # denser nearby
    cell = np.clip((z + ahead - NEAREST_Z) / STEP_Z, 0, DEPTHS - 1.001)
    first = cell.astype(np.int32)
    part = (cell - first).astype(np.float32)
    radius = colon.radius[:, first] * (1 - part) + colon.radius[:, first + 1] * part
    along = ahead.astype(np.float32)[None, :]
    far = np.sqrt(radius**2 + along**2)
    return np.maximum.accumulate(along / far, axis=1).ravel(), far.ravel()


def turn(yaw: float, pitch: float, roll: float) -> Floats:
    """The rotation matrix (3, 3) from camera axes (x right, y down, z ahead) to the tube's axes; radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (about_y @ about_x @ about_z).astype(np.float32)
