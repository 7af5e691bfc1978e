"""Where the camera's rays end: on the wall, or on a polyp that has melted into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.phantom.colon import Camera, unit
from syndiff.phantom.lesion import Polyp
from syndiff.phantom.noise import Floats

STEPS = 18
CAUTION = np.float32(0.9)  # of the distance to a polyp that a ray advances, for the distance is approximate
MARGIN = np.float32(0.3)  # about a polyp's parts, for its foot and its unevenness, in units of its size
FOOT = np.float32(0.5)  # how widely a polyp melts into the wall, in units of its size
CLOSE = np.float32(0.02)  # to a surface that a ray counts as having reached, in units of the polyp's size
NEAREST = np.float32(0.02)  # lumen radii before the lens


class Hits(NamedTuple):
    """The n rays that end on a polyp or on its foot, where it melts into the wall."""

    rays: NDArray[np.intp]  # which of the view's
    distance: Floats  # (n,)
    normal: Floats  # (3, n)
    belongs: Floats  # (n,) from 0, the wall, to 1, the polyp; its contour is at 0.5
    local: Floats  # (3, n) in the polyp's frame, in units of its size

    def where(self, keep: NDArray[np.bool_]) -> "Hits":
        """Only the rays that are kept."""
        return Hits(self.rays[keep], self.distance[keep], self.normal[:, keep], self.belongs[keep], self.local[:, keep])


@dataclass(frozen=True)
class Surface:
    """What the n rays of a view meet of wall and polyps."""

    distance: Floats  # (n,)
    normal: Floats  # (3, n)
    owner: NDArray[np.uint8]  # (n,) index + 1 of the polyp, 0 on the wall
    hits: tuple[Hits, ...]  # what is seen of each polyp


def find(lesions: Sequence[Polyp], view: Camera) -> Surface:
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


def trace(lesion: Polyp, view: Camera) -> Hits:
    """Where the rays of `view` meet one polyp: each advances by as much as nothing can be nearer (sphere tracing)."""
    rays, distance = _approach(lesion, view)
    size = np.float32(lesion.size)
    direction, wall_at, ground = view.direction[:, rays], view.distance[rays], view.normal[:, rays]
    slant = np.maximum(-np.einsum("kn,kn->n", direction, ground), np.float32(0.3)) / size
    ahead = (lesion.axes @ direction) / size
    start = (lesion.axes @ (np.array([0, 0, view.z], np.float32) - lesion.anchor))[:, None] / size
    going = np.arange(rays.size)
    ray, now, wall, lean = ahead, distance, wall_at, slant
    for _ in range(STEPS):
        if not going.size:
            break
        free, _ = _melt(lesion.depth(start + ray * now), (wall - now) * lean)
        now = np.minimum(now + free * (CAUTION * size), wall)
        distance[going] = now
        under_way = np.flatnonzero((free > CLOSE) & (now < wall))
        if under_way.size < 0.8 * going.size:
            going, ray, now = going[under_way], ray[:, under_way], now[under_way]
            wall, lean = wall[under_way], lean[under_way]
    local = start + ahead * distance
    depth = lesion.depth(local)
    free, belongs = _melt(depth, (wall_at - distance) * slant)
    hit = np.flatnonzero((belongs > 0.01) & (free < 2 * CLOSE))  # a ray still under way has missed it narrowly
    local, belongs, depth, ground = local[:, hit], belongs[hit], depth[hit], ground[:, hit]
    step = np.float32(0.03) * np.eye(3, dtype=np.float32)
    slope = np.stack([lesion.depth(local + offset[:, None]) - depth for offset in step])
    normal = unit(ground + (unit(lesion.axes.T @ slope) - ground) * belongs)
    return Hits(rays[hit], distance[hit], normal, belongs, local)


def _approach(lesion: Polyp, view: Camera) -> tuple[NDArray[np.intp], Floats]:
    """Which rays come near the polyp before the wall does, and how far away that is."""
    parts = lesion.parts()
    camera = np.array([0, 0, view.z], np.float32)
    centres = parts[:, :3] @ lesion.axes * np.float32(lesion.size) + (lesion.anchor - camera)
    radii = (parts[:, 3] + MARGIN) * np.float32(lesion.size)
    middle = centres.mean(axis=0)
    reach = (np.linalg.norm(centres - middle, axis=1) + radii).max()
    along = middle @ view.direction
    rays = np.flatnonzero((middle @ middle - along * along < reach**2) & (np.abs(along) < view.distance + reach))
    along = centres @ view.direction[:, rays]
    inside = (radii**2 - np.einsum("nk,nk->n", centres, centres))[:, None] + along**2
    entry = along - np.sqrt(np.maximum(inside, 0))
    entry = np.where((inside > 0) & (entry + radii[:, None] * 2 > 0), entry, np.float32(np.inf)).min(0)
    near = entry < view.distance[rays]
    return rays[near], np.maximum(entry[near], NEAREST)


def _melt(polyp: Floats, wall: Floats) -> tuple[Floats, Floats]:
    """Smooth union of two distances, and the share of the first in it (Quilez's polynomial minimum)."""
    share = np.clip(0.5 + (0.5 / FOOT) * (wall - polyp), 0, 1)
    return wall + (polyp - wall - FOOT * (1 - share)) * share, share
