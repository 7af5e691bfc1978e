"""An inpainter that follows no donor: grey where it is asked, slowly if one likes."""

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.settings import SynthesisSettings


class Grey:
    """Paints a grey that the seed chooses; every `fails`-th request, by its seed, comes back black."""

    name, seen = "grey", Seen()

    def __init__(
        self, batch_size: int = 1, fails: int = 0, seconds: float = 0.0, *, reads_lesion_mask: bool = False
    ) -> None:
        self.fails, self.seconds = fails, seconds
        self.capabilities = Capabilities(
            margin=0.2,
            batch_size=batch_size,
            paints_from_text=True,
            reads_lesion_mask=reads_lesion_mask,
            libraries=("scipy",),
        )
        self.prompts: list[str] = []

    def check_prompt(self, text: str) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        settings = {"fails": self.fails}
        return {
            "name": self.name,
            "model": None,
            "revision": None,
            "hash": None,
            "learned_from": [],
            "settings": settings,
        }

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[np.ndarray]:
        time.sleep(self.seconds * len(requests))
        self.prompts += [request.prompt for request in requests]
        return [self._paint(request) for request in requests]

    def _paint(self, request: InpaintRequest) -> np.ndarray:
        picture = to_unit(request.image)
        failed = self.fails and request.seed % self.fails == 0
        picture[request.mask] = 0 if failed else 0.7 + request.seed % 50 / 200
        return picture


def settings_of(arguments: dict[str, Any]) -> SynthesisSettings:
    """Take what are settings out of `arguments`."""
    names = [item.name for item in fields(SynthesisSettings) if item.name in arguments and item.name != "inpainter"]
    return SynthesisSettings(**{name: arguments.pop(name) for name in names})
