"""What a compact inpainter is; how it is trained belongs to `AdaptSettings`."""

from dataclasses import dataclass

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class InpaintingSettings:
    """Everything that rebuilds a compact inpainter; stored beside its weights.

    Attributes:
        crop_size: side in pixels of the crops it paints, a multiple of 32.
        autoencoder: "compact", a folder, or a hub id (TAEF2, AutoencoderTiny, AutoencoderKL).
        autoencoder_revision: commit of the hub repository; empty for a folder or the newest one.
        channels: width of the U-Net at 1/8, 1/16 and 1/32 of the crop; multiples of 32.
        caption_channels: width of the encoded caption, a multiple of 4.
        caption_layers: transformer layers of the caption encoder.
        caption_length: longest caption in words, the start token included.
        timesteps: length T of the noise schedule.
        beta_start: first variance of the forward process.
        beta_end: last variance of the forward process; T - 1 holds no signal whatever it is.
    """

    crop_size: int = 128
    autoencoder: str = "compact"
    autoencoder_revision: str = ""
    channels: tuple[int, int, int] = (96, 160, 224)
    caption_channels: int = 128
    caption_layers: int = 2
    caption_length: int = 48
    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def __post_init__(self) -> None:
        expected = {
            "autoencoder": (self.autoencoder != "mask", "one that knows pictures, such as compact"),
            "crop_size": (self.crop_size >= 64 and self.crop_size % 32 == 0, "a multiple of 32, such as 128"),
            "channels": (
                len(self.channels) == 3 and all(c >= 32 and c % 32 == 0 for c in self.channels),
                "three multiples of 32",
            ),
            "caption_channels": (self.caption_channels >= 4 and self.caption_channels % 4 == 0, "a multiple of 4"),
            "caption_layers": (self.caption_layers >= 1, "1 or more"),
            "caption_length": (self.caption_length >= 2, "2 or more"),
        }
        for name, (valid, words) in expected.items():
            if not valid:
                raise SyndiffError(f"inpainter setting {name}: found {getattr(self, name)}, expected {words}.")
