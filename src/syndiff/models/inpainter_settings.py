"""What a compact inpainter is; how it is trained belongs to `AdaptSettings`."""

from dataclasses import dataclass
from typing import Annotated

from syndiff.bounds import Bounds, Section

Variance = Annotated[float, Bounds(0, 1, above=True, below=True)]
_Width = Annotated[int, Bounds(32, 2048, multiple=32)]


@dataclass(frozen=True, kw_only=True)
class InpaintingSettings(Section):
    """Everything that rebuilds a compact inpainter; stored beside its weights.

    Attributes:
        crop_size: side in pixels of the crops it paints.
        autoencoder: "compact", a folder, or a hub id (TAEF2, AutoencoderTiny, AutoencoderKL).
        autoencoder_revision: commit of the hub repository; empty for a folder or the newest one.
        channels: width of the U-Net at 1/8, 1/16 and 1/32 of the crop.
        caption_channels: width of the encoded caption.
        caption_layers: transformer layers of the caption encoder.
        caption_length: longest caption in words, the start token included.
        timesteps: length T of the noise schedule.
        beta_start: first variance of the forward process.
        beta_end: last variance of the forward process; T - 1 holds no signal whatever it is.
    """

    section = "inpainter"

    crop_size: Annotated[int, Bounds(64, 1024, multiple=32)] = 128
    autoencoder: str = "compact"
    autoencoder_revision: str = ""
    channels: tuple[_Width, _Width, _Width] = (96, 160, 224)
    caption_channels: Annotated[int, Bounds(4, 4096, multiple=4)] = 128
    caption_layers: Annotated[int, Bounds(1, 64)] = 2
    caption_length: Annotated[int, Bounds(2, 4096)] = 48
    timesteps: Annotated[int, Bounds(2, 100_000)] = 1000
    beta_start: Variance = 0.00085
    beta_end: Variance = 0.012

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("beta_start", "beta_end", apart=True)
        if self.autoencoder == "mask":
            raise self.refuse("autoencoder", "one that knows pictures, such as compact")
