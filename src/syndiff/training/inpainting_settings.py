"""How the compact inpainter is trained; what it is belongs to `InpaintingSettings`."""

import math
from dataclasses import dataclass

from syndiff.training.settings import OptimisationSettings


@dataclass(frozen=True, kw_only=True)
class AdaptSettings(OptimisationSettings):
    """The training of the compact inpainter.

    Attributes:
        minutes: time of the steps; how many fit is measured on this machine. 0 takes `steps` instead.
        crops: crops of the training lesions that are cut and encoded before the training, with the shipped
            autoencoder some 30 ms and 50 kB each; the training draws from them.
        outside_weight: weight of the loss where nothing is painted; 1 where something is.
        background_share: share of the crops without a lesion, from which it learns to paint mucosa.
        caption_dropout: share of the crops trained without their caption, for classifier-free guidance.
        least_context: smallest side of a crop, in sides of the lesion.
        most_context: largest side of a crop, in sides of the lesion.
        least_margin: narrowest band around the lesion that is hidden with it, in radii of the lesion.
        most_margin: widest such band.
        colour: largest relative change of brightness, contrast and saturation of a crop.
        hue: largest turn of its hue in degrees.
    """

    minutes: float = 30.0
    steps: int = 2000
    learning_rate: float = 8e-4
    ema: float = 0.995
    validate_every: int = 200
    crops: int = 4096
    outside_weight: float = 0.1
    background_share: float = 0.15
    caption_dropout: float = 0.1
    least_context: float = 1.5
    most_context: float = 2.6
    least_margin: float = 0.15
    most_margin: float = 0.45
    colour: float = 0.1
    hue: float = 4.0

    def _limits(self) -> dict[str, bool]:
        return super()._limits() | {
            "minutes": 0 <= self.minutes < math.inf,
            "crops": self.crops >= 1,
            "outside_weight": 0 <= self.outside_weight <= 1,
            "background_share": 0 <= self.background_share < 1,
            "caption_dropout": 0 <= self.caption_dropout < 1,
            "least_context": 1 <= self.least_context <= self.most_context,
            "most_context": self.most_context <= 8,
            "least_margin": 0 <= self.least_margin <= self.most_margin,
            "most_margin": self.most_margin <= 2,
        }
