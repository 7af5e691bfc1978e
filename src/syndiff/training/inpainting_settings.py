"""How the compact inpainter is trained; what it is belongs to `InpaintingSettings`."""

from dataclasses import dataclass
from typing import Annotated

from syndiff.bounds import Bounds, Share, ShareBelowOne
from syndiff.training.settings import Minutes, OptimisationSettings, Rate, Steps

_Context = Annotated[float, Bounds(1, 8)]
_Margin = Annotated[float, Bounds(0, 2)]


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

    section = "adapt"

    minutes: Minutes = 30.0
    steps: Steps = 2000
    learning_rate: Rate = 8e-4
    ema: ShareBelowOne = 0.995
    validate_every: Steps = 200
    crops: Annotated[int, Bounds(1, 1_000_000)] = 4096
    outside_weight: Share = 0.1
    background_share: ShareBelowOne = 0.15
    caption_dropout: ShareBelowOne = 0.1
    least_context: _Context = 1.5
    most_context: _Context = 2.6
    least_margin: _Margin = 0.15
    most_margin: _Margin = 0.45
    colour: ShareBelowOne = 0.1
    hue: Annotated[float, Bounds(0, 180)] = 4.0

    @property
    def margin(self) -> float:
        """How far around a lesion the inpainter paints, in radii of the lesion: the middle of what it has learned."""
        return round((self.least_margin + self.most_margin) / 2, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("least_context", "most_context")
        self.check_order("least_margin", "most_margin")
