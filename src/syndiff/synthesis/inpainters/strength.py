"""Painting that begins with more than noise: requests that are painted alike together, a real lesion to begin with."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from syndiff.data.readers import to_unit
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.copy_paste import seamless

Pictures = list[NDArray[np.float32]]
Way = TypeVar("Way", bound=Hashable)


def paint_by_way(
    requests: Sequence[InpaintRequest],
    way_of: Callable[[InpaintRequest], Way],
    paint: Callable[[Sequence[InpaintRequest], Way], Pictures],
) -> Pictures:
    """`paint` the requests of each way, such as a strength, as one batch; pictures in the order of the requests."""
    parts: dict[Way, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        parts[way_of(request)].append(number)
    painted: dict[int, NDArray[np.float32]] = {}
    for way, numbers in parts.items():
        painted |= zip(numbers, paint([requests[i] for i in numbers], way), strict=True)
    return [painted[number] for number in range(len(requests))]


def with_donor(request: InpaintRequest) -> NDArray[np.float32]:
    """The request's frame with its real lesion blended in (HxWx3 in [0, 1]), as `copy_paste` does it."""
    return seamless(to_unit(request.image), request.donor(), request.mask)
