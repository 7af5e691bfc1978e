"""Painting that begins with more than noise: requests of one strength together, a real lesion to begin with."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from syndiff.data.readers import to_unit
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.copy_paste import seamless

Pictures = list[NDArray[np.float32]]


def paint_by_strength(
    requests: Sequence[InpaintRequest],
    strength_of: Callable[[InpaintRequest], float],
    paint: Callable[[Sequence[InpaintRequest], float], Pictures],
) -> Pictures:
    """`paint` the requests of each strength as one batch; pictures in the order of the requests."""
    parts = defaultdict(list)
    for number, request in enumerate(requests):
        parts[strength_of(request)].append(number)
    painted: dict[int, NDArray[np.float32]] = {}
    for strength, numbers in parts.items():
        painted |= zip(numbers, paint([requests[i] for i in numbers], strength), strict=True)
    return [painted[number] for number in range(len(requests))]


def with_donor(request: InpaintRequest) -> NDArray[np.float32]:
    """The request's frame with its real lesion blended in (HxWx3 in [0, 1]), as `copy_paste` does it."""
    return seamless(to_unit(request.image), request.donor(), request.mask)
