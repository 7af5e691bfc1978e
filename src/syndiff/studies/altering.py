"""Frames with their lesion altered and all else kept to the bit: moved, shrunk, made paler, removed, and controls.

Whatever paints leaves a trace, and a segmenter may react to that rather than to what was altered. So each alteration
has a control with the same trace: `PUT_BACK` is cleared and gets its lesion back where it was, as those that are shrunk
or made paler are; `PATCH` keeps its lesion and is cleared elsewhere, at the place that a moved lesion gets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.masks import MIN_PIXELS, bounding_box, components
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.synthesis.compositing import put
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.placement.album import LoadedCase
from syndiff.synthesis.placement.contour import grown
from syndiff.synthesis.placement.field import any_in_cells, to_pixels
from syndiff.synthesis.placement.lesions import Sketch
from syndiff.synthesis.placement.placing import widened
from syndiff.synthesis.placement.search import Ground, PlacementRules, mismatches
from syndiff.synthesis.prompts.grammar import Caption, Grammar
from syndiff.synthesis.settings import SynthesisSettings

Mask = NDArray[np.bool_]
Image = NDArray[np.uint8] | NDArray[np.uint16]

ORIGINAL, PUT_BACK, PATCH, MOVED, REMOVED = "original", "put back", "patch elsewhere", "moved", "removed"
_EVEN = 0.4
"""Standard deviation of the logarithm of what lies around a smooth patch up to which it does not look like a lesion.

Between a bright fold and the dark lumen a smooth transition is a bright hump, and to mark it is no mistake. Seen in the
validation cases of CVC-ClinicDB: none up to 0.42, in most from 0.45 on.
"""
_WIDER = 0.1
"""What is cleared reaches so many radii further than what is painted into it: a lesion meets cleared tissue."""


@dataclass(frozen=True, order=True)
class Shrunk:
    """The lesion at its own place, `factor` times as long."""

    factor: float

    def __str__(self) -> str:
        return f"shrunk to {self.factor:g}"


@dataclass(frozen=True, order=True)
class Paler:
    """The lesion at its own place with `factor` times its difference to the tissue that it was cleared with."""

    factor: float

    def __str__(self) -> str:
        return f"paler to {self.factor:g}"


Change = str | Shrunk | Paler


def control_of(change: Change) -> str:
    """The alteration with the same trace of the inpainter that a change is compared with."""
    if change in (PUT_BACK, PATCH):
        return ORIGINAL
    return PATCH if change in (MOVED, REMOVED) else PUT_BACK


@dataclass(frozen=True)
class Altered:
    """A frame (HxWx3), its label (HxW), and where it may differ from the original (HxW)."""

    image: Image
    label: Mask
    changed: Mask


@dataclass(frozen=True)
class Instrument:
    """What alters frames: an inpainter with its words and settings; `rules` say what a good place is.

    The inpainter is asked for tissue without a lesion as `synthesize` asks for it; copy_paste, which has none to lend,
    is lent nothing and so gives the smoothest transition between what lies around.
    """

    inpainter: Inpainter
    grammar: Grammar
    settings: SynthesisSettings
    rules: PlacementRules = field(default_factory=PlacementRules)

    def alter(self, frame: LoadedCase, wanted: Sequence[Change], *, seed: int) -> Mapping[Change, Altered]:
        """The wanted alterations of a frame with a lesion, as far as they are possible.

        A lesion is moved or shrunk where it is the only one and lies well in view with what is painted around it, and,
        where the inpainter copies lesions, surroundings there and at home are as alike as `rules.mismatch` says. To be
        moved, and for a patch, all that is cleared needs another place on the wall; a shrunk lesion is no speck.
        Where the inpainter copies lesions, what surrounds a removed one, or a patch, is even (`_EVEN`).
        `seed` draws noise, grain and places tried.

        Raises SyndiffError where the inpainter gives values that are not finite.
        """
        work = _Work(self, frame, seed)
        found: dict[Change, Altered | None] = {change: work.make(change) for change in wanted}
        return {change: altered for change, altered in found.items() if altered is not None}


class _Work:
    """One frame while it is altered: what several alterations need is painted once."""

    def __init__(self, instrument: Instrument, frame: LoadedCase, seed: int) -> None:
        self.tool, self.frame, self.seed = instrument, frame, seed
        self.margin = instrument.inpainter.capabilities.margin
        self.clearing = self._cleared_mask(frame.own)
        self._tissue: tuple[NDArray[np.float32], Image] | None = None
        self._back: NDArray[np.float32] | None = None
        self._shift: tuple[int, int] | None = None
        self._sought = False

    def make(self, change: Change) -> Altered | None:
        """The frame with one change, None where it is not possible."""
        image, own, clearing = self.frame.image, self.frame.own, self.clearing
        if change == ORIGINAL:
            return Altered(image, own, np.zeros_like(own))
        if change == REMOVED:
            if not self._even(clearing):
                return None
            return Altered(self._cleared()[1], np.zeros_like(own), clearing)
        if change == PUT_BACK or isinstance(change, Paler):
            factor = change.factor if isinstance(change, Paler) else 1.0
            mask = self._painted_mask(own)
            return Altered(self._put(self._paler(factor), mask), own, clearing | mask)
        if isinstance(change, Shrunk):
            return self._shrunk(change.factor)
        shift = self._place()
        if shift is None:
            return None
        if change == PATCH:
            there = _shifted(clearing, shift)
            if not self._even(there):
                return None
            _, patched = self._clear(there)
            return Altered(patched, own, there)
        if not self._single:
            return None
        lesion, mask = _shifted(own, shift), _shifted(self._painted_mask(own), shift)
        return self._new(lesion, mask, _shifted(to_unit(image), shift))

    def _shrunk(self, factor: float) -> Altered | None:
        if not self._single:
            return None
        lesion, donor = _scaled(self.frame.own, to_unit(self.frame.image), factor, bounding_box(self.clearing, 2))
        if lesion.sum() < MIN_PIXELS:
            return None
        return self._new(lesion, self._painted_mask(lesion), donor)

    def _new(self, lesion: Mask, mask: Mask, donor: NDArray[np.float32]) -> Altered | None:
        """The frame with its lesion as it is in `donor` instead; None where that does not go with what is around."""
        tissue = to_unit(self._cleared()[1])
        if self.tool.inpainter.capabilities.copies and _mismatch(tissue, donor, mask) > self.tool.rules.mismatch:
            return None
        return Altered(self._put(self._paint(lesion, mask, donor), mask), lesion, self.clearing | mask)

    def _paler(self, factor: float) -> NDArray[np.float32]:
        """The lesion painted where it was, its difference to the cleared tissue times `factor` (HxWx3)."""
        if self._back is None:
            own = self.frame.own
            self._back = self._paint(own, self._painted_mask(own), to_unit(self.frame.image))
        tissue, _ = self._cleared()
        return tissue + np.float32(factor) * (self._back - tissue) if factor != 1 else self._back

    def _cleared(self) -> tuple[NDArray[np.float32], Image]:
        """The frame without its lesions, as painted (HxWx3 in [0, 1]) and as a frame."""
        if self._tissue is None:
            self._tissue = self._clear(self.clearing)
        return self._tissue

    def _clear(self, mask: Mask) -> tuple[NDArray[np.float32], Image]:
        """Tissue without a lesion in the mask of the original frame."""
        image = self.frame.image
        words = self.tool.grammar.background
        painted = self._ask(image, mask, np.zeros_like(mask), words, np.zeros(image.shape, np.float32))
        return painted, put(image, painted, mask, self.tool.settings, seed=self.seed)

    def _paint(self, lesion: Mask, mask: Mask, donor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cleared frame with a lesion painted into it, in the words for the frame's own (HxWx3 in [0, 1])."""
        image, own = self.frame.image, self.frame.own
        words = self.tool.grammar.caption(image, own, own, lesion)
        return self._ask(self._cleared()[1], mask, lesion, words, donor)

    def _put(self, painted: NDArray[np.float32], mask: Mask) -> Image:
        return put(self._cleared()[1], painted, mask, self.tool.settings, seed=self.seed + 1)

    def _ask(
        self, image: Image, mask: Mask, lesion: Mask, words: Caption, donor: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        inpainter = self.tool.inpainter
        negative = "" if inpainter.capabilities.reads_captions else getattr(words, "negative", "")
        request = InpaintRequest(image, mask, lesion, words.text, negative, self.seed % 2**32, lambda: donor)
        (painted,) = inpainter.inpaint([request])
        if not np.isfinite(painted[mask]).all():
            raise SyndiffError(
                f"{self.frame.case.id}: {inpainter.name} painted values that are not finite; expected colours. Look at "
                "what `syndiff synthesize` makes with it."
            )
        return painted

    def _cleared_mask(self, lesion: Mask) -> Mask:
        return widened(lesion, self.frame.view, self.margin + _WIDER, least=4.0)

    def _painted_mask(self, lesion: Mask) -> Mask:
        return widened(lesion, self.frame.view, self.margin) if self.margin else lesion

    def _even(self, mask: Mask) -> bool:
        """Whether what lies around a mask, in view, is so even that a smooth patch there looks like no lesion."""
        if not self.tool.inpainter.capabilities.copies:
            return True
        seen = self.frame.view
        around = grown(mask) & ~mask & to_pixels(seen.inner, seen.step, mask.shape)
        light = np.log(to_unit(self.frame.image)[around] + 0.05)
        return len(light) > 0 and float(light.std(axis=0).mean()) <= _EVEN

    @property
    def _single(self) -> bool:
        """Whether the frame has one lesion, with all that is cleared around it in view: no edge of it goes along."""
        seen, own = self.frame.view, self.frame.own
        if len(components(own)[1]) != 1:
            return False
        near = widened(own, replace(seen, field=np.ones_like(seen.field)), self.margin + _WIDER, least=4.0)
        return bool(to_pixels(seen.inner, seen.step, own.shape)[near].all())

    def _place(self) -> tuple[int, int] | None:
        """Where the lesion is moved, as pixels down and right: whole cells, so that its pixels stay what they are."""
        if not self._sought:
            self._sought = True
            self._shift = _place(self.frame, self.clearing, self.tool.rules, self.seed)
        return self._shift


def _place(frame: LoadedCase, clearing: Mask, rules: PlacementRules, seed: int) -> tuple[int, int] | None:
    """The shift to the place whose surroundings are most like those of `clearing` (HxW); of places drawn by `seed`."""
    step = frame.view.step
    cells = any_in_cells(clearing, step)
    window = bounding_box(cells)
    start = np.array([side.start for side in window])
    ring = np.argwhere(grown(np.pad(cells, 1)) & ~np.pad(cells, 1)) - 1
    limits = np.array(cells.shape) - 1
    ring = ring[((ring >= 0) & (ring <= limits)).all(axis=1)]
    pixels = [(ring[:, axis] * step + step // 2).clip(0, frame.image.shape[axis] - 1) for axis in (0, 1)]
    seam = to_unit(frame.image[tuple(pixels)])
    covered = cells[window]
    sketch = Sketch((0, 0), covered, covered, covered, ring - start, seam)
    places = Ground(frame, clearing, None, cut=False).places(sketch, 0.0, rules)
    if not len(places):
        return None
    tried = places[np.random.default_rng(seed).permutation(len(places))[: rules.positions]]
    found = mismatches(frame, tried, sketch, rules)
    best = int(np.argmin(found))
    if not np.isfinite(found[best]):
        return None
    down, right = (int(x) * step for x in tried[best] - start)
    moved = _shifted(clearing, (down, right))
    return (down, right) if moved.sum() == clearing.sum() and not (moved & clearing).any() else None


def _mismatch(tissue: NDArray[np.float32], donor: NDArray[np.float32], mask: Mask) -> float:
    """How badly two pictures (HxWx3) fit around a mask (HxW), as `mismatches` has it."""
    ring = grown(mask) & ~mask
    ratio = np.log((tissue[ring] + 0.05) / (donor[ring] + 0.05))
    return float(ratio.std(axis=0).mean() + np.abs(ratio.mean(axis=0)).max())


def _shifted(picture: Any, shift: tuple[int, int]) -> Any:
    """A picture or mask (HxW...) moved down and right by whole pixels; what comes in from beyond is 0."""
    result = np.zeros_like(picture)
    there, here = [], []
    for by, size in zip(shift, picture.shape[:2], strict=True):
        there.append(slice(max(by, 0), size + min(by, 0)))
        here.append(slice(max(-by, 0), size + min(-by, 0)))
    result[tuple(there)] = picture[tuple(here)]
    return result


def _scaled(
    lesion: Mask, picture: NDArray[np.float32], factor: float, window: tuple[slice, slice]
) -> tuple[Mask, NDArray[np.float32]]:
    """Lesion (HxW) and picture (HxWx3) made `factor` times as long about the lesion's centre, seen in the window."""
    shape, part = lesion[window].astype(np.float32), picture[window]
    centre = np.argwhere(shape > 0).mean(axis=0)
    offset = centre - centre / factor

    def scaled(values: NDArray[np.float32], order: Literal[1, 3]) -> NDArray[np.float32]:
        # smoothed first, so that detail which is too fine afterwards does not turn into other detail
        smooth = ndimage.gaussian_filter(values, max(0.0, (1 / factor - 1) / 2)) if order > 1 else values
        moved: NDArray[np.float32] = ndimage.affine_transform(
            smooth, np.full(2, 1 / factor), offset, order=order, mode="nearest"
        )
        return moved

    small, donor = np.zeros_like(lesion), picture.copy()
    small[window] = scaled(shape, 1) >= 0.5
    donor[window] = np.clip(np.stack([scaled(part[..., c], 3) for c in range(part.shape[2])], axis=-1), 0, 1)
    return small, donor
