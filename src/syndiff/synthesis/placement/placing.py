"""Where a new lesion goes: a frame, a real lesion's shape, and a place where it plausibly lies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.dataset import Case
from syndiff.data.masks import MIN_PIXELS, components, largest_component
from syndiff.data.readers import to_unit
from syndiff.synthesis.placement.album import Album, LoadedCase
from syndiff.synthesis.placement.field import FieldOfView, any_in_cells, to_pixels, view_pixels
from syndiff.synthesis.placement.population import Target
from syndiff.synthesis.placement.search import Draw, Ground, PlacementRules, search

_SAME = 0.95  # of a replaced lesion's length: pixels and a bend change so much
_LOOKED_AT = 200  # frames whose lesions are measured to find one whose lesion may be replaced
_ONE_PIECE = 0.95  # of a lesion that the edge of the view cuts is in one piece

OwnLesions = Literal["keep", "remove", "replace"]
"""What becomes of a frame's own lesions when it gets a new one (see `syndiff.synthesis.settings`)."""


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
    `crop` says which part of its file the frame is (top, left, height, width), where it is not all of it. `target` is
    what the lesion was to be like; None where it stays what it is.
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
    crop: tuple[int, int, int, int] | None = None
    target: Target | None = None

    def describe(self) -> dict[str, Any]:
        """Return how the lesion was moved, for the manifest."""
        described = {name: getattr(self, name) for name in ("row", "column", "angle", "scale", "flipped", "bend")}
        described |= {"replaced": True} if self.replaced else {}
        described |= {"crop": list(self.crop)} if self.crop else {}
        return described | ({"target": self.target.describe()} if self.target else {})


def place(
    album: Album,
    first: Case,
    rng: np.random.Generator,
    *,
    target: Target,
    margin: float,
    rules: PlacementRules,
    lenders: Sequence[Case] = (),
    own: OwnLesions = "keep",
    at_once: bool = False,
) -> Placement | None:
    """Find a place for a lesion as large as `target` in the frame `first`, or else in another of the album's frames.

    The lesion that is lent comes from another group than the frame where there is one, always from another case, and is
    whole. Those of the `lenders` and of about the target's size come first. A target that the edge of the view cuts is
    laid across that edge and cut by it there; any other lies whole in view. It lies on the wall at a distance from the
    frame's own lesions, also where these are to be painted over first (`own` is "remove"): what surrounds a new lesion
    is real then. It may cover highlights, and the lumen in part where its surroundings are wall (`rules.dark`).

    With "replace" it takes the place of the frame's largest lesion and hides nearly all of it; frames whose lesion is
    too large or too small for the target are passed over. The rest is painted over before, with the frame's other
    lesions, or `at_once` with the new lesion, by an inpainter that reads its contour. A frame without any lesion gets
    one anywhere, whatever `own` is. Of the positions tried it takes the one whose surroundings differ least from the
    lesion's own; of the lesions the first for which they hardly do, or else the best, also of some more frames. All of
    this is decided on the coarse grid of the frame's view. `margin` is the width of the band painted around it, as a
    share of its radius.
    Returns None when nothing fits within the bounds of `rules`.

    Raises SyndiffError when no case has a whole lesion.
    """
    fits = partial(_fits, album, target=target, rules=rules) if own == "replace" else None
    best: tuple[float, Placement] | None = None
    tried = 0
    for background in _frames(album, first, rng, rules.frames(target), fits):
        frame = album.frame(background)
        removal = _removed(frame.own, frame) if own != "keep" and frame.own.any() else None
        replaced = largest_component(frame.own) if own == "replace" and removal is not None else None
        ground = Ground(frame, frame.own if removal is None else removal, replaced, cut=target.edge > 0)
        for mismatch, draw in search(album, frame, ground, target, rng, margin, rules, lenders):
            if best and mismatch >= best[0]:
                break
            if placement := _placement(frame, ground, draw, removal, rules):
                placement = replace(placement, target=target, replaced=replaced is not None)
                if replaced is not None and at_once:
                    placement = _at_once(placement, frame, replaced)
                best = mismatch, placement
                break
        tried += best is not None
        if best and (best[0] <= rules.mismatch or tried == rules.poor):
            break
    return best and best[1]


def _fits(album: Album, case: Case, *, target: Target, rules: PlacementRules) -> bool:
    """Whether a new lesion of the target's size may replace the largest of a frame, which may have none."""
    largest = max((lesion.shape.area for lesion in album.known(case)), default=None)
    return largest is None or _SAME <= float(np.sqrt(target.area / largest)) <= rules.grow


def _at_once(placement: Placement, frame: LoadedCase, replaced: NDArray[np.bool_]) -> Placement:
    """What the new lesion leaves of the one that it replaces is painted with it, not removed before."""
    others = frame.own & ~replaced
    return replace(
        placement,
        inpaint_mask=placement.inpaint_mask | _removed(replaced, frame),
        removal_mask=_removed(others, frame) if others.any() else None,
    )


def restyle(
    album: Album, first: Case, rng: np.random.Generator, *, margin: float, rules: PlacementRules
) -> Placement | None:
    """Place the lesions of `first`, or else of another frame that has some, where they are: label and mask stay."""
    for background in _frames(album, first, rng, rules.backgrounds):
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
            inpaint_mask=frame.without_others(widened(frame.own, frame.view, margin) if margin else frame.own),
            donor=partial(to_unit, frame.image),
            row=row,
            column=column,
            angle=0.0,
            scale=1.0,
            flipped=False,
            bend=0.0,
        )
    return None


def _removed(mask: NDArray[np.bool_], frame: LoadedCase) -> NDArray[np.bool_]:
    """What to paint over so that lesions (HxW) vanish: they and a band around, for their rims and shadows."""
    return frame.without_others(widened(mask, frame.view, 0.25, least=4.0))


def widened(mask: NDArray[np.bool_], seen: FieldOfView, margin: float, least: float = 2.0) -> NDArray[np.bool_]:
    """Lesions (HxW, not empty) with a band around, inside the field of view.

    It is `margin` of their mean radius wide, `least` pixels at least.
    """
    _, areas = components(mask)
    radius = float(np.sqrt(areas.mean() / np.pi))
    near = ndimage.distance_transform_edt(~mask) <= max(least, margin * radius)
    return mask | (near & to_pixels(seen.field, seen.step, mask.shape))


def _frames(
    album: Album, first: Case, rng: np.random.Generator, most: int, fits: Callable[[Case], bool] | None = None
) -> Iterator[Case]:
    """`first`, and others in random order, `most` together; only such as fit, of a bounded number looked at."""
    others = [case for case in album.backgrounds if case.id != first.id]
    looked_at = chain([first], (others[i] for i in rng.permutation(len(others))[: _LOOKED_AT if fits else most]))
    yield from islice((case for case in looked_at if fits is None or fits(case)), most)


def _placement(
    frame: LoadedCase, ground: Ground, draw: Draw, removal: NDArray[np.bool_] | None, rules: PlacementRules
) -> Placement | None:
    """The place in full; None when the lesion, seen so, is a speck, in pieces, or touches what is blocked after all."""
    step, shape = frame.view.step, frame.own.shape
    # what is covered in the frame and some pixels around, in pixels of the frame
    window = tuple(
        slice(max(corner + start * step - 3, 0), min(corner + (start + length) * step + 3, limit))
        for corner, start, length, limit in zip(
            draw.corner, draw.sketch.start, draw.sketch.covered.shape, shape, strict=True
        )
    )
    if any(part.start >= part.stop for part in window):
        return None
    patch = draw.warp.render(
        *(slice(part.start - corner, part.stop - corner) for part, corner in zip(window, draw.corner, strict=True))
    )
    lesion_mask, inpaint_mask = np.zeros_like(frame.own), np.zeros_like(frame.own)
    lesion_mask[window], inpaint_mask[window] = patch.mask, patch.paint
    if _reaches_out(patch.paint, window, shape, cut=ground.cut):
        return None
    if ground.cut:
        seen = view_pixels(frame.image, frame.view)
        lesion_mask, inpaint_mask = lesion_mask & seen, inpaint_mask & seen
    whole = largest_component(lesion_mask)
    if whole.sum() < max(MIN_PIXELS, _ONE_PIECE * lesion_mask.sum()):
        return None
    lesion_mask = whole  # without the pixels that a ragged edge of the view cuts off
    if (any_in_cells(inpaint_mask, step) & ground.blocked).any():
        return None

    def donor() -> NDArray[np.float32]:
        picture = np.zeros(frame.image.shape, np.float32)
        picture[window] = patch.colours()
        return picture

    row, column = (round(float(x)) for x in ndimage.center_of_mass(lesion_mask))
    return Placement(
        background=frame.case,
        lesion=draw.warp.lesion.case,
        image=frame.image,
        view=frame.view,
        label=lesion_mask if removal is not None else frame.own | lesion_mask,
        lesion_mask=lesion_mask,
        inpaint_mask=inpaint_mask,
        donor=donor,
        row=row,
        column=column,
        angle=round(draw.warp.angle, 3),
        scale=round(draw.scale, 4),
        flipped=draw.warp.flipped,
        bend=round(rules.bend, 4),
        removal_mask=removal,
        crop=frame.crop,
    )


def _reaches_out(paint: NDArray[np.bool_], window: tuple[slice, ...], shape: tuple[int, ...], *, cut: bool) -> bool:
    """Whether paint touches an edge of its window, other than the frame's own where a lesion may be `cut` by it."""
    for axis, (part, limit) in enumerate(zip(window, shape, strict=True)):
        for side, at_frame in ((0, part.start == 0), (-1, part.stop == limit)):
            if not (cut and at_frame) and paint.take(side, axis=axis).any():
                return True
    return False
