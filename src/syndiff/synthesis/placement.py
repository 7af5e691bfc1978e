"""Where a new lesion goes: a frame, a real lesion's shape, and a place where it plausibly lies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.dataset import Case, DatasetFolder
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class PlacementRules:
    """How places are searched. The search of one sample is bounded by the product of the first three."""

    backgrounds: int = 8  # frames tried for one sample
    lesions: int = 8  # lesions tried in each frame
    positions: int = 24  # positions tried for each lesion; the best of those that fit is taken
    smallest: float = 0.8  # change of a lesion's size relative to the frame
    largest: float = 1.25
    mismatch: float = 0.45  # of a lesion's surroundings there and at home (see _mismatch) that is good enough
    cut_off: int = 16  # lesions cut off by their frame's edge that are passed over before one is taken


@dataclass(frozen=True)
class Placement:
    """A lesion moved into a frame.

    `image` is the frame (HxWx3, uint8 or uint16) and `label` the new annotation (HxW): the frame's own
    lesions and the new one. `lesion_mask` is the new one alone, `paint_mask` it with the margin around,
    `donor` (HxWx3 in [0, 1]) the real lesion moved to the same place, meaningful on the paint mask and two
    pixels around it. `row` and `column` are the new centre in pixels, `angle` is in degrees, `scale` is the
    change of size relative to the frame.
    """

    background: Case
    lesion: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    label: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_]
    paint_mask: NDArray[np.bool_]
    donor: NDArray[np.float32]
    row: int
    column: int
    angle: float
    scale: float
    flipped: bool

    def describe(self) -> dict[str, Any]:
        """Return how the lesion was moved, for the manifest."""
        return {name: getattr(self, name) for name in ("row", "column", "angle", "scale", "flipped")}


@dataclass(frozen=True)
class _Lesion:
    """One connected lesion cut out of its frame: image hxwx3 in [0, 1], masks hxw, diagonal in pixels."""

    case: Case
    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    foreign: NDArray[np.bool_]  # other lesions, and what lies outside the field of view
    frame_diagonal: float
    whole: bool


@dataclass(frozen=True)
class _Patch:
    """A lesion turned and scaled for a frame, not yet at a position."""

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    paint: NDArray[np.bool_]

    @cached_property
    def ring(self) -> NDArray[np.bool_]:
        """The pixels just outside what is painted, where lesion and frame have to meet."""
        return ndimage.binary_dilation(self.paint) & ~self.paint


def place(
    dataset: DatasetFolder,
    cases: Sequence[Case],
    first: Case,
    rng: np.random.Generator,
    *,
    margin: float,
    rules: PlacementRules,
) -> Placement | None:
    """Find a place for a lesion of one of `cases` in the frame `first`, or else in another of `cases`.

    The lesion comes from another group than the frame where there is one, always from another case. It lies
    within the field of view and does not touch the frame's own lesions. Of the positions tried it takes the
    one whose surroundings differ least from the lesion's own; of the lesions the first for which they hardly
    do, or else the best. `margin` is the width of the band painted around it, as a share of its radius.
    Returns None when nothing fits within the bounds of `rules`.

    Raises SyndiffError when no other case has a lesion.
    """
    others = [case for case in cases if case.id != first.id]
    order = rng.permutation(len(others))[: rules.backgrounds - 1]
    for background in (first, *(others[i] for i in order)):
        image, own = dataset.load(background)
        frame, allowed = to_unit(image), _allowed(image, own)
        best, least = None, np.inf
        for lesion in islice(_lesions(dataset, cases, background, rng, rules), rules.lesions):
            scale = float(np.exp(rng.uniform(np.log(rules.smallest), np.log(rules.largest))))
            angle, flipped = float(rng.uniform(0, 360)), bool(rng.integers(2))
            pixels = scale * float(np.hypot(*own.shape)) / lesion.frame_diagonal
            patch = _turn(lesion, pixels, angle, flipped, margin)
            if patch is None:
                continue
            corner, mismatch = _best_corner(frame, allowed, patch, rng, rules.positions)
            if corner and mismatch < least:
                best, least = (lesion.case, patch, corner, scale, angle, flipped), mismatch
            if least <= rules.mismatch:
                break
        if best:
            return _placement(background, image, own, *best)
    return None


def _placement(
    background: Case,
    image: NDArray,
    own: NDArray[np.bool_],
    lesion: Case,
    patch: _Patch,
    corner: tuple[int, int],
    scale: float,
    angle: float,
    flipped: bool,
) -> Placement:
    lesion_mask, paint_mask = np.zeros_like(own), np.zeros_like(own)
    donor = np.zeros(image.shape, np.float32)
    window = _window(corner, patch)
    lesion_mask[window], paint_mask[window], donor[window] = patch.mask, patch.paint, patch.image
    return Placement(
        background=background,
        lesion=lesion,
        image=image,
        label=own | lesion_mask,
        lesion_mask=lesion_mask,
        paint_mask=paint_mask,
        donor=donor,
        row=corner[0] + patch.mask.shape[0] // 2,
        column=corner[1] + patch.mask.shape[1] // 2,
        angle=round(angle, 3),
        scale=round(scale, 4),
        flipped=flipped,
    )


def field_of_view(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return where an endoscope's frame (HxWx3) shows something: HxW, without its dark border.

    The largest bright region with its holes filled, to a pixel in 400 of the frame's side; the dark end of
    the bowel is left out where it reaches the border. Frames that are dark by nature (fluorescence) count as
    a whole.
    """
    height, width = image.shape[:2]
    step = max(1, max(height, width) // 400)
    brightness = image[::step, ::step].max(axis=2)
    bright = np.pad(brightness > 0.13 * brightness.max(), 2, mode="edge")  # or the opening rounds the corners
    bright = ndimage.binary_opening(bright, iterations=2)[2:-2, 2:-2]
    regions, count = ndimage.label(bright)
    if count:
        field = ndimage.binary_fill_holes(regions == 1 + np.argmax(np.bincount(regions.ravel())[1:]))
        if field.mean() > 0.4:
            return field.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    return np.ones((height, width), bool)


def _allowed(image: NDArray, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a new lesion may lie: inside the field of view, at a distance from the frame's own lesions."""
    gap = max(2, round(0.01 * float(np.hypot(*own.shape))))
    free = np.pad(field_of_view(image) & ~own, 1)
    return ndimage.distance_transform_edt(free)[1:-1, 1:-1] > gap


def _away_from(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    if not mask.any():
        return np.ones_like(mask)
    return ndimage.distance_transform_edt(~mask) > distance


def _lesions(
    dataset: DatasetFolder,
    cases: Sequence[Case],
    background: Case,
    rng: np.random.Generator,
    rules: PlacementRules,
) -> Iterator[_Lesion]:
    """Lesions for a frame in random order, whole ones first."""
    others = [case for case in cases if case.id != background.id]
    elsewhere = [case for case in others if case.group is None or case.group != background.group] or others
    cut_off: list[_Lesion] = []
    found = False
    for i in rng.permutation(len(elsewhere)):
        lesion = _cut_out(dataset, elsewhere[i], rng)
        if lesion is None:
            continue
        found = True
        if lesion.whole:
            yield lesion
        else:
            cut_off.append(lesion)
            if len(cut_off) == rules.cut_off:
                break
    yield from cut_off
    if not found:
        raise SyndiffError(
            f"{dataset.root}: none of the {len(elsewhere)} training cases that could lend a lesion to "
            f"{background.id!r} has one (their masks are empty); synthesis needs at least two annotated cases."
        )


def _cut_out(dataset: DatasetFolder, case: Case, rng: np.random.Generator) -> _Lesion | None:
    """One lesion of a case, drawn among those that are no specks; None when its mask is empty."""
    image, mask = dataset.load(case)
    regions, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return None
    areas = np.bincount(regions.ravel())[1:]
    number = 1 + int(rng.choice(np.flatnonzero(areas >= max(16, areas.max() / 20)) if areas.max() >= 16 else [0]))
    lesion = regions == number
    field = field_of_view(image)
    rows, columns = ndimage.find_objects(lesion.astype(np.uint8))[0]
    pad = 4 + max(rows.stop - rows.start, columns.stop - columns.start) // 3
    crop = (
        slice(max(rows.start - pad, 0), rows.stop + pad),
        slice(max(columns.start - pad, 0), columns.stop + pad),
    )
    return _Lesion(
        case=case,
        image=to_unit(image[crop]),
        mask=lesion[crop],
        foreign=((mask & ~lesion) | ~field)[crop],
        frame_diagonal=float(np.hypot(*mask.shape)),
        whole=not (lesion[crop] & ~ndimage.binary_erosion(field[crop], iterations=2)).any(),
    )


def _turn(lesion: _Lesion, pixels: float, angle: float, flipped: bool, margin: float) -> _Patch | None:
    """Scale by `pixels`, turn by `angle` degrees and flip; None when too little of the lesion is left."""
    height, width = lesion.mask.shape
    band = max(2.0, margin * pixels * float(np.sqrt(lesion.mask.sum() / np.pi))) if margin else 0.0
    side = int(np.ceil(np.hypot(height, width) * pixels + 2 * band)) + 8
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    back = np.array([[cosine, sine], [-sine, cosine]]) / pixels  # from the patch to the cut-out
    if flipped:
        back[1] *= -1
    offset = np.array([height - 1, width - 1]) / 2 - back @ np.full(2, (side - 1) / 2)

    def warp(values: NDArray, start: NDArray, size: tuple[int, int], **how: Any) -> NDArray:
        """Sample `values` on the window of the patch that begins at `start`."""
        there = offset + back @ start
        return ndimage.affine_transform(values.astype(np.float32), back, there, size, **how)

    mask = warp(lesion.mask, np.zeros(2), (side, side), order=1) >= 0.5
    if mask.sum() < 16:
        return None
    foreign = warp(lesion.foreign, np.zeros(2), (side, side), order=1, cval=1) > 0
    paint = mask | (~_away_from(mask, band) & ~foreign)
    rows, columns = ndimage.find_objects(paint.astype(np.uint8))[0]
    start = np.array([max(rows.start - 2, 0), max(columns.start - 2, 0)])
    mask, paint = (part[start[0] : rows.stop + 2, start[1] : columns.stop + 2] for part in (mask, paint))
    # cubic: linear interpolation would blur lesions and teach "blurred means lesion"
    channels = [warp(lesion.image[..., c], start, mask.shape, order=3, mode="nearest") for c in range(3)]
    return _Patch(np.clip(np.stack(channels, axis=2), 0, 1), mask, paint)


def _best_corner(
    frame: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    patch: _Patch,
    rng: np.random.Generator,
    positions: int,
) -> tuple[tuple[int, int] | None, float]:
    """Upper left corner of the best of some random positions where the patch fits, and its mismatch."""
    (height, width), size = allowed.shape, np.array(patch.paint.shape)
    centres = np.argwhere(allowed)
    best, least = None, np.inf
    for centre in centres[rng.integers(len(centres), size=positions)] if len(centres) else ():
        row, column = (int(x) for x in centre - size // 2)
        if row < 0 or column < 0 or row + size[0] > height or column + size[1] > width:
            continue
        window = _window((row, column), patch)
        if not allowed[window][patch.paint].all():
            continue
        mismatch = _mismatch(frame[window][patch.ring], patch.image[patch.ring])
        if mismatch < least:
            best, least = (row, column), mismatch
    return best, least


def _mismatch(there: NDArray[np.float32], here: NDArray[np.float32]) -> float:
    """How badly two seams (nx3) fit: in ratios of light, what varies along them plus how far they are apart.

    What varies bleeds into a blended lesion; and since it keeps its difference to its surroundings, a pale
    one from red mucosa turns blue on grey mucosa.
    """
    ratio = np.log((there + 0.05) / (here + 0.05))  # 0.05: black is like black
    return float(ratio.std(axis=0).mean() + np.abs(ratio.mean(axis=0)).max())


def _window(corner: tuple[int, int], patch: _Patch) -> tuple[slice, slice]:
    (row, column), (height, width) = corner, patch.mask.shape
    return slice(row, row + height), slice(column, column + width)
