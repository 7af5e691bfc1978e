"""The one-step latent-diffusion segmenter: vision encoder, denoiser and frozen autoencoder composed as in the paper."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from syndiff.diffusion.objectives import make_objective
from syndiff.diffusion.samplers import ddim
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.models.autoencoder import Autoencoder, load_autoencoder
from syndiff.models.control import ControlUNet, PlainNetwork
from syndiff.models.denoiser import CompactDenoiser
from syndiff.models.encoder import AutoencoderEncoder, VisionEncoder
from syndiff.models.hardware import channels_last
from syndiff.models.latent_grid import DOWNSAMPLING
from syndiff.models.peers import PEERS, Peer
from syndiff.models.segmenter_settings import SegmenterSettings
from syndiff.models.unet import UNetDenoiser, UNetWeights

MASK_LOGIT_SCALE = 5.0
"""A decoded mask score of +1 or -1 is read as a probability of 0.993 or 0.007."""


class DiffusionSegmenter(nn.Module):
    """p(mask | image) by denoising a mask latent: z_c = tau(image), z~_0 from (noise, z_c), mask = D(z~_0)."""

    def __init__(self, settings: SegmenterSettings, autoencoder: Autoencoder | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.autoencoder = autoencoder or load_autoencoder(
            settings.autoencoder, revision=settings.autoencoder_revision or None
        )
        self.schedule = NoiseSchedule(
            timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            zero_terminal_snr=settings.zero_terminal_snr,
        )
        self.objective = make_objective(
            settings.objective, self.schedule, latent_weight=settings.latent_weight, norm=settings.norm
        )
        self.encoder = _build_encoder(settings, self.autoencoder)
        self.denoiser = _build_denoiser(settings, self.autoencoder.latent_channels)
        # A linear read-out of z_c, used in training only: it tells the encoder about the mask without the long way
        # through denoiser and decoder.
        self.guide = nn.Sequential(
            nn.Conv2d(settings.condition_channels, DOWNSAMPLING**2, 1), nn.PixelShuffle(DOWNSAMPLING)
        )

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (c, h/8, w/8) of the latent noise for images of this size."""
        return self.autoencoder.latent_channels, height // DOWNSAMPLING, width // DOWNSAMPLING

    def denoise(self, condition_bchw: Tensor, noise_bchw: Tensor) -> Tensor:
        """z~_0 for a condition z_c and Gaussian noise: one pass, or `inference_steps` of DDIM."""
        return ddim(
            lambda noisy, timestep_b: self.denoiser(noisy, timestep_b, condition_bchw),
            self.objective,
            self.schedule,
            noise_bchw,
            start=self.settings.first_timestep,
            steps=self.settings.inference_steps,
        )

    def decode_logits(self, latent_bchw: Tensor) -> Tensor:
        """Mask logits (b, 1, 8h, 8w) of a mask latent, through the frozen decoder."""
        clamp = self.settings.inference_clamp and not self.training
        return self.autoencoder.decode_mask(latent_bchw, clamp=clamp) * MASK_LOGIT_SCALE

    def forward(self, image_bchw: Tensor, noise_bchw: Tensor) -> Tensor:
        """Mask logits (b, 1, h, w) for images in [0, 1] and Gaussian noise on the latent grid."""
        return self.decode_logits(self.denoise(self.encoder(image_bchw), noise_bchw))


def _build_encoder(settings: SegmenterSettings, autoencoder: Autoencoder) -> VisionEncoder | AutoencoderEncoder:
    if settings.encoder == "efficientnet-lite0":
        return VisionEncoder(channels=settings.condition_channels, pretrained=settings.pretrained)
    return AutoencoderEncoder(
        autoencoder,
        channels=settings.condition_channels,
        dropout=settings.encoder_dropout,
        pretrained=settings.pretrained,
    )


def _build_denoiser(settings: SegmenterSettings, latent_channels: int) -> CompactDenoiser | UNetDenoiser:
    if settings.denoiser == "compact":
        return CompactDenoiser(
            latent_channels=latent_channels,
            condition_channels=settings.condition_channels,
            channels=settings.denoiser_channels,
        )
    denoiser = UNetDenoiser(
        latent_channels=latent_channels,
        condition_channels=settings.condition_channels,
        channels=settings.denoiser_channels,
        multipliers=settings.unet_multipliers,
        blocks=settings.unet_blocks,
        attention=settings.unet_attention,
        heads=settings.unet_heads,
        context=settings.unet_context,
    )
    if settings.denoiser_weights:
        weights = UNetWeights(settings.denoiser_weights, revision=settings.denoiser_weights_revision or None)
        weights.load_into(denoiser, extra=settings.denoiser_extra_inputs)
    return denoiser


def without_initial_weights(settings: SegmenterSettings) -> SegmenterSettings:
    """The same network, not started from anybody's weights: they are replaced, or only the shapes are wanted."""
    return replace(
        settings, pretrained=False, denoiser_weights="", denoiser_weights_revision="", denoiser_extra_inputs="zero"
    )


def build_segmenter(settings: SegmenterSettings) -> DiffusionSegmenter | PlainNetwork:
    """The network that `settings` describe, freshly initialised (draws from the global torch generator)."""
    if settings.kind == "diffusion":
        return DiffusionSegmenter(settings)
    return build_plain(settings)


def build_plain(settings: SegmenterSettings) -> PlainNetwork:
    """The network of a kind without diffusion."""
    if settings.kind in PEERS:
        return Peer(settings.kind)
    return ControlUNet(pretrained=settings.pretrained, dropout=settings.control_dropout)


def initialise(settings: SegmenterSettings, seed: int) -> DiffusionSegmenter | PlainNetwork:
    """`build_segmenter` with its own seed, channels last for speed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_last(build_segmenter(settings))
