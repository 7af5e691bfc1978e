"""Polyps: smooth solids that grow out of the wall, met by sphere tracing."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.data.phantom.colon import View, unit
from syndiff.data.phantom.noise import Floats

STEPS = 18
CAUTION = np.float32(0.85)  # of the distance to a polyp that a ray advances: the distance is approximate
MARGIN = np.float32(0.45)  # about a polyp's parts, for its foot and its unevenness, in its own units
FOOT = np.float32(0.5)  # how widely a polyp melts into the wall, in its own units
SUNK = np.float32(0.5)  # how far it reaches below the wall, lest it show on the far side of a fold
SHAPES = ("sessile", "flat", "pedunculated", "lobulated")


@dataclass(frozen=True)
class Lesion:
    """One polyp: where it stands, its solid in its own frame, and how it is coloured."""

    shape: str
    anchor: Floats  # (3,) on the wall
    axes: Floats  # (3, 3), rows: two tangents and the normal of the wall
    size: float  # length of one unit of the solid, in lumen radii
    blobs: Floats  # (k, 6): centres and half-axes of ellipsoids, in units of size
    stalk: float  # thickness of the stem to the first blob, 0 for none
    warp: Floats  # (3, 3): amplitude, frequency, phase of the unevenness along each axis
    tint: Floats  # (3,) albedo relative to the mucosa
    roughness: float  # of the surface's grain
    vessels: float  # how far vessels show on it, 1 as on the mucosa
    texture_at: Floats  # (2,) where in the surface texture it lies

    def scaled(self, factor: float) -> "Lesion":
        """The same polyp, larger or smaller."""
        return replace(self, size=self.size * factor)


def make_lesion(rng: np.random.Generator, shape: str, anchor: Floats, normal: Floats, size: float) -> Lesion:
    """A random polyp of one of SHAPES at a point of the wall, about `size` lumen radii in radius."""
    long = rng.uniform(0.72, 1.0)
    if shape == "sessile":
        blobs = [[0, 0, rng.uniform(0.1, 0.35), 1, long, rng.uniform(0.6, 0.9)]]
        for _ in range(rng.integers(1, 5)):
            way, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.75)
            nodule = rng.uniform(0.35, 0.6)
            blobs.append([out * np.cos(way), out * np.sin(way), rng.uniform(0.1, 0.5), nodule, nodule, nodule])
    elif shape == "flat":
        blobs = [[0, 0, 0.02, 1, long, rng.uniform(0.28, 0.42)]]
        for _ in range(rng.integers(1, 4)):
            way, wide = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.7)
            blobs.append([0.7 * np.cos(way), 0.7 * np.sin(way), 0.02, wide, wide * long, rng.uniform(0.18, 0.3)])
    elif shape == "pedunculated":
        lean = rng.uniform(-0.8, 0.8, 2)
        blobs = [[*lean, rng.uniform(0.9, 1.5), 0.85, 0.85 * long, rng.uniform(0.7, 1.0)]]
        for _ in range(rng.integers(0, 3)):
            aside, nodule = rng.normal(0, 0.35, 3), rng.uniform(0.4, 0.6)
            blobs.append([*(blobs[0][:3] + aside), nodule, nodule, nodule])
    else:
        blobs = [[0, 0, 0.15, 0.75, 0.75 * long, 0.6]]
        for _ in range(rng.integers(4, 7)):
            way, out, nodule = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.85), rng.uniform(0.28, 0.5)
            high = rng.uniform(0.1, 0.75) * (1.1 - out)
            blobs.append([out * np.cos(way), out * np.sin(way), high + 0.1, nodule, nodule, nodule * 0.9])
    tangent = np.cross(normal, rng.standard_normal(3))
    tangent /= np.linalg.norm(tangent)
    uneven = rng.uniform(0.06, 0.15) if shape != "flat" else rng.uniform(0.08, 0.16)
    warp = np.stack([np.full(3, uneven), rng.uniform(2.0, 4.5, 3), rng.uniform(0, 6.28, 3)])
    return Lesion(
        shape=shape,
        anchor=anchor.astype(np.float32),
        axes=np.stack([tangent, np.cross(normal, tangent), normal]).astype(np.float32),
        size=size,
        blobs=np.array(blobs, np.float32),
        stalk=float(rng.uniform(0.2, 0.35)) if shape == "pedunculated" else 0.0,
        warp=warp.astype(np.float32),
        tint=_tint(rng),
        roughness=float(rng.uniform(1.2 if shape == "flat" else 0.6, 2.2)),
        vessels=float(rng.uniform(0.0, 0.3 if shape == "flat" else 1.0)),
        texture_at=rng.random(2).astype(np.float32),
    )


def _tint(rng: np.random.Generator) -> Floats:
    kind = rng.random()
    if kind < 0.4:  # redder
        depth = rng.uniform(0.1, 0.26)
        tint = np.array([1.0, 1 - depth, 1 - 0.8 * depth]) * rng.uniform(0.85, 1.05)
    elif kind < 0.65:  # paler
        lift = rng.uniform(0.06, 0.2)
        tint = np.array([1.0 + 0.2 * lift, 1 + lift, 1 + 1.2 * lift])
    else:
        tint = rng.normal(1.0, 0.03, 3)
    return tint.astype(np.float32)


class Hits(NamedTuple):
    """The n rays that end on a polyp or on its foot, where it melts into the wall."""

    rays: NDArray[np.intp]
    distance: Floats
    normal: Floats  # (3, n)
    belongs: Floats  # (n,) from 0, the wall, to 1, the polyp; its outline is at 0.5
    local: Floats  # (3, n) in the polyp's frame, in units of its size

    def where(self, keep: NDArray[np.bool_]) -> "Hits":
        """Only the rays that are kept."""
        return Hits(self.rays[keep], self.distance[keep], self.normal[:, keep], self.belongs[keep], self.local[:, keep])


def trace(lesion: Lesion, view: View) -> Hits:
    """Where the rays of `view` meet the polyp, by stepping along each as far as nothing can be."""
    rays, distance = _approach(lesion, view)
    size = np.float32(lesion.size)
    direction, wall_at, ground = view.direction[:, rays], view.distance[rays], view.normal[:, rays]
    slant = np.maximum(-np.einsum("kn,kn->n", direction, ground), np.float32(0.3)) / size
    ahead = (lesion.axes @ direction) / size
    start = (lesion.axes @ (np.array([0, 0, view.z], np.float32) - lesion.anchor))[:, None] / size
    going = np.arange(rays.size)
    ray, now, wall, lean = ahead, distance, wall_at, slant
    for _ in range(STEPS):
        melted, _ = _melt(_solid(lesion, start + ray * now), (wall - now) * lean)
        now = np.minimum(now + melted * (CAUTION * size), wall)
        distance[going] = now
        under_way = np.flatnonzero((melted > 0.01) & (now < wall))
        going, ray, now = going[under_way], ray[:, under_way], now[under_way]
        wall, lean = wall[under_way], lean[under_way]
    local = start + ahead * distance
    solid = _solid(lesion, local)
    melted, belongs = _melt(solid, (wall_at - distance) * slant)
    hit = np.flatnonzero((belongs > 0.01) & (melted < 0.03))  # a ray still under way has missed it narrowly
    local, belongs, solid = local[:, hit], belongs[hit], solid[hit]
    step = np.float32(0.03) * np.eye(3, dtype=np.float32)
    slope = np.stack([_solid(lesion, local + offset[:, None]) - solid for offset in step])
    ground = ground[:, hit]
    normal = unit(ground + (unit(lesion.axes.T @ slope) - ground) * belongs)
    return Hits(rays[hit], distance[hit], normal, belongs, local)


def _approach(lesion: Lesion, view: View) -> tuple[NDArray[np.intp], Floats]:
    """Which rays come near the polyp before the wall, and how far off that is: by spheres about its parts."""
    parts = [(blob[:3], blob[3:].max()) for blob in lesion.blobs]
    if lesion.stalk:
        half = lesion.blobs[0, :3] / 2
        parts.append((half, np.linalg.norm(half)))
    size = np.float32(lesion.size)
    centres = np.stack([middle for middle, _ in parts]) @ lesion.axes * size + lesion.anchor
    centres[:, 2] -= np.float32(view.z)
    radii = (np.array([radius for _, radius in parts], np.float32) + MARGIN) * size
    along = centres @ view.direction
    inside = (radii**2 - (centres**2).sum(1))[:, None] + along**2
    depth = np.sqrt(np.maximum(inside, 0))
    entry = np.where((inside > 0) & (along + depth > 0), along - depth, np.float32(np.inf)).min(0)
    rays = np.flatnonzero(entry < view.distance)
    return rays, np.maximum(entry[rays], np.float32(0.02))


def _melt(solid: Floats, wall: Floats) -> tuple[Floats, Floats]:
    """Smooth union of two distances, and the share of the first in it (Quilez's polynomial minimum)."""
    share = np.clip(0.5 + 0.5 * (wall - solid) / FOOT, 0, 1)
    return wall + (solid - wall) * share - FOOT * share * (1 - share), share


def _solid(lesion: Lesion, at: Floats) -> Floats:
    """Distance (n,) to the polyp from points (3, n), both in units of its size; approximate."""
    amplitude, frequency, phase = lesion.warp[:, :, None]
    at = at + amplitude * np.sin(frequency * at[[1, 2, 0]] + phase)
    whole: Floats | None = None
    for blob in lesion.blobs:
        ray = (at - blob[:3, None]) / blob[3:, None]
        far = np.sqrt(np.einsum("kn,kn->n", ray, ray))
        ray /= blob[3:, None]
        part = far * (far - 1) / (np.sqrt(np.einsum("kn,kn->n", ray, ray)) + np.float32(1e-6))
        whole = part if whole is None else _join(whole, part)
    assert whole is not None
    if lesion.stalk:
        top = lesion.blobs[0, :3]
        share = np.clip((top @ at) / (top @ top), 0, 1)
        aside = at - top[:, None] * share
        whole = _join(whole, np.sqrt(np.einsum("kn,kn->n", aside, aside)) - np.float32(lesion.stalk))
    return np.maximum(whole, -at[2] - SUNK)


def _join(first: Floats, second: Floats) -> Floats:
    width = np.float32(0.12)
    overlap = np.maximum(width - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap**2 / (4 * width)
