"""An inpainter that paints the same places from other noise: how much chance alone changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.seen import Seen
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities


@dataclass(frozen=True)
class OtherNoise:
    """`inner` with `added` to the seed of every request."""

    inner: Inpainter
    added: int

    @property
    def name(self) -> str:
        """That of the inpainter."""
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        """Those of the inpainter."""
        return self.inner.capabilities

    @property
    def seen(self) -> Seen:
        """What the inpainter has seen."""
        return self.inner.seen

    def check_prompt(self, text: str) -> None:
        """As the inpainter does."""
        self.inner.check_prompt(text)

    def describe(self) -> dict[str, Any]:
        """The inpainter, with what is added to its seeds."""
        described = self.inner.describe()
        return {**described, "settings": {**described["settings"], "seeds_added": self.added}}

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint each request with another seed."""
        return self.inner.inpaint([replace(each, seed=(each.seed + self.added) % 2**32) for each in requests])
