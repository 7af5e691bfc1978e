"""How much a training case may be changed."""

from dataclasses import dataclass

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """What may happen to a training case; each amount is drawn anew, uniformly, for every case."""

    flips: bool = True
    """Mirror left-right and top-bottom, each with probability one half."""
    rotation: float = 180.0
    """Largest rotation in degrees, either way, 0 to 180."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest magnification; drawn uniformly in its logarithm."""
    translate: float = 0.1
    """Largest shift along each axis, as a fraction of the image's side."""
    colour: float = 0.2
    """Largest relative change of brightness, of contrast and of saturation, each on its own."""
    hue: float = 8.0
    """Largest rotation of the hue in degrees, either way, 0 to 180."""
    probability: float = 0.9
    """Share of cases that are rotated, scaled and shifted, and, drawn apart, that are recoloured."""

    def __post_init__(self) -> None:
        low, high = self.scale
        limits = {
            "rotation": (0 <= self.rotation <= 180, "between 0 and 180 degrees"),
            "scale": (0 < low <= high, "two positive numbers, the smaller first"),
            "translate": (0 <= self.translate <= 1, "between 0 and 1, a fraction of the image's side"),
            "colour": (0 <= self.colour < 1, "at least 0 and below 1"),
            "hue": (0 <= self.hue <= 180, "between 0 and 180 degrees"),
            "probability": (0 < self.probability <= 1, "above 0 and at most 1"),
        }
        for name, (good, expected) in limits.items():
            if not good:
                raise SyndiffError(f"augmentation setting {name} is {getattr(self, name)}; it must be {expected}.")

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
