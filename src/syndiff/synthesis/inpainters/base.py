"""What every inpainter is asked and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from syndiff.data.seen import Seen
from syndiff.synthesis.inpainters.capabilities import Capabilities


@dataclass(frozen=True)
class InpaintRequest:
    """One region to paint.

    `image` is the frame (HxWx3, uint8 or uint16), `mask` where to paint (HxW), `lesion` the shape that the new
    lesion has in it (HxW), empty where mucosa is to be painted over one. `seed` is the only source of randomness, so a
    sample is the same in any batch. `donor` gives a real training lesion already moved into the frame's coordinates
    (HxWx3 in [0, 1], meaningful on lesion, margin and a pixel around): what `copy_paste` blends in. It is a function,
    since inpainters that follow the prompt never ask.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    mask: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    prompt: str
    negative_prompt: str
    seed: int
    donor: Callable[[], NDArray[np.float32]]


class Inpainter(Protocol):
    """Paints a lesion into the mask of a frame."""

    @property
    def name(self) -> str:
        """The name in the manifest and on the command line."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do and what it needs."""

    @property
    def seen(self) -> Seen:
        """The pictures that it is known to have learned from or to have been chosen on."""

    def check_prompt(self, text: str) -> None:
        """Raise SyndiffError, showing what would be lost, when it cannot take in the whole of a prompt."""

    def describe(self) -> dict[str, Any]:
        """Return what the manifest keeps: `name`, `model`, `revision`, `hash` (None without weights), `settings`.

        And `learned_from`: the names of the datasets that it is known to have learned from.
        """

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint each request: HxWx3 in [0, 1] at the frame's size. Only the mask's inside is used.

        A failed painting comes back as it is (NaN, black): the gates find and record it.
        """
