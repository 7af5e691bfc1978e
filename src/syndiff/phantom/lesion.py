"""Polyps: their kinds, and the smooth solids that they are."""

from dataclasses import dataclass, replace

import numpy as np

from syndiff.phantom.noise import Floats

SHAPES = ("sessile", "flat", "pedunculated", "lobulated")
SUNK = np.float32(0.5)  # how far a polyp reaches below the wall, lest it show on the far side of a fold
JOINT = np.float32(0.12)  # how widely its parts melt together


@dataclass(frozen=True)
class Polyp:
    """One polyp: where it stands, its solid in its own frame, and how it is coloured.

    The solid is an uneven union of ellipsoids, balls and a stalk, in units of `size`.
    """

    shape: str  # one of SHAPES
    anchor: Floats  # (3,) on the wall, in the tube's frame
    axes: Floats  # (3, 3), rows: two tangents of the wall and its normal
    size: float  # of one unit of the solid, in lumen radii
    ellipsoids: Floats  # (j, 6) centres and half-axes
    balls: Floats  # (k, 4) centres and radii
    stalk: float  # radius of the stem from the wall to the first ellipsoid, 0 for none
    warp: Floats  # (3, 3): amplitude, frequency, phase of the unevenness along each axis
    tint: Floats  # (3,) colour relative to the mucosa's
    roughness: float  # of its grain, 1 as the mucosa's
    vessels: float  # how far vessels show on it, 1 as on the mucosa
    texture_at: Floats  # (2,) where in the surface texture it lies, as a share of the texture

    def scaled(self, factor: float) -> "Polyp":
        """The same polyp, larger or smaller."""
        return replace(self, size=self.size * factor)

    def parts(self) -> Floats:
        """Spheres (n, 4) that hold the solid, but for its unevenness."""
        spheres = [*np.column_stack([self.ellipsoids[:, :3], self.ellipsoids[:, 3:].max(axis=1)]), *self.balls]
        if self.stalk:
            half = self.ellipsoids[0, :3] / 2
            spheres.append(np.append(half, np.linalg.norm(half)))
        return np.array(spheres, np.float32)

    def depth(self, at: Floats) -> Floats:
        """Distance (n,) of points (3, n) from the surface, negative inside; approximate, in units of `size`."""
        amplitude, frequency, phase = self.warp[:, :, None]
        at = at + amplitude * np.sin(frequency * at[[1, 2, 0]] + phase)
        whole = np.full(at.shape[1], 9, np.float32)
        for ellipsoid in self.ellipsoids[:, :, None]:  # after Quilez, "ellipsoid - distance bound"
            ray = (at - ellipsoid[:3]) / ellipsoid[3:]
            far = _length(ray)
            ray /= ellipsoid[3:]
            whole = _join(whole, far * (far - 1) / (_length(ray) + np.float32(1e-6)))
        for ball in self.balls[:, :, None]:
            whole = _join(whole, _length(at - ball[:3]) - ball[3])
        if self.stalk:
            top = self.ellipsoids[0, :3]
            share = np.clip((top @ at) / (top @ top), 0, 1)
            whole = _join(whole, _length(at - top[:, None] * share) - np.float32(self.stalk))
        return np.maximum(whole, -at[2] - SUNK)


def _length(vectors: Floats) -> Floats:
    return np.sqrt(np.einsum("kn,kn->n", vectors, vectors))


def _join(first: Floats, second: Floats) -> Floats:
    """Union of two solids given by distance, rounded where they meet (Quilez's polynomial minimum)."""
    overlap = np.maximum(JOINT - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap / (4 * JOINT)


def make_lesion(rng: np.random.Generator, anchor: Floats, normal: Floats, size: float) -> Polyp:
    """A random polyp at a point of the wall, about `size` lumen radii in radius."""
    shape = str(rng.choice(SHAPES, p=(0.4, 0.25, 0.17, 0.18)))
    ellipsoids, balls = _solid(rng, shape)
    tangent = np.cross(normal, rng.standard_normal(3))
    tangent /= np.linalg.norm(tangent)
    uneven = rng.uniform(0.08, 0.16) if shape == "flat" else rng.uniform(0.06, 0.15)
    warp = np.stack([np.full(3, uneven), rng.uniform(2.0, 4.5, 3), rng.uniform(0, 2 * np.pi, 3)])
    return Polyp(
        shape=shape,
        anchor=anchor.astype(np.float32),
        axes=np.stack([tangent, np.cross(normal, tangent), normal]).astype(np.float32),
        size=size,
        ellipsoids=np.array(ellipsoids, np.float32),
        balls=np.array(balls, np.float32).reshape(-1, 4),
        stalk=rng.uniform(0.2, 0.35) if shape == "pedunculated" else 0.0,
        warp=warp.astype(np.float32),
        tint=_tint(rng),
        roughness=rng.uniform(1.2 if shape == "flat" else 0.6, 2.2),
        vessels=rng.uniform(0.0, 0.3 if shape == "flat" else 1.0),
        texture_at=rng.random(2).astype(np.float32),
    )


def _solid(rng: np.random.Generator, shape: str) -> tuple[list[list[float]], list[list[float]]]:
    """Ellipsoids and balls of a kind of polyp, about 1 in radius."""
    long = rng.uniform(0.72, 1.0)
    if shape == "sessile":
        ellipsoids = [[0, 0, rng.uniform(0.1, 0.35), 1, long, rng.uniform(0.6, 0.9)]]
        outs = rng.uniform(0.35, 0.75, rng.integers(1, 4))
        return ellipsoids, [_around(rng, out, rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.6)) for out in outs]
    if shape == "flat":
        ellipsoids = [[0, 0, 0.02, 1, long, rng.uniform(0.34, 0.5)]]
        for _ in range(rng.integers(1, 4)):
            wide = rng.uniform(0.45, 0.7)
            ellipsoids.append([*_around(rng, 0.7, 0.02, wide), wide * long, rng.uniform(0.22, 0.36)])
        return ellipsoids, []
    if shape == "pedunculated":
        head = [*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.9, 1.5)]
        ellipsoids = [[*head, 0.85, 0.85 * long, rng.uniform(0.7, 1.0)]]
        sides = rng.normal(0, 0.35, (rng.integers(0, 3), 3)) + head
        return ellipsoids, [[*side, rng.uniform(0.4, 0.6)] for side in sides]
    outs = rng.uniform(0.3, 0.85, rng.integers(4, 7))
    balls = [_around(rng, out, 0.1 + rng.uniform(0.1, 0.75) * (1.1 - out), rng.uniform(0.28, 0.5)) for out in outs]
    return [[0, 0, 0.15, 0.75, 0.75 * long, 0.6]], balls


def _around(rng: np.random.Generator, out: float, high: float, radius: float) -> list[float]:
    """A ball somewhere round the polyp's middle."""
    way = rng.uniform(0, 2 * np.pi)
    return [out * np.cos(way), out * np.sin(way), high, radius]


def _tint(rng: np.random.Generator) -> Floats:
    kind = rng.random()
    if kind < 0.5:  # redder
        depth = rng.uniform(0.1, 0.26)
        tint = np.array([1.0, 1 - depth, 1 - 0.8 * depth]) * rng.uniform(0.85, 1.05)
    elif kind < 0.8:  # paler
        lift = rng.uniform(0.06, 0.2)
        tint = np.array([1.0 + 0.2 * lift, 1 + lift, 1 + 1.2 * lift])
    else:
        tint = rng.normal(1.0, 0.03, 3)
    return tint.astype(np.float32)
