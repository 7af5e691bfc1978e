"""The compact inpainter: a text-conditioned latent diffusion model that paints a lesion into a crop."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.diffusion.samplers import Correction, ddim
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.diffusion.smooth_latent import SmoothLatent
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import check_same_autoencoder, load_autoencoder
from syndiff.models.caption_encoder import CaptionEncoder
from syndiff.models.hardware import channels_last
from syndiff.models.settings import DOWNSAMPLING, InpaintingSettings
from syndiff.models.stored import DESCRIPTION, load_weights, read_description, settings_of
from syndiff.models.tensors import trainable_state

HIDDEN_GREY = 0.5
"""What the model sees where it has to paint, in [0, 1]."""


class InpaintingModel(nn.Module):
    """p(crop | its surroundings, the mask of a lesion, a caption), in the latent space of a frozen autoencoder.

    The U-Net (`UNet2DConditionModel` of diffusers) predicts the clean latent and sees, beside the noisy one, that of
    the crop with what is to be painted hidden, the lesion's mask at full resolution (each 8x8 block of pixels folded
    into 64 channels) and how much of each latent pixel is hidden. What is hidden is wider than the lesion: the mask
    tells where the lesion ends, so the label is exact, and its surroundings are painted with it. An empty mask means
    mucosa without a lesion.
    """

    latent_mean: Tensor
    latent_basis: Tensor
    """(c, c): rows are the principal components of the latents, orthogonal, divided by one scale for all."""

    def __init__(self, settings: InpaintingSettings, vocabulary: Sequence[str]) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel

        self.settings, self.vocabulary = settings, tuple(vocabulary)
        self.autoencoder = load_autoencoder(settings.autoencoder, revision=settings.autoencoder_revision or None)
        self.schedule = NoiseSchedule(
            timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            zero_terminal_snr=True,
        )
        self.captions = CaptionEncoder(
            vocabulary,
            channels=settings.caption_channels,
            length=settings.caption_length,
            layers=settings.caption_layers,
        )
        latent = self.autoencoder.latent_channels
        self.prediction = SmoothLatent(self.schedule, latent)
        # of the latents of the training crops; the adaptation measures them
        self.register_buffer("latent_mean", torch.zeros(1, latent, 1, 1))
        self.register_buffer("latent_basis", torch.eye(latent))
        self.unet = UNet2DConditionModel(
            sample_size=settings.crop_size // DOWNSAMPLING,
            in_channels=2 * latent + DOWNSAMPLING**2 + 1,
            out_channels=latent,
            block_out_channels=settings.channels,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=settings.caption_channels,
            attention_head_dim=4,  # the number of heads, in spite of its name
            norm_num_groups=32,
        )

    def noise_shape(self) -> tuple[int, int, int]:
        """Shape (c, s/8, s/8) of the noise for one crop of side s."""
        side = self.settings.crop_size // DOWNSAMPLING
        return self.autoencoder.latent_channels, side, side

    @torch.no_grad()
    def measure(self, latent_bchw: Tensor) -> None:
        """Learn the principal components of the autoencoder's latents of training crops, their spread and detail.

        The components have zero mean and unit variance on average; one scale serves them all, so those that carry
        light and colour stay larger than those of detail and emerge from the noise first.
        """
        mean = latent_bchw.mean((0, 2, 3), keepdim=True)
        vectors = (latent_bchw - mean).permute(1, 0, 2, 3).flatten(1).double()
        variance, components = torch.linalg.eigh(vectors @ vectors.T / vectors.shape[1])  # rising
        scale = variance.mean().sqrt()
        if not scale > 0:
            raise SyndiffError("The training crops are all of one colour: there is nothing to learn painting from.")
        self.latent_mean.copy_(mean)
        self.latent_basis.copy_(components.flip(1).T / scale)
        self.prediction.measure(self.components(latent_bchw))

    def components(self, latent_bchw: Tensor) -> Tensor:
        """Principal components of the autoencoder's latents: what is diffused and painted."""
        return F.conv2d(latent_bchw - self.latent_mean, self.latent_basis[:, :, None, None])

    @torch.no_grad()
    def decode(self, components_bchw: Tensor) -> Tensor:
        """Crops in [0, 1] of principal components."""
        inverse = torch.linalg.inv(self.latent_basis)
        latent = F.conv2d(components_bchw, inverse[:, :, None, None]) + self.latent_mean
        return (self.autoencoder.decode(latent) / 2 + 0.5).clamp(0, 1)

    def condition(self, visible_bchw: Tensor, lesion_bchw: Tensor, hidden_b1hw: Tensor) -> Tensor:
        """What the U-Net is told beside the noisy latent.

        The autoencoder's latent of the crop with its hidden part concealed, the lesion's mask in {0, 1} folded into
        64 channels, and the share of each latent pixel that is hidden.
        """
        return torch.cat([self.components(visible_bchw) / self.prediction.spread, lesion_bchw, hidden_b1hw], 1)

    @torch.no_grad()
    def surroundings(self, image_bchw: Tensor, lesion_b1hw: Tensor, hidden_b1hw: Tensor) -> Tensor:
        """`condition` of images in [0, 1], with the lesion's mask and the hidden region in {0, 1}."""
        visible = self.autoencoder.encode(conceal(image_bchw, hidden_b1hw) * 2 - 1).float()
        return self.condition(
            visible, F.pixel_unshuffle(lesion_b1hw, DOWNSAMPLING), F.avg_pool2d(hidden_b1hw, DOWNSAMPLING)
        )

    def denoise(
        self, noisy: Tensor, timestep_b: Tensor, surroundings: Tensor, caption: tuple[Tensor, Tensor]
    ) -> Tensor:
        """The U-Net's answer F at z_t, given `condition` and encoded captions with the mask of their words."""
        encoded, present = caption
        stacked = torch.cat([self.prediction.scaled(noisy, timestep_b), surroundings], 1)
        return self.unet(stacked, timestep_b, encoded, encoder_attention_mask=present).sample

    def forward(self, noisy: Tensor, timestep_b: Tensor, surroundings: Tensor, tokens_bl: Tensor) -> Tensor:
        """F at z_t for captions given as tokens."""
        return self.denoise(noisy, timestep_b, surroundings, self.captions(tokens_bl))

    @torch.inference_mode()
    def paint(
        self,
        image_bchw: Tensor,
        lesion_b1hw: Tensor,
        hidden_b1hw: Tensor,
        captions: Sequence[str],
        noise_bchw: Tensor,
        *,
        steps: int,
        guidance_scale: float,
        begun_bchw: Tensor | None = None,
        strength: float = 1.0,
        real_detail: bool = False,
    ) -> Tensor:
        """Painted crops (b, 3, s, s) in [0, 1]; what was not hidden comes back only as well as the autoencoder can.

        `guidance_scale` 1 is the plain conditional model; above 1 the caption is followed more closely (Ho and
        Salimans, arXiv 2207.12598), at twice the cost. With `strength` below 1 painting begins with the pictures
        `begun_bchw` in [0, 1], noised as far as that share of the timesteps, and takes that share of the steps
        (SDEdit: Meng et al., arXiv 2108.01073). With `real_detail` all that a latent pixel differs by from the mean of
        the 3x3 around it stays that of `begun_bchw`, at every step, and what is painted is the rest: colours and
        shading to its edges, folds and highlights. (ILVR, Choi et al., arXiv 2108.02938, keeps the other part.)
        """
        device = noise_bchw.device
        surroundings = self.surroundings(image_bchw, lesion_b1hw, hidden_b1hw)
        wanted = self.captions(self.captions.tokens(captions).to(device))
        nothing = self.captions(self.captions.tokens([""] * len(captions)).to(device))

        def predicted(noisy: Tensor, timestep_b: Tensor) -> Tensor:
            with_caption = self.denoise(noisy, timestep_b, surroundings, wanted)
            if guidance_scale == 1:
                return with_caption
            without = self.denoise(noisy, timestep_b, surroundings, nothing)
            return without + guidance_scale * (with_caption - without)

        start, latent, corrected = round(strength * self.schedule.timesteps) - 1, noise_bchw, None
        if strength < 1 or real_detail:
            assert begun_bchw is not None, "a strength below 1 and real detail are those of a picture"
            clean = self.components(self.autoencoder.encode(begun_bchw * 2 - 1).float())
            corrected = keep_detail(clean) if real_detail else None
            if strength < 1:
                latent = self.schedule.diffuse(clean, noise_bchw, torch.full((len(clean),), start, device=device))
                steps = max(1, round(strength * steps))
        latent = ddim(predicted, self.prediction, self.schedule, latent, start=start, steps=steps, corrected=corrected)
        return self.decode(latent)


def coarse(latent_bchw: Tensor) -> Tensor:
    """Every pixel's mean of the 3x3 around it (24x24 pixels of the picture), the edge repeated."""
    return F.avg_pool2d(F.pad(latent_bchw, (1, 1, 1, 1), mode="replicate"), 3, 1)


def keep_detail(known_bchw: Tensor) -> Correction:
    """A correction that gives an estimate the detail of `known_bchw`: all that it has beside its `coarse` part."""
    detail = known_bchw - coarse(known_bchw)

    def corrected(estimate_bchw: Tensor) -> Tensor:
        return coarse(estimate_bchw) + detail

    return corrected


def conceal(image_bchw: Tensor, hidden_b1hw: Tensor) -> Tensor:
    """Images in [0, 1] as the model may see them: grey where it has to paint."""
    return torch.where(hidden_b1hw > 0, HIDDEN_GREY, image_bchw)


def initialise_inpainter(settings: InpaintingSettings, vocabulary: Sequence[str], seed: int) -> InpaintingModel:
    """A fresh model with its own seed, channels last for speed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_last(InpaintingModel(settings, vocabulary))


def continue_inpainter(
    start: InpaintingModel, settings: InpaintingSettings, vocabulary: Sequence[str], seed: int
) -> InpaintingModel:
    """A model with the weights of `start`, for crops of another size and more words where `settings` and words say so.

    `vocabulary` begins with the words of `start`; those that it did not know get weights of their own. The latents'
    components stay those of `start`: its weights are for them.
    """
    model = initialise_inpainter(settings, vocabulary, seed)
    known = trainable_state(start)
    words = model.captions.word.weight.detach().clone()
    words[: len(known["captions.word.weight"])] = known["captions.word.weight"]
    model.load_state_dict({**model.state_dict(), **known, "captions.word.weight": words})
    return model


def load_inpainter(checkpoint: Path) -> InpaintingModel:
    """The inpainter of a checkpoint folder that `syndiff adapt` made, ready to paint.

    Raises SyndiffError for a folder that holds something else, weights that do not fit, and an autoencoder other than
    the one it was trained with.
    """
    described = read_description(checkpoint, {"model": dict})
    settings = settings_of(checkpoint, described, InpaintingSettings, what="a compact inpainter")
    words = read_description(checkpoint, {"vocabulary": list})["vocabulary"]
    if not all(isinstance(word, str) for word in words):
        raise SyndiffError(f"{checkpoint / DESCRIPTION}: vocabulary holds something else than words; restore the file.")
    model = initialise_inpainter(settings, words, 0)
    check_same_autoencoder(checkpoint, described, model.autoencoder)
    load_weights(model, checkpoint, described)
    return model.eval()
