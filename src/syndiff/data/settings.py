"""How much a training case may be changed."""

from dataclasses import dataclass
from typing import Annotated

from syndiff.bounds import Bounds, Section, Share, ShareBelowOne
from syndiff.errors import SyndiffError


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
    zoom: Annotated[float, Bounds(1, 8)] = 1.0
    """Largest magnification of a crop, around a lesion or anywhere, that stands in for the whole image, so that the
    network learns what `predict --refine` shows it; 1: never. Training images are then kept at twice the model's size
    too: five times the memory."""
    zoom_share: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    """Share of cases that are zoomed into, where `zoom` is above 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zoom == 1 and self.zoom_share != type(self).zoom_share:
            raise SyndiffError(
                f"augmentation.zoom_share is {self.zoom_share} and has no effect with zoom 1; leave it out, or set "
                "augmentation.zoom to the largest magnification."
            )
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
    def detail(self) -> int:
        """How many times the model's size the images are kept at beside it, for crops; 1: they are not."""
        return 2 if self.zoom > 1 else 1

    @property
    def recolours(self) -> bool:
        """Whether any colour can change."""
        return self.colour > 0 or self.hue > 0
