"""The one-step latent-diffusion segmenter: vision encoder, denoiser and frozen autoencoder composed as in the paper."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from syndiff.diffusion.objectives import make_objective
from syndiff.diffusion.samplers import ddim
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import DOWNSAMPLING, load_autoencoder
from syndiff.models.control import ControlUNet
from syndiff.models.denoiser import CompactDenoiser
from syndiff.models.encoder import VisionEncoder
from syndiff.models.hardware import channels_last
from syndiff.models.views import VIEWS

MASK_LOGIT_SCALE = 5.0
"""A decoded mask score of +1 or -1 is read as a probability of 0.993 or 0.007."""


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings:
    """Everything that rebuilds a segmenter; stored beside its weights.

    Attributes:
        kind: "diffusion" for the one-step segmenter, "control" for the plain U-Net on the same backbone.
        image_size: side in pixels that images are resized to; a multiple of 32.
        pretrained: start the vision encoder from ImageNet weights where their package is installed.
        autoencoder: "compact", a folder, or a hub id (AutoencoderKL, AutoencoderTiny, TAEF2).
        autoencoder_revision: commit of the hub repository; empty for a folder or the newest one.
        condition_channels: channels of z_c.
        denoiser_channels: width of the denoiser.
        objective: what the denoiser predicts: "noise+latent" (the paper), "z0" or "v".
        norm: of the latent losses.
        latent_weight: lambda of the paper for "noise+latent"; weight of the only latent term otherwise.
        timesteps: length T of the noise schedule.
        beta_start: first variance of the forward process.
        beta_end: last variance of the forward process.
        zero_terminal_snr: no signal at all at T - 1; impossible with "noise+latent".
        inference_timestep: where sampling starts; -1 is T - 1. The paper says 50.
        inference_steps: network passes; 1 is the paper's single step, more is DDIM.
        inference_views: flips and quarter turns of an image whose predictions are averaged: 1, 2, 4 or 8.
    """

    kind: Literal["diffusion", "control"] = "diffusion"
    image_size: int = 128
    pretrained: bool = True
    autoencoder: str = "compact"
    autoencoder_revision: str = ""
    condition_channels: int = 96
    denoiser_channels: int = 96
    objective: Literal["noise+latent", "z0", "v"] = "z0"
    norm: Literal["l1", "l2"] = "l1"
    latent_weight: float = 1.0
    timesteps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0155
    zero_terminal_snr: bool = True
    inference_timestep: int = -1
    inference_steps: int = 1
    inference_views: int = 1

    def __post_init__(self) -> None:
        start = self.first_timestep
        expected = {
            "kind": (self.kind in ("diffusion", "control"), "diffusion or control"),
            "image_size": (self.image_size >= 32 and self.image_size % 32 == 0, "a multiple of 32, such as 128 or 256"),
            "condition_channels": (self.condition_channels >= 1, "1 or more"),
            "denoiser_channels": (self.denoiser_channels >= 8 and self.denoiser_channels % 8 == 0, "a multiple of 8"),
            "latent_weight": (self.latent_weight >= 0, "0 or more"),
            "timesteps": (self.timesteps >= 2, "2 or more"),
            "inference_timestep": (0 <= start < self.timesteps, f"0 to {self.timesteps - 1}, or -1 for the last"),
            "inference_steps": (1 <= self.inference_steps <= start + 1, f"1 to {start + 1} from timestep {start}"),
            "inference_views": (self.inference_views in VIEWS, "1, 2, 4 or 8"),
        }
        for name, (valid, words) in expected.items():
            if not valid:
                raise SyndiffError(f"model setting {name}: found {getattr(self, name)}, expected {words}.")

    @property
    def first_timestep(self) -> int:
        """Where sampling starts, 0 to T - 1."""
        return self.timesteps - 1 if self.inference_timestep == -1 else self.inference_timestep


class DiffusionSegmenter(nn.Module):
    """p(mask | image) by denoising a mask latent: z_c = tau(image), z~_0 from (noise, z_c), mask = D(z~_0)."""

    def __init__(self, settings: SegmenterSettings) -> None:
        super().__init__()
        self.settings = settings
        self.autoencoder = load_autoencoder(settings.autoencoder, revision=settings.autoencoder_revision or None)
        self.schedule = NoiseSchedule(
            timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            zero_terminal_snr=settings.zero_terminal_snr,
        )
        self.objective = make_objective(
            settings.objective, self.schedule, latent_weight=settings.latent_weight, norm=settings.norm
        )
        self.encoder = VisionEncoder(channels=settings.condition_channels, pretrained=settings.pretrained)
        self.denoiser = CompactDenoiser(
            latent_channels=self.autoencoder.latent_channels,
            condition_channels=settings.condition_channels,
            channels=settings.denoiser_channels,
        )
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
        return self.autoencoder.decode_mask(latent_bchw) * MASK_LOGIT_SCALE

    def forward(self, image_bchw: Tensor, noise_bchw: Tensor) -> Tensor:
        """Mask logits (b, 1, h, w) for images in [0, 1] and Gaussian noise on the latent grid."""
        return self.decode_logits(self.denoise(self.encoder(image_bchw), noise_bchw))


def build_segmenter(settings: SegmenterSettings) -> DiffusionSegmenter | ControlUNet:
    """The network that `settings` describe, freshly initialised (draws from the global torch generator)."""
    if settings.kind == "control":
        return ControlUNet(pretrained=settings.pretrained)
    return DiffusionSegmenter(settings)


def initialise(settings: SegmenterSettings, seed: int) -> DiffusionSegmenter | ControlUNet:
    """`build_segmenter` with its own seed, channels last for speed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_last(build_segmenter(settings))
