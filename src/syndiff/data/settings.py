"""How much a training case may be changed."""

from dataclasses import dataclass
from typing import Annotated

from syndiff.bounds import Bounds, Section, Share, ShareBelowOne


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings(Section):
    """What may happen to a training case; each amount is drawn anew, uniformly, for every case."""

    section = "augmentation"

    flips: bool = True
    """Mirror left-right and top-bottom, each with probability one half."""
    rotation: Annotated[float, Bounds(0, 180)] = 180.0
    """Largest rotation in degrees, either way."""
    scale: tuple[Annotated[float, Bounds(0.01, 100)], Annotated[float, Bounds(0.01, 100)]] = (0.8, 1.25)
    """Smallest and largest magnification; drawn uniformly in its logarithm."""
    translate: Share = 0.1
    """Largest shift along each axis, as a fraction of the image's side."""
    colour: ShareBelowOne = 0.2
    """Largest relative change of brightness, of contrast and of saturation, each on its own."""
    hue: Annotated[float, Bounds(0, 180)] = 8.0
    """Largest rotation of the hue in degrees, either way."""
    probability: Annotated[float, Bounds(0, 1, above=True)] = 0.9
    """Share of cases that are rotated, scaled and shifted, and, drawn apart, that are recoloured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale[0] > self.scale[1]:
            raise self.refuse("scale", "the smaller magnification first")

    @classmethod
    def none(cls) -> "AugmentationSettings":
        """Settings that leave every case exactly as it is."""
        return cls(flips=False, rotation=0, scale=(1, 1), translate=0, colour=0, hue=0)

    @property
    def moves(self) -> bool:
        """Whether anything but a flip can move a pixel."""
        return self.rotation > 0 or self.translate > 0 or any(bound != 1 for bound in self.scale)

    @property
    def recolours(self) -> bool:
        """Whether any colour can change."""
        return self.colour > 0 or self.hue > 0
