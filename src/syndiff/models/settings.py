"""What a segmenter and what a compact inpainter is; how they are trained belongs to the settings of training."""

import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_args

from syndiff.bounds import Bounds, Length, Section, ShareBelowOne
from syndiff.errors import SyndiffError, did_you_mean

DOWNSAMPLING = 8
"""Pixels along the side of the square that one latent pixel stands for; every autoencoder here has it."""

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


BaselineKind = Literal["unet", "attention-unet", "segresnet"]
Kind = Literal["diffusion", "control", BaselineKind]
_Multiplier = Annotated[int, Bounds(1, 64)]
_Downsampling = Annotated[int, Bounds(1, 128)]
ENCODERS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "autoencoder")
"""Vision encoders beside timm's."""
VIEWS = (1, 2, 4, 8)
"""1: the image itself; 2: with its mirror image; 4: both flips; 8: all flips and quarter turns of a square."""
Refine = Literal["none", "lesions", "tiles"]
"""none: one look at the whole frame. lesions: a second one at a crop around each lesion that the first one finds or
suspects. tiles: where that finds nothing, four overlapping parts of the frame are searched as well."""


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(Section):
    """Everything that rebuilds a segmenter; stored beside its weights.

    Attributes:
        kind: "diffusion" for the one-step segmenter, "control" for the plain U-Net on the same backbone; MONAI's
            "unet", "attention-unet" and "segresnet", from random weights, to compare with.
        image_size: side in pixels that images are resized to; for the U-Net a multiple of 8 times its coarsest
            downsampling (128 for the paper's).
        encoder: the vision encoder tau_theta: "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"; a
            network of timm, such as "timm:pvt_v2_b2"; or "autoencoder", the paper's trainable copy of the frozen
            autoencoder's own encoder with a 1x1 convolution (an AutoencoderKL only). The control has the same, but
            efficientnet-lite0 beside "autoencoder".
        encoder_weights: folder, file of safetensors or hub id that a network of timm starts from; empty: those that
            timm names, from the hub.
        encoder_weights_revision: commit of that hub repository; empty for a folder or the newest one.
        encoder_dropout: dropout in the residual blocks of that copy; SDSeg has 0.2.
        control_dropout: dropout in the control's decoder, for several answers to one image (`study uncertainty`).
        pretrained: start the vision encoder from pretrained weights: an EfficientNet from ImageNet's, whose package
            must be installed (Lite0 starts from random ones where it is not), a network of timm from
            `encoder_weights`, the copy from the autoencoder's weights.
        autoencoder: "compact"; "mask", which knows nothing but masks and is seven times as fast; a folder, or a hub id
            (AutoencoderKL, AutoencoderTiny, TAEF2).
        autoencoder_revision: commit of the hub repository; empty for a folder or the newest one.
        latent_scaling: factor on the latents: the autoencoder's "own" (0.18215 for KL-f8), or "measured": one over the
            standard deviation of the training masks' latents. model.json says what it was.
        condition_channels: channels of z_c.
        denoiser: "compact", or "unet", the paper's: latent diffusion's U-Net.
        denoiser_channels: width of the denoiser; of its finest level for "unet".
        unet_multipliers: width of each level of the U-Net as a multiple of `denoiser_channels`, finest first.
        unet_blocks: residual blocks a level.
        unet_attention: downsamplings, counted from the latent grid, at which the U-Net attends.
        unet_heads: heads of its attention.
        unet_context: 0, or the width of the text that a Stable Diffusion 1 U-Net attends to (768); it is given no text.
        denoiser_weights: folder or hub id of a U-Net in diffusers' layout to start from; empty: random weights.
        denoiser_weights_revision: commit of that hub repository; empty for a folder or the newest one.
        denoiser_extra_inputs: what the weights for z_c start from where `denoiser_weights` has none: "zero", or
            "halve": those of z_t, both halved.
        objective: what the denoiser predicts: "noise+latent" (the paper), "z0" or "v".
        norm: of the latent losses.
        latent_weight: lambda of the paper for "noise+latent"; weight of the only latent term otherwise.
        timesteps: length T of the noise schedule.
        beta_start: first variance of the forward process.
        beta_end: last variance of the forward process.
        zero_terminal_snr: no signal at all at T - 1; impossible with "noise+latent".
        inference_timestep: where sampling starts; -1 is T - 1. The paper says 50.
        inference_steps: network passes; 1 is the paper's single step, more is DDIM.
        inference_clamp: clamp the decoded channels to [-1, 1] before their mean is taken, as SDSeg does; in training
            the mask's loss sees them as they are.
        inference_tta: flips and quarter turns of an image whose predictions are averaged: 1, 2, 4 or 8.
    """

    section = "model"
    # What a model.json of an earlier version lacks: see `syndiff.documents.rebuild`.
    later: ClassVar[tuple[str, ...]] = ("encoder_weights", "encoder_weights_revision")

    kind: Kind = "diffusion"
    image_size: Annotated[int, Bounds(32, 2048, multiple=32)] = 128
    encoder: str = "efficientnet-lite0"
    encoder_weights: str = ""
    encoder_weights_revision: str = ""
    encoder_dropout: ShareBelowOne = 0.0
    control_dropout: ShareBelowOne = 0.0
    pretrained: bool = True
    autoencoder: str = "compact"
    autoencoder_revision: str = ""
    latent_scaling: Literal["own", "measured"] = "own"
    condition_channels: Annotated[int, Bounds(1, 4096)] = 96
    denoiser: Literal["compact", "unet"] = "compact"
    denoiser_channels: Annotated[int, Bounds(8, 4096, multiple=8)] = 96
    unet_multipliers: Annotated[tuple[_Multiplier, ...], Length(2, 8)] = (1, 2, 2, 4, 4)
    unet_blocks: Annotated[int, Bounds(1, 16)] = 2
    unet_attention: Annotated[tuple[_Downsampling, ...], Length(0, 8)] = (1, 2, 4, 8)
    unet_heads: Annotated[int, Bounds(1, 256)] = 8
    unet_context: Annotated[int, Bounds(0, 8192)] = 0
    denoiser_weights: str = ""
    denoiser_weights_revision: str = ""
    denoiser_extra_inputs: Literal["zero", "halve"] = "zero"
    objective: Literal["noise+latent", "z0", "v"] = "z0"
    norm: Literal["l1", "l2"] = "l1"
    latent_weight: Annotated[float, Bounds(0, 1_000_000)] = 1.0
    timesteps: Annotated[int, Bounds(2, 100_000)] = 1000
    beta_start: Variance = 0.0015
    beta_end: Variance = 0.0155
    zero_terminal_snr: bool = True
    inference_timestep: Annotated[int, Bounds(-1, 99_999)] = -1
    inference_steps: Annotated[int, Bounds(1, 100_000)] = 1
    inference_clamp: bool = False
    inference_tta: Annotated[int, Bounds(1, 8)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("beta_start", "beta_end", apart=True)
        if self.encoder not in ENCODERS and not re.fullmatch(r"timm:\w+(\.\w+)?", self.encoder):
            known = f"one of {', '.join(ENCODERS)}, or a network of timm, such as timm:pvt_v2_b2"
            raise self.refuse("encoder", known + did_you_mean(self.encoder, ENCODERS))
        start = self.first_timestep
        expected = {
            "image_size": (self.image_size % self._grain == 0, f"a multiple of {self._grain} with this U-Net"),
            **(self._unet_limits() if self.denoiser == "unet" else {}),
            "inference_timestep": (start < self.timesteps, f"0 to {self.timesteps - 1}, or -1 for the last"),
            "inference_steps": (self.inference_steps <= start + 1, f"1 to {start + 1} from timestep {start}"),
            "inference_tta": (self.inference_tta in VIEWS, "1, 2, 4 or 8"),
        }
        for name, (valid, words) in expected.items():
            if not valid:
                raise self.refuse(name, words)
        if self.kind == "diffusion":  # what it is compared with has its settings
            self._refuse_what_does_not_fit()
        if self.kind in ("diffusion", "control"):
            self._refuse_idle_weights()
        if self.kind in get_args(BaselineKind) and self.control_dropout:
            raise SyndiffError(f"model.control_dropout: it has no effect with kind {self.kind}; leave it out.")

    @property
    def backbone(self) -> str:
        """The encoder of the control, and of the segmenter unless that is the copy of the autoencoder's."""
        return "efficientnet-lite0" if self.encoder == "autoencoder" else self.encoder

    @property
    def _grain(self) -> int:
        """What the image's side has to be a multiple of."""
        return max(32, DOWNSAMPLING * 2 ** (len(self.unet_multipliers) - 1)) if self.denoiser == "unet" else 32

    def _unet_limits(self) -> dict[str, tuple[bool, str]]:
        levels = [2**level for level in range(len(self.unet_multipliers))]
        return {
            "denoiser_channels": (self.denoiser_channels % 32 == 0, "a multiple of 32 for a U-Net"),
            "unet_attention": (
                len(set(self.unet_attention) - set(levels)) == 0,
                f"some of the downsamplings of its levels, {', '.join(map(str, levels))}",
            ),
            "unet_heads": (
                self.denoiser_channels % self.unet_heads == 0,
                f"a divisor of denoiser_channels, which is {self.denoiser_channels}",
            ),
        }

    def _refuse_what_does_not_fit(self) -> None:
        """Raise SyndiffError for a setting that does not go with the others, or has no effect beside them."""
        if self.objective == "noise+latent" and self.zero_terminal_snr:
            raise SyndiffError(
                "model.zero_terminal_snr: true cannot be used with objective noise+latent, whose clean latent "
                "would be divided by zero at the last timestep. Set model.zero_terminal_snr=false too, or choose the "
                "objective z0 or v."
            )
        usual: dict[str, Any] = {item.name: item.default for item in fields(self)}
        needs = {
            "encoder_dropout": (self.encoder == "autoencoder", f"the encoder {self.encoder}"),
            "control_dropout": (False, "kind diffusion"),
            **{
                name: (self.denoiser == "unet", "the denoiser compact")
                for name in usual
                if name.startswith(("unet_", "denoiser_weights"))
            },
            "denoiser_weights_revision": (bool(self.denoiser_weights), "no denoiser_weights"),
            "denoiser_extra_inputs": (bool(self.denoiser_weights), "no denoiser_weights"),
        }
        for name, (used, beside) in needs.items():
            if not used and getattr(self, name) != usual[name]:
                raise self._idle(name, beside)

    def _refuse_idle_weights(self) -> None:
        """Raise SyndiffError for weights of an encoder that does not start from any."""
        for name in ("encoder_weights", "encoder_weights_revision"):
            if getattr(self, name):
                if not self.encoder.startswith("timm:"):
                    raise self._idle(name, f"the encoder {self.encoder}, only with a network of timm (timm:NAME)")
                if not self.pretrained:
                    raise self._idle(name, "model.pretrained=false")

    def _idle(self, name: str, beside: str) -> SyndiffError:
        return SyndiffError(f"model.{name}: {getattr(self, name)} has no effect with {beside}; leave it out.")

    @property
    def coarse_size(self) -> int:
        """The possible image size nearest to two thirds of `image_size`, for the cheaper part of a training."""
        return max(self._grain, round(2 / 3 * self.image_size / self._grain) * self._grain)

    @property
    def first_timestep(self) -> int:
        """Where sampling starts, 0 to T - 1."""
        return self.timesteps - 1 if self.inference_timestep == -1 else self.inference_timestep
