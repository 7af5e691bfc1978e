"""Where a new lesion goes: a frame, a real lesion's shape, and a place where it plausibly lies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from syndiff.data.dataset import Case
from syndiff.data.masks import components, largest_component
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.synthesis.placement.album import Album, LoadedCase
from syndiff.synthesis.placement.contour import within
from syndiff.synthesis.placement.field import FieldOfView, any_in_cells, to_pixels
from syndiff.synthesis.placement.lesions import Lesion, Sketch, Warp, draw_bend

OwnLesions = Literal["keep", "remove", "replace"]
"""What becomes of a frame's own lesions when it gets a new one (see `syndiff.synthesis.settings`)."""


@dataclass(frozen=True, kw_only=True)
class PlacementRules:
    """How places are searched. The search of one sample is bounded by the product of the first three."""

    backgrounds: int = 8  # frames tried for one sample
    lesions: int = 8  # lesions tried in each frame
    positions: int = 24  # positions tried for each lesion; the best of them is taken
    smallest: float = 0.8  # change of a lesion's size relative to the frame,
    largest: float = 1.25  # within the sizes that the training lesions have
    bend: float = 0.25  # largest shift of a smooth warp, as a share of the lesion's radius
    mismatch: float = 0.45  # of a lesion's surroundings there and at home (see _mismatches) that is good enough
    grow: float = 1.7  # a lesion that replaces another is as long at least, and at most so many times as long,
    cover: float = 0.9  # and with its margin hides this share of it, or of what is not too near to the edge


@dataclass(frozen=True)
class Placement:
    """A lesion moved into a frame.

    `image` is the frame (HxWx3, uint8 or uint16), `view` what it shows and `label` the new annotation (HxW).
    `lesion_mask` is the new lesion alone, `inpaint_mask` it with the margin around and what else is painted with it.
    `donor` gives the real lesion moved
    to the same place (HxWx3 in [0, 1], meaningful on lesion, margin and a pixel around), made when it is asked
    for: few inpainters do. `removal_mask`, if any, is what is to be painted over before: the frame's own lesions.
    `row` and `column` are the new centre in pixels, `angle` is in degrees, `scale` is the change of size relative to
    the frame, `bend` the largest shift of the warp in lesion radii. `replaced`: it lies where the frame's lesion was.
    """

    background: Case
    lesion: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    view: FieldOfView
    label: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_]
    inpaint_mask: NDArray[np.bool_]
    donor: Callable[[], NDArray[np.float32]]
    row: int
    column: int
    angle: float
    scale: float
    flipped: bool
    bend: float
    removal_mask: NDArray[np.bool_] | None = None
    replaced: bool = False

    def describe(self) -> dict[str, Any]:
        """Return how the lesion was moved, for the manifest."""
        described = {name: getattr(self, name) for name in ("row", "column", "angle", "scale", "flipped", "bend")}
        return described | ({"replaced": True} if self.replaced else {})


@dataclass(frozen=True)
class _Draw:
    """A lesion with a place in a frame: the pixel at which its warp's square begins."""

    warp: Warp
    sketch: Sketch
    corner: tuple[int, int]
    scale: float


def place(
    album: Album,
    first: Case,
    rng: np.random.Generator,
    *,
    margin: float,
    rules: PlacementRules,
    lenders: Sequence[Case] = (),
    own: OwnLesions = "keep",
    at_once: bool = False,
) -> Placement | None:
    """Find a place for a training lesion in the frame `first`, or else in another of the album's frames.

    The lesion comes from another group than the frame where there is one, always from another case, and is
    whole: one cut off by its frame's edge would float. Those of the `lenders` are tried first. It lies on the wall
    (see `field.view`) at a distance from the frame's own lesions, also where these are to be painted over first
    (`own` is "remove"): what surrounds a new lesion is real then. With "replace" it takes the place of the frame's
    largest lesion and hides nearly all of it. The rest is painted over before, with the frame's other lesions, or
    `at_once` with the new lesion, by an inpainter that reads its contour. A frame without any lesion gets one anywhere,
    whatever `own` is. Of the positions tried it takes the one whose surroundings differ least from the lesion's own; of
    the lesions the first for which they hardly do, or else the best. All of this is decided on the coarse grid of the
    frame's view. `margin` is the width of the band painted around it, as a share of its radius. Returns None when
    nothing fits within the bounds of `rules`.

    Raises SyndiffError when no other case has a whole lesion.
    """
    for background in _frames(album, first, rng, rules):
        frame = album.frame(background)
        removal = _removed(frame.own, frame.view) if own != "keep" and frame.own.any() else None
        replaced = None
        if own == "replace" and removal is not None:
            replaced = largest_component(frame.own)
        blocked = _blocked(frame, frame.own if removal is None else removal, free=replaced is not None)
        for draw in _search(album, frame, blocked, replaced, rng, margin, rules, lenders):
            if placement := _placement(frame, blocked, draw, removal, rules):
                if replaced is None:
                    return placement
                placement = replace(placement, replaced=True)
                return _at_once(placement, frame, replaced) if at_once else placement
    return None


def _at_once(placement: Placement, frame: LoadedCase, replaced: NDArray[np.bool_]) -> Placement:
    """What the new lesion leaves of the one that it replaces is painted with it, not removed before."""
    others = frame.own & ~replaced
    return replace(
        placement,
        inpaint_mask=placement.inpaint_mask | _removed(replaced, frame.view),
        removal_mask=_removed(others, frame.view) if others.any() else None,
    )


def restyle(
    album: Album, first: Case, rng: np.random.Generator, *, margin: float, rules: PlacementRules
) -> Placement | None:
    """Place the lesions of `first`, or else of another frame that has some, where they are: label and mask stay."""
    for background in _frames(album, first, rng, rules):
        frame = album.frame(background)
        if not frame.own.any():
            continue
        row, column = (round(float(x)) for x in ndimage.center_of_mass(frame.own))
        return Placement(
            background=background,
            lesion=background,
            image=frame.image,
            view=frame.view,
            label=frame.own,
            lesion_mask=frame.own,
            inpaint_mask=_widened(frame.own, frame.view, margin) if margin else frame.own,
            donor=partial(to_unit, frame.image),
            row=row,
            column=column,
            angle=0.0,
            scale=1.0,
            flipped=False,
            bend=0.0,
        )
    return None


def _removed(mask: NDArray[np.bool_], seen: FieldOfView) -> NDArray[np.bool_]:
    """What to paint over so that lesions (HxW) vanish: they and a band around, for their rims and shadows."""
    return _widened(mask, seen, 0.25, least=4.0)


def _widened(mask: NDArray[np.bool_], seen: FieldOfView, margin: float, least: float = 2.0) -> NDArray[np.bool_]:
    """Lesions (HxW) with a band of `margin` of their mean radius around, inside the field of view."""
    _, areas = components(mask)
    radius = float(np.sqrt(areas.mean() / np.pi))
    near = ndimage.distance_transform_edt(~mask) <= max(least, margin * radius)
    return mask | (near & to_pixels(seen.field, seen.step, mask.shape))


def _frames(album: Album, first: Case, rng: np.random.Generator, rules: PlacementRules) -> Iterator[Case]:
    """`first`, and some others in random order."""
    yield first
    others = [case for case in album.backgrounds if case.id != first.id]
    for i in rng.permutation(len(others))[: rules.backgrounds - 1]:
        yield others[i]


def _search(
    album: Album,
    frame: LoadedCase,
    blocked: NDArray[np.bool_],
    replaced: NDArray[np.bool_] | None,
    rng: np.random.Generator,
    margin: float,
    rules: PlacementRules,
    lenders: Sequence[Case],
) -> list[_Draw]:
    """The best place found for each lesion that was tried, the best one first.

    With `replaced` (HxW) only places where a lesion hides nearly all of it.
    """
    step, shape = frame.view.step, frame.own.shape
    diagonal = float(np.hypot(*shape))
    spectrum = fft.rfft2(blocked.astype(np.float32))
    target = None
    if replaced is not None:
        whole = any_in_cells(replaced, step)
        target = whole & ~blocked
        if target.sum() < whole.sum() / 2:  # at the edge of the view, where no new lesion may lie
            return []
        target_spectrum = fft.rfft2(target.astype(np.float32))
    smallest, largest = album.sizes
    found: list[tuple[float, _Draw]] = []
    for lesion in islice(_lesions(album, frame.case, rng, lenders), rules.lesions):
        own = lesion.radius * np.sqrt(np.pi) / lesion.diagonal
        if replaced is None:
            low = min(max(rules.smallest, smallest / own), 1)  # its own size is always one that lesions have
            high = max(min(rules.largest, largest / own), 1)
        else:
            low = float(np.sqrt(replaced.sum())) / diagonal / own
            high = max(min(rules.grow * low, largest / own), low)
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        angle, flipped = float(rng.uniform(0, 360)), bool(rng.integers(2))
        bend = draw_bend(rng, rules.bend)
        pixels = scale * diagonal / lesion.diagonal
        warp = Warp(lesion=lesion, pixels=pixels, angle=angle, flipped=flipped, bend=bend, margin=margin)
        sketch = warp.sketch(step)
        if sketch is None:
            continue
        free = _overlaps(spectrum, blocked.shape, sketch.covered) < 0.5
        if target is not None:
            hidden = _overlaps(target_spectrum, target.shape, sketch.painted)
            free &= hidden > rules.cover * target.sum() - 0.5
        cells = np.argwhere(free)
        if not len(cells):
            continue
        cells = cells[rng.integers(len(cells), size=rules.positions)]
        mismatches = _mismatches(frame.image, step, cells, sketch)
        i = int(np.argmin(mismatches))
        row, column = (int(cells[i, axis] - sketch.start[axis]) * step for axis in (0, 1))
        found.append((float(mismatches[i]), _Draw(warp, sketch, (row, column), scale)))
        if mismatches[i] <= rules.mismatch:
            break
    return [draw for _, draw in sorted(found, key=itemgetter(0))]


def _placement(
    frame: LoadedCase, blocked: NDArray[np.bool_], draw: _Draw, removal: NDArray[np.bool_] | None, rules: PlacementRules
) -> Placement | None:
    """The place in full; None when the lesion, seen so, is a speck or touches what is blocked after all."""
    step, shape = frame.view.step, frame.own.shape
    # what is covered in the frame and some pixels around, in pixels of the frame
    window = tuple(
        slice(max(corner + start * step - 3, 0), min(corner + (start + length) * step + 3, limit))
        for corner, start, length, limit in zip(
            draw.corner, draw.sketch.start, draw.sketch.covered.shape, shape, strict=True
        )
    )
    patch = draw.warp.render(
        *(slice(part.start - corner, part.stop - corner) for part, corner in zip(window, draw.corner, strict=True))
    )
    lesion_mask, inpaint_mask = np.zeros_like(frame.own), np.zeros_like(frame.own)
    lesion_mask[window], inpaint_mask[window] = patch.mask, patch.paint
    if not patch.whole or (any_in_cells(inpaint_mask, step) & blocked).any():
        return None

    def donor() -> NDArray[np.float32]:
        picture = np.zeros(frame.image.shape, np.float32)
        picture[window] = patch.colours()
        return picture

    row, column = (round(float(x)) for x in ndimage.center_of_mass(patch.mask))
    return Placement(
        background=frame.case,
        lesion=draw.warp.lesion.case,
        image=frame.image,
        view=frame.view,
        label=lesion_mask if removal is not None else frame.own | lesion_mask,
        lesion_mask=lesion_mask,
        inpaint_mask=inpaint_mask,
        donor=donor,
        row=window[0].start + row,
        column=window[1].start + column,
        angle=round(draw.warp.angle, 3),
        scale=round(draw.scale, 4),
        flipped=draw.warp.flipped,
        bend=round(rules.bend, 4),
        removal_mask=removal,
    )


def _lesions(album: Album, background: Case, rng: np.random.Generator, lenders: Sequence[Case]) -> Iterator[Lesion]:
    """Whole lesions for a frame, one of each case, the cases in random order: the `lenders`, then all of them.

    Those of the frame's own group come only where no other has any.
    """
    own = background.group
    found = False
    for cases, related in ((lenders, False), (album.cases, False), (album.cases, True)):
        if found and related:
            return
        drawn = [
            case for case in cases if case.id != background.id and (own is not None and case.group == own) == related
        ]
        for i in rng.permutation(len(drawn)):
            lesions = album.lesions(drawn[i])
            if lesions:
                found = True
                yield lesions[rng.integers(len(lesions))]
    if found:
        return
    if not album.lesions(background):  # else there is one, and another frame may take it
        raise SyndiffError(
            f"{album.dataset.root}: none of the {len(album.cases)} training cases has a whole lesion (their masks are "
            "empty, or cut off by the edge of the frame); synthesis needs lesions to take the shape of."
        )


def _blocked(frame: LoadedCase, occupied: NDArray[np.bool_], *, free: bool = False) -> NDArray[np.bool_]:
    """Cells that a new lesion must not touch; from the view's edge and what is `occupied` it keeps a distance.

    With `free` it may lie on what is occupied, as if that were wall.
    """
    seen = frame.view
    taken = any_in_cells(occupied, seen.step)
    apart = ~seen.field if free else taken | ~seen.field
    gap = max(2, round(0.01 * float(np.hypot(*occupied.shape)))) / seen.step
    near = within(np.pad(apart, 1, constant_values=True), gap)[1:-1, 1:-1]  # the frame's edge is one of the view
    return near | ~(seen.wall | taken if free else seen.wall)


def _overlaps(
    spectrum: NDArray[np.complexfloating], shape: tuple[int, ...], covered: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """How many cells of a grid of `shape` with this spectrum `covered` meets, for each place of its upper left cell.

    One correlation. Places where it does not fit are left out, so all of them when it is larger than the grid.
    """
    room = np.array(shape) - covered.shape + 1
    if (room < 1).any():
        return np.empty((0, 0), np.float32)
    overlap: NDArray[np.floating] = fft.irfft2(spectrum * np.conj(fft.rfft2(covered.astype(np.float32), shape)), shape)
    return overlap[: room[0], : room[1]]  # beyond, it would wrap around


def _mismatches(image: NDArray, step: int, cells: NDArray[np.int64], sketch: Sketch) -> NDArray[np.float64]:
    """How badly the seams fit at each cell: in ratios of light, what varies along them plus how far they are apart.

    What varies bleeds into a blended lesion; and since it keeps its difference to its surroundings, a pale
    one from red mucosa turns blue on grey mucosa.
    """
    rows, columns = (
        ((cells[:, axis, None] + sketch.ring[:, axis]) * step + step // 2).clip(0, image.shape[axis] - 1)
        for axis in (0, 1)
    )
    there = to_unit(image[rows, columns])
    ratio = np.log((there + 0.05) / (sketch.seam + 0.05))  # 0.05: black is like black
    return ratio.std(axis=1).mean(axis=1) + np.abs(ratio.mean(axis=1)).max(axis=1)
