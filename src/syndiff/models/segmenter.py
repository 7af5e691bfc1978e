"""The one-step latent-diffusion segmenter: vision encoder, denoiser and frozen autoencoder composed as in the paper."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from syndiff.data.targets import Targets
from syndiff.diffusion.objectives import make_objective
from syndiff.diffusion.samplers import ddim
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import Autoencoder, check_same_autoencoder, load_autoencoder
from syndiff.models.baselines import MonaiNetwork
from syndiff.models.control import ControlUNet
from syndiff.models.denoiser import CompactDenoiser
from syndiff.models.encoder import AutoencoderEncoder, VisionEncoder, backbone_source, make_backbone
from syndiff.models.hardware import channels_last, default_device
from syndiff.models.network import (
    Batch,
    LossWeights,
    SegmentationNetwork,
    Stage,
    WeightSource,
    mask_loss,
    untimed,
)
from syndiff.models.settings import DOWNSAMPLING, SegmenterSettings
from syndiff.models.stored import DESCRIPTION
from syndiff.models.unet import UNetDenoiser, UNetWeights

MASK_LOGIT_SCALE = 5.0
"""A decoded mask score of +1 or -1 is read as a probability of 0.993 or 0.007."""


class DiffusionSegmenter(SegmentationNetwork):
    """p(mask | image) by denoising a mask latent: z_c = tau(image), z~_0 from (noise, z_c), mask = D(z~_0).

    Of K classes the latents are denoised jointly, as one latent with K times the channels; the frozen autoencoder
    encodes and decodes each as a mask of its own.
    """

    def __init__(
        self, settings: SegmenterSettings, autoencoder: Autoencoder | None = None, targets: Targets | None = None
    ) -> None:
        super().__init__()
        self.settings, self.targets = settings, targets or Targets()
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
        self.latent_channels = self.targets.count * self.autoencoder.latent_channels
        self.denoiser = _build_denoiser(settings, self.latent_channels, self.targets)
        # A linear read-out of z_c, used in training only: it tells the encoder about the mask without the long way
        # through denoiser and decoder.
        self.guide = nn.Sequential(
            nn.Conv2d(settings.condition_channels, self.targets.count * DOWNSAMPLING**2, 1),
            nn.PixelShuffle(DOWNSAMPLING),
        )

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (K c, h/8, w/8) of the latent noise for images of this size."""
        return self.latent_channels, height // DOWNSAMPLING, width // DOWNSAMPLING

    def denoise(self, condition_bchw: Tensor, noise_bchw: Tensor, timestep_b: Tensor | None = None) -> Tensor:
        """z~_0 for a condition z_c and Gaussian noise: one pass, or `inference_steps` of DDIM.

        With `timestep_b` the latent is z_t of these timesteps, and one pass answers.
        """
        if timestep_b is not None:
            output = self.denoiser(noise_bchw, timestep_b, condition_bchw)
            return self.objective.estimate(output, noise_bchw, timestep_b).clean
        return ddim(
            lambda noisy, timestep_b: self.denoiser(noisy, timestep_b, condition_bchw),
            self.objective,
            self.schedule,
            noise_bchw,
            start=self.settings.first_timestep,
            steps=self.settings.inference_steps,
        )

    def decode_logits(self, latent_bchw: Tensor) -> Tensor:
        """Mask logits (b, K, 8h, 8w) of the latents of K masks, through the frozen decoder."""
        clamp = self.settings.inference_clamp and not self.training
        return self.autoencoder.decode_mask(latent_bchw, self.targets.count, clamp=clamp) * MASK_LOGIT_SCALE

    def answer(
        self, image_bchw: Tensor, latent_bchw: Tensor, stage: Stage = untimed, timestep_b: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (b, K, h, w) and z~_0 for images in [0, 1] and noise, or z_t, in three stages."""
        with stage("encode"):
            condition = self.encoder(image_bchw)
        with stage("denoise"):
            clean = self.denoise(condition, latent_bchw, timestep_b)
        with stage("decode"):
            return self.decode_logits(clean), clean

    @property
    def draws(self) -> Literal["noise"]:
        """Noises."""
        return "noise"

    def members(self, image_bchw: Tensor, noises: Sequence[Tensor], *, seed: int) -> list[Tensor]:
        """Answers of these noises; the images are encoded once."""
        condition = self.encoder(image_bchw)
        return [self.decode_logits(self.denoise(condition, noise)) for noise in noises]

    @property
    def backbone_part(self) -> nn.Module:
        """The pretrained part of the vision encoder."""
        return self.encoder.backbone

    @property
    def vision_encoder(self) -> nn.Module:
        """tau_theta, the only other trained part beside the denoiser and the read-out."""
        return self.encoder

    def draw_timesteps(self, count: int, *, at_inference: float, generator: torch.Generator) -> Tensor:
        """The timestep where sampling starts for the share `at_inference`, else any, all equally likely."""
        timestep = torch.randint(0, self.schedule.timesteps, (count,), generator=generator)
        starts = torch.rand(count, generator=generator) < at_inference
        return torch.where(starts, self.settings.first_timestep, timestep)

    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
        """Those of the objective on the latents, and of decoded mask and read-out where these have a weight."""
        with torch.no_grad():
            clean = self.autoencoder.encode_mask(batch.mask).float()
        noisy = self.schedule.diffuse(clean, batch.noise, batch.timestep)
        condition = self.encoder(batch.image)
        output = self.denoiser(noisy, batch.timestep, condition).float()  # under bf16, losses stay exact
        estimate = self.objective.estimate(output, noisy, batch.timestep)
        losses = self.objective.losses(estimate, clean, batch.noise, batch.timestep)
        if weights.mask:
            losses["mask"] = weights.mask * mask_loss(self.decode_logits(estimate.clean), batch.mask, self.targets)
        if weights.guide:
            losses["guide"] = weights.guide * mask_loss(self.guide(condition), batch.mask, self.targets)
        return losses

    def freeze_unused(self, weights: LossWeights) -> None:
        """Freeze the read-out where it has no weight."""
        if not weights.guide:
            self.guide.requires_grad_(False)

    def checkpoint_gradients(self, function: Callable[..., Any]) -> None:
        """Let `function` call the blocks of the autoencoder's encoder and of the U-Net.

        Raises SyndiffError for a network with neither.
        """
        changed = [part.checkpoint_gradients(function) for part in (self.encoder, self.denoiser)]
        if not any(changed):
            raise SyndiffError(
                f"training setting gradient_checkpointing: true has no effect with the encoder {self.settings.encoder} "
                "and the denoiser compact; leave it out."
            )

    def measure_latents(self, masks_nkhw: Tensor) -> None:
        """Give the autoencoder the scaling of these masks' latents, with latent_scaling "measured"."""
        if self.settings.latent_scaling == "measured":
            autoencoder = self.autoencoder.to(default_device())
            autoencoder.scaling_factor = autoencoder.measure_scaling(masks_nkhw)

    def parts(self) -> dict[str, nn.Module]:
        """Autoencoder, vision encoder and denoiser, and the read-out where it is trained."""
        parts = {"autoencoder": self.autoencoder, "vision encoder": self.encoder, "denoiser": self.denoiser}
        is_guided = any(parameter.requires_grad for parameter in self.guide.parameters())
        return {**parts, **({"read-out of z_c": self.guide} if is_guided else {})}

    def weight_sources(self, settings: SegmenterSettings, *, autoencoder_here: bool) -> list[WeightSource]:
        """Those of autoencoder, vision encoder and denoiser."""
        autoencoder = _at(settings.autoencoder, settings.autoencoder_revision)
        if not autoencoder_here:
            size = 4e-9 * sum(parameter.numel() for parameter in self.autoencoder.parameters())
            autoencoder += f", about {size:.2f} GB if it is KL-f8"
        if settings.encoder == "autoencoder":
            copied = "those of the autoencoder" if settings.pretrained else "random"
            encoder = WeightSource("vision encoder", copied)
        else:
            encoder = backbone_source(settings)
        denoiser = WeightSource("denoiser", "random")
        _check_latents(settings, self.targets)
        if settings.denoiser_weights:
            weights = UNetWeights(
                settings.denoiser_weights, revision=settings.denoiser_weights_revision or None, fetch=False
            )
            if weights.folder:  # the settings refuse weights for another denoiser
                weights.check(cast(UNetDenoiser, self.denoiser), extra=settings.denoiser_extra_inputs)
            source = _at(settings.denoiser_weights, settings.denoiser_weights_revision)
            denoiser = WeightSource("denoiser", source, fetched=weights.folder is None)
        return [
            WeightSource("autoencoder", autoencoder, fetched=not autoencoder_here),
            encoder,
            denoiser,
        ]

    def description(self) -> dict[str, Any]:
        """Which autoencoder, and its scaling, which may have been measured."""
        names = ("source", "fingerprint", "scaling_factor")
        return {"autoencoder": {name: getattr(self.autoencoder, name) for name in names}}

    def take_description(self, checkpoint: Path, described: Mapping[str, Any]) -> None:
        """Take the scaling. Raises SyndiffError where it was trained with another autoencoder."""
        stored = check_same_autoencoder(checkpoint, described, self.autoencoder)
        check_object(f"{checkpoint / DESCRIPTION}: autoencoder", stored, {"scaling_factor": float})
        self.autoencoder.scaling_factor = stored["scaling_factor"]


def _build_encoder(settings: SegmenterSettings, autoencoder: Autoencoder) -> VisionEncoder | AutoencoderEncoder:
    if settings.encoder != "autoencoder":
        return VisionEncoder(make_backbone(settings), channels=settings.condition_channels)
    return AutoencoderEncoder(
        autoencoder,
        channels=settings.condition_channels,
        dropout=settings.encoder_dropout,
        pretrained=settings.pretrained,
    )


def _build_denoiser(
    settings: SegmenterSettings, latent_channels: int, targets: Targets
) -> CompactDenoiser | UNetDenoiser:
    _check_latents(settings, targets)
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


def _check_latents(settings: SegmenterSettings, targets: Targets) -> None:
    """Raise SyndiffError for initial weights of a denoiser of one latent where there are several classes."""
    if settings.denoiser_weights:
        mend = "Such a U-Net denoises one latent: start from random weights, or merge the classes."
        targets.refuse_several("model.denoiser_weights", mend)


def without_initial_weights(settings: SegmenterSettings) -> SegmenterSettings:
    """The same network, not started from anybody's weights: they are replaced, or only the shapes are wanted."""
    return replace(
        settings,
        pretrained=False,
        encoder_weights="",
        encoder_weights_revision="",
        denoiser_weights="",
        denoiser_weights_revision="",
        denoiser_extra_inputs="zero",
    )


def build_segmenter(
    settings: SegmenterSettings, autoencoder: Autoencoder | None = None, targets: Targets | None = None
) -> SegmentationNetwork:
    """The network that `settings` describe, freshly initialised (draws from the global torch generator).

    `autoencoder` stands in for the one that they name, for a network that has one. It tells `targets` apart, by default
    one foreground.
    """
    targets = targets or Targets()
    if settings.kind == "diffusion":
        return DiffusionSegmenter(settings, autoencoder, targets)
    if settings.kind == "control":
        return ControlUNet(make_backbone(settings), dropout=settings.control_dropout, targets=targets)
    return MonaiNetwork(settings.kind, targets)


def initialise(settings: SegmenterSettings, seed: int, targets: Targets | None = None) -> SegmentationNetwork:
    """`build_segmenter` with its own seed, channels last for speed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_last(build_segmenter(settings, targets=targets))


def _at(source: str, revision: str) -> str:
    return source + (f" at {revision}" if revision else "")
