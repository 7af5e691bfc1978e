"""A second look at what was found: the same network on zoomed crops of the frame, merged without seams. No torch.

A network sees a frame as a small square. A crop around a lesion, resized to that square, shows it with the detail that
the frame has. Crops have the frame's proportions, so that a lesion is squeezed as in the frame, as it was in training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from syndiff.data.boxes import Box, crop_box
from syndiff.data.dataset import any_class
from syndiff.data.masks import bounding_box, components
from syndiff.data.resize import restore_probability
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError, shown
from syndiff.models.settings import Refine

T = TypeVar("T", bound=np.generic)
Maps = NDArray[np.float32]
Look = Callable[[Sequence[NDArray], bool], list[Maps]]
"""Probabilities (K, s, s) of parts (h, w, 3) of a frame; with True each in all views of the predictor, else in one."""


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Where a second look is taken, and how it counts; results/refine.md says how the values were found.

    context: side of a crop, in sides of the box of what is looked at.
    min_zoom: a crop that would be magnified less is not looked at: the lesion fills the frame.
    max_zoom: a crop is magnified no more.
    suspected: probability from which the first look's pixels are looked at again.
    agreement: Dice of the two looks in a crop from which the second one counts, where the first found anything.
    smallest: pixels at the network's own size; what is smaller is not looked at.
    crops: at most so many, those of the most probable lesions.
    margin: width of the border of a crop in which the first look takes over, as a share of the crop's side.
    tile: side of a tile, as a share of the frame's.
    """

    context: float = 2.6
    min_zoom: float = 1.2
    max_zoom: float = 3.0
    suspected: float = 0.25
    agreement: float = 0.6
    smallest: int = 8
    crops: int = 4
    margin: float = 0.125
    tile: float = 0.6

    def refine(
        self, image: NDArray, frame_khw: Maps, square_kss: Maps, look: Look, targets: Targets, *, tiles: bool
    ) -> Maps:
        """Probabilities (K, H, W) of the `image` (H, W, 3), better than those of the first look, `frame_khw`.

        `square_kss` are the same at the network's own size. A crop counts where it shows some of what was suspected
        there and agrees with what was found: it mends contours, finds what was only suspected, and takes no lesion
        away. Pieces that touch nothing suspected are not taken: zoomed in, a network sees more than there is. With
        `tiles`, where nothing is found, tiles are searched in a single view each, and what they find counts where a
        crop around it shows it too.
        """
        crops = self._looked_at(image, square_kss, self.suspected, look, targets)
        if tiles and not crops and not targets.decide(square_kss).any():
            crops = self._looked_at(image, self._mosaic(image, square_kss, look), 0.5, look, targets)
        return merged(frame_khw, crops, self.margin)

    def _looked_at(
        self, image: NDArray, first_kss: Maps, threshold: float, look: Look, targets: Targets
    ) -> list[tuple[Box, Maps]]:
        """Boxes of the frame and what a second look says there, where it shows what was suspected above a threshold."""
        suspected = targets.foreground(first_kss)
        places = []
        for suspect in self._suspects(suspected, threshold):
            place = crop_box(suspect, self.context, round(len(suspect) / self.max_zoom))
            if len(suspect) >= self.min_zoom * place.height:
                places.append((suspect, place, place.scaled(suspect.shape, image.shape[:2])))
        if not places:
            return []
        crops = []
        answers = look([image[box.slices] for _, _, box in places], True)
        for (suspect, place, box), answer in zip(places, answers, strict=True):
            side, shown = answer.shape[-1], any_class(targets.decide(answer))
            pieces, _ = components(shown)
            stray = shown & ~np.isin(pieces, pieces[_stretched(suspected[place.slices] > np.float32(threshold), side)])
            first = _stretched(first_kss[:, *place.slices], side)
            meets = (shown & _stretched(suspect[place.slices], side)).any()
            if meets and self._agree(any_class(targets.decide(first)), shown & ~stray):
                crops.append((box, np.where(stray, np.minimum(answer, first), answer)))
        return crops

    def _agree(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
        """Whether the second look may replace the first; where that found nothing, there is nothing to agree with."""
        together = np.count_nonzero(first) + np.count_nonzero(second)
        return not first.any() or bool(2 * np.count_nonzero(first & second) >= self.agreement * together)

    def _suspects(self, probability_ss: Maps, threshold: float) -> list[NDArray[np.bool_]]:
        """What may be a lesion (s, s): pieces above the threshold, those whose boxes overlap taken as one."""
        labels, areas = components(probability_ss > np.float32(threshold))
        if not len(areas):
            return []
        evidence = np.where(areas < self.smallest, 0, np.bincount(labels.ravel(), probability_ss.ravel())[1:])
        strongest = 1 + np.argsort(-evidence, kind="stable")[: self.crops]
        return _joined([labels == label for label in strongest if evidence[label - 1]])

    def _mosaic(self, image: NDArray, square_kss: Maps, look: Look) -> Maps:
        """Probabilities (K, 2s, 2s) of four overlapping tiles in the corners of the frame."""
        fine = 2 * square_kss.shape[-1]
        side = round(self.tile * fine)
        places = [Box(top, left, side, side) for top in (0, fine - side) for left in (0, fine - side)]
        answers = look([image[place.scaled((fine, fine), image.shape[:2]).slices] for place in places], False)
        empty = np.zeros((len(square_kss), fine, fine), np.float32)
        return merged(empty, list(zip(places, answers, strict=True)), 1 - 1 / (2 * self.tile))


def merged(frame_khw: Maps, crops: Sequence[tuple[Box, Maps]], margin: float) -> Maps:
    """Probabilities (K, H, W) of a frame with those (K, s, s) of crops, resized, blended into their boxes.

    Where windows of weight w lie over a pixel, with W their sum: (1 - min(W, 1)) frame + sum(w crop) / max(W, 1). A
    window is 1 inside and falls as a raised cosine within `margin` of its side; it does not fall where the box ends
    with the frame. So nothing jumps, and equal answers stay what they are.
    """
    if not crops:
        return frame_khw
    height, width = frame_khw.shape[1:]
    weight, total = np.zeros((height, width), np.float32), np.zeros_like(frame_khw)
    for box, probability in crops:
        down, across = _window(box.top, box.height, height, margin), _window(box.left, box.width, width, margin)
        window = np.outer(down, across).astype(np.float32)
        weight[box.slices] += window
        for into, one in zip(total, probability, strict=True):
            into[box.slices] += window * restore_probability(one, box.height, box.width)
    rows, columns = bounding_box(weight > 0)
    blended, weight = frame_khw.copy(), weight[rows, columns]
    first, second = frame_khw[:, rows, columns], total[:, rows, columns]
    blended[:, rows, columns] = np.clip((1 - np.minimum(weight, 1)) * first + second / np.maximum(weight, 1), 0, 1)
    return blended


def check_refine(value: object) -> Refine:
    """The value, which somebody gave. Raises SyndiffError for one that there is not."""
    for known in get_args(Refine):
        if value == known:
            return known
    raise SyndiffError(f"refine is {shown(value)}; expected {', '.join(get_args(Refine))}.")


def _window(start: int, length: int, limit: int, margin: float) -> NDArray[np.float64]:
    """Weights (length,) in (0, 1] along one side of a box that lies at `start` in a frame of `limit` pixels."""
    steps = np.arange(length) + 0.5
    fall = max(1.0, margin * length)
    near = np.ones(length) if start == 0 else np.minimum(steps / fall, 1)
    far = np.ones(length) if start + length == limit else np.minimum(steps[::-1] / fall, 1)
    return np.sin(np.pi / 2 * near) ** 2 * np.sin(np.pi / 2 * far) ** 2


def _joined(parts: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    """Masks (s, s) whose bounding boxes do not overlap, from some whose boxes may."""
    apart: list[tuple[Box, NDArray[np.bool_]]] = []
    for part in parts:
        box = crop_box(part, 1.0, 1)
        while touching := [each for each in apart if _overlap(each[0], box)]:
            apart = [each for each in apart if not _overlap(each[0], box)]
            part = np.logical_or.reduce([part, *(other for _, other in touching)])
            box = crop_box(part, 1.0, 1)
        apart.append((box, part))
    return [part for _, part in apart]


def _overlap(one: Box, other: Box) -> bool:
    down = one.top < other.top + other.height and other.top < one.top + one.height
    return down and one.left < other.left + other.width and other.left < one.left + one.width


def _stretched(part: NDArray[T], side: int) -> NDArray[T]:
    """Square maps (..., s, s) resized to (..., side, side) by their nearest pixels."""
    at = (np.arange(side) * part.shape[-1]) // side
    return part[..., at[:, None], at]
