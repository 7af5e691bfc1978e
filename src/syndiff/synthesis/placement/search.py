"""The search for a place: which lesion is lent for a target, and where in a frame it fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from syndiff.data.dataset import Case
from syndiff.data.readers import to_unit
from syndiff.synthesis.placement.album import Album, LoadedCase
from syndiff.synthesis.placement.contour import within
from syndiff.synthesis.placement.field import FieldOfView, any_in_cells
from syndiff.synthesis.placement.lesions import Lesion, Sketch, Warp, draw_bend
from syndiff.synthesis.placement.population import KnownLesion, Target, hidden_share

_NEAR = 0.04  # radii of the view: so near to the target's distance from its centre a place is as good as any


@dataclass(frozen=True, kw_only=True)
class PlacementRules:
    """How places are searched. The search of one sample is bounded by the product of the first three.

    `version` counts the ways of placing: what an earlier one made cannot be gone on with.
    """

    version: int = 2
    backgrounds: int = 8  # frames tried for one sample; twice and four times as many for the two larger quarters
    lesions: int = 8  # lesions tried in each frame
    positions: int = 48  # positions tried for each lesion; the best of them is taken
    smallest: float = 0.8  # change of length of a lesion that is lent, while there is one of nearly the target's size
    largest: float = 1.25
    poor: int = 3  # frames with a place are compared where in none of them the surroundings are good enough
    bend: float = 0.25  # largest shift of a smooth warp, as a share of the lesion's radius
    mismatch: float = 0.45  # of a lesion's surroundings there and at home (see mismatches) that is good enough
    dark: float = 0.25  # share of a lesion that may lie over the lumen or deep shadow,
    dark_rim: float = 0.1  # and of what surrounds it: one that reaches into the lumen does not float in it
    grow: float = 1.7  # a lesion that replaces another is as long at least, and at most so many times as long,
    cover: float = 0.9  # and with its margin hides this share of it, or of what is not too near to the edge

    def frames(self, target: Target) -> int:
        """How many frames are tried for a target."""
        return self.backgrounds * {1: 1, 2: 1, 3: 2, 4: 4}[target.quarter]


@dataclass(frozen=True)
class Draw:
    """A lesion with a place in a frame: the pixel at which its warp's square begins, which may lie outside."""

    warp: Warp
    sketch: Sketch
    corner: tuple[int, int]
    scale: float


class Ground:
    """A frame as the search sees it: cells that a lesion must not touch, that it may cover in part, that hide it.

    `occupied` (HxW) are lesions that stay, `replaced` (HxW) the one that the new lesion is to hide; other classes of
    the frame are kept clear of. With `cut` it lies at the edge of the view and may reach beyond; else it is whole and
    keeps a distance from the edge.
    """

    def __init__(
        self, frame: LoadedCase, occupied: NDArray[np.bool_], replaced: NDArray[np.bool_] | None, *, cut: bool
    ) -> None:
        seen = frame.view
        taken = any_in_cells(occupied, seen.step)
        apart = np.zeros_like(taken) if replaced is not None else taken
        if frame.others is not None:
            in_the_way = any_in_cells(frame.others, seen.step)
            apart, taken = apart | in_the_way, taken & ~in_the_way
        gap = max(2, round(0.01 * float(np.hypot(*occupied.shape)))) / seen.step
        beyond = False if cut else ~seen.field
        # the frame's edge is one of the view
        near = within(np.pad(apart | beyond, 1, constant_values=not cut), gap)[1:-1, 1:-1]
        spared = taken if replaced is not None else np.zeros_like(taken)  # what is replaced is as good as wall
        self.blocked = near | (seen.barred & ~spared)
        self.dark = seen.dark & ~spared
        self.seen, self.cut = seen, cut
        self.pad = max(taken.shape) // 2 if cut else 0
        self.hides = None
        if replaced is not None:
            whole = any_in_cells(replaced, seen.step)
            self.hides = whole & ~self.blocked & seen.field
            if self.hides.sum() < whole.sum() / 2:  # too near to the edge of the view, where no new lesion may lie
                self.blocked[:] = True

    def overlap(self, name: str, covered: NDArray[np.bool_]) -> NDArray[np.floating]:
        """How many cells of one of the grids `covered` meets, for each place of its upper left cell.

        The places begin `pad` cells before the grid. One correlation. Places where it does not fit are left out, so all
        of them when it is larger than the grid.
        """
        shape = self.blocked.shape[0] + 2 * self.pad, self.blocked.shape[1] + 2 * self.pad
        room = np.array(shape) - covered.shape + 1
        if (room < 1).any():
            return np.empty((0, 0), np.float32)
        spectrum = getattr(self, f"_{name}")
        found: NDArray[np.floating] = fft.irfft2(
            spectrum * np.conj(fft.rfft2(covered.astype(np.float32), shape)), shape
        )
        return found[: room[0], : room[1]]  # beyond, it would wrap around

    def _spectrum(self, grid: NDArray[np.bool_], value: bool = False) -> NDArray[np.complexfloating]:
        spectrum: NDArray[np.complexfloating] = fft.rfft2(
            np.pad(grid, self.pad, constant_values=value).astype(np.float32)
        )
        return spectrum

    @cached_property
    def _touched(self) -> NDArray[np.complexfloating]:
        return self._spectrum(self.blocked)

    @cached_property
    def _shaded(self) -> NDArray[np.complexfloating]:
        return self._spectrum(self.dark)

    @cached_property
    def _hidden(self) -> NDArray[np.complexfloating]:
        return self._spectrum(self.seen.outside, True)

    @cached_property
    def _covered(self) -> NDArray[np.complexfloating]:
        assert self.hides is not None
        return self._spectrum(self.hides)

    def places(self, sketch: Sketch, hidden: float, rules: PlacementRules) -> NDArray[np.int64]:
        """Cells of the grid at which the sketch may begin (nx2); of a whole lesion `hidden` is 0."""
        free = self.overlap("touched", sketch.covered) < 0.5
        if not free.any():
            return np.empty((0, 2), np.int64)
        size = float(sketch.body.sum())
        free &= self.overlap("shaded", sketch.body) < rules.dark * size + 0.5
        if self.cut:
            beyond = self.overlap("hidden", sketch.body) / size
            free &= (beyond > max(0.5 * hidden, 0.5 / size)) & (beyond < 1.5 * hidden + 0.02)
        if self.hides is not None:
            free &= self.overlap("covered", sketch.painted) > rules.cover * self.hides.sum() - 0.5
        return np.argwhere(free) - self.pad


def search(
    album: Album,
    frame: LoadedCase,
    ground: Ground,
    target: Target,
    rng: np.random.Generator,
    margin: float,
    rules: PlacementRules,
    lenders: Sequence[Case],
) -> list[tuple[float, Draw]]:
    """The best place found for each lesion that was tried with its mismatch, the best one first.

    Each lesion is brought to the target's size. Of the places that the ground allows, those at the target's distance
    from the centre of the view are tried, and the one whose surroundings differ least from the lesion's own is taken.
    """
    step, shape = frame.view.step, frame.own.shape
    in_view = float(frame.view.field.sum() * step**2)
    hidden = hidden_share(target.edge) if ground.cut else 0.0
    pixels = target.area * in_view / (1 - hidden)
    found: list[tuple[float, Draw]] = []
    for lesion in _lesions(album, frame.case, target.area / (1 - hidden), rng, rules, lenders):
        scale = float(np.sqrt(pixels / lesion.mask.sum()))
        angle, flipped = float(rng.uniform(0, 360)), bool(rng.integers(2))
        bend = draw_bend(rng, rules.bend)
        warp = Warp(lesion=lesion, pixels=scale, angle=angle, flipped=flipped, bend=bend, margin=margin)
        sketch = warp.sketch(step)
        if sketch is None or not sketch.body.any():
            continue
        cells = _at_distance(ground.places(sketch, hidden, rules), sketch, frame.view, target, ground.cut, rules, rng)
        if not len(cells):
            continue
        found_here = mismatches(frame, cells, sketch, rules)
        i = int(np.argmin(found_here))
        if not np.isfinite(found_here[i]):
            continue
        row, column = (int(cells[i, axis] - sketch.start[axis]) * step for axis in (0, 1))
        relative = scale * lesion.diagonal / float(np.hypot(*shape))
        found.append((float(found_here[i]), Draw(warp, sketch, (row, column), relative)))
        if found_here[i] <= rules.mismatch:
            break
    return sorted(found, key=itemgetter(0))


def _at_distance(
    cells: NDArray[np.int64],
    sketch: Sketch,
    seen: FieldOfView,
    target: Target,
    cut: bool,
    rules: PlacementRules,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Some of the places, at random among those whose distance from the centre of the view is next to the target's.

    How far off the centre one lies that is cut follows from how much is cut off.
    """
    if not len(cells):
        return cells
    if not cut:
        offset = cells + np.argwhere(sketch.body).mean(axis=0) - seen.centre
        error = np.abs(np.hypot(offset[:, 0], offset[:, 1]) / seen.radius - target.distance)
        last = np.sort(error)[: rules.positions][-1]
        cells = cells[error <= max(_NEAR, last)]
    return cells[rng.integers(len(cells), size=rules.positions)]


def _lesions(
    album: Album,
    background: Case,
    area: float,
    rng: np.random.Generator,
    rules: PlacementRules,
    lenders: Sequence[Case],
) -> Iterator[Lesion]:
    """Up to `rules.lesions` whole lesions for a frame, to be scaled to `area`, a share of the view.

    Those of the `lenders` and of all that is known that need no more scaling than the rules allow, in random order;
    then the nearest in size. Those of the frame's own group come only where no other has any, never the frame's own.
    """
    near = [lesion for case in lenders for lesion in album.known(case) if lesion.number is not None]
    every = list({(lesion.case.id, lesion.number): lesion for lesion in (*near, *album.lent)}.values())
    others = [lesion for lesion in every if lesion.case.id != background.id]
    own = background.group
    apart = [lesion for lesion in others if own is None or lesion.case.group != own]
    chosen = _by_size(apart or others, area, rng, rules)
    for lesion in chosen[: rules.lesions]:
        assert lesion.number is not None
        yield album.lesions(lesion.case)[lesion.number]


def _by_size(
    lesions: Sequence[KnownLesion], area: float, rng: np.random.Generator, rules: PlacementRules
) -> list[KnownLesion]:
    """Lesions that fit in random order, then the others from the nearest in size on."""
    shuffled = [lesions[i] for i in rng.permutation(len(lesions))]
    scales = np.sqrt([area / lesion.shape.area for lesion in shuffled])
    excess = np.abs(np.log(np.clip(scales, rules.smallest, rules.largest) / scales))
    return [shuffled[i] for i in np.argsort(excess, kind="stable")]


def mismatches(
    frame: LoadedCase, cells: NDArray[np.int64], sketch: Sketch, rules: PlacementRules
) -> NDArray[np.float64]:
    """How badly the seams fit at each cell: in ratios of light, what varies along them plus how far they are apart.

    What varies bleeds into a blended lesion; and since it keeps its difference to its surroundings, a pale
    one from red mucosa turns blue on grey mucosa. Only what is in view counts. Infinite where too much of the seam lies
    in the dark.
    """
    seen = frame.view
    at = cells[:, None, :] + sketch.ring
    limits = np.array(seen.field.shape) - 1
    rows, columns = (at[..., axis].clip(0, limits[axis]) for axis in (0, 1))
    in_frame = ((at >= 0) & (at <= limits)).all(axis=2)
    counted = (in_frame & seen.field[rows, columns]).astype(np.float64)
    total = counted.sum(axis=1)
    pixels = [
        (where * seen.step + seen.step // 2).clip(0, frame.image.shape[axis] - 1)
        for axis, where in enumerate((rows, columns))
    ]
    there = to_unit(frame.image[tuple(pixels)])
    ratio = np.log((there + 0.05) / (sketch.seam + 0.05))  # 0.05: black is like black
    some = np.maximum(total, 1)[:, None]
    mean = (ratio * counted[..., None]).sum(axis=1) / some
    deviation = np.sqrt((((ratio - mean[:, None]) ** 2) * counted[..., None]).sum(axis=1) / some)
    mismatch = deviation.mean(axis=1) + np.abs(mean).max(axis=1)
    dark = (seen.dark[rows, columns] * counted).sum(axis=1)
    result: NDArray[np.float64] = np.where((total > 0) & (dark <= rules.dark_rim * total), mismatch, np.inf)
    return result
