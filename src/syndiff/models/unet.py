"""The paper's denoiser: the U-Net of latent diffusion (Rombach et al., arXiv 2112.10752), and Stable Diffusion's.

The layers are diffusers'. With the paper's settings the network has the 294.97 M parameters that SDSeg reports: scale
and shift from the timestep, and residual blocks that change the resolution, as in latent diffusion's church model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from syndiff.documents import read_object
from syndiff.errors import SyndiffError, unquoted
from syndiff.models.hub import DOWNLOAD, brief, find_weights
from syndiff.models.tensors import check_file, check_loaded

_FILES = [f"{folder}{name}" for folder in ("", "unet/") for name in ("config.json", "diffusion_pytorch_model*")]


class UNetDenoiser(nn.Module):
    """(z_t, t, z_c) -> output with the channels of z_t, for a grid whose sides divide by 2^(levels - 1).

    z_t and z_c are concatenated, z_t first. `channels` times each of `multipliers` is the width of a level, `attention`
    names the downsamplings at which it attends, with `heads` heads at every width. With `context` above 0 it is Stable
    Diffusion 1's U-Net, whose cross-attention to text of that width is given one token of zeros: no text.
    """

    network: Any

    def __init__(
        self,
        *,
        latent_channels: int,
        condition_channels: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: int,
        context: int = 0,
    ) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel, UNet2DModel

        self.latent_channels, self.context = latent_channels, context
        attends = [2**level in attention for level in range(len(multipliers))]
        shared: dict[str, Any] = {
            "in_channels": latent_channels + condition_channels,
            "out_channels": latent_channels,
            "layers_per_block": blocks,
            "block_out_channels": tuple(channels * multiplier for multiplier in multipliers),
        }
        if context:
            self.network = UNet2DConditionModel(
                **shared,
                down_block_types=_choose(attends, "CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=_choose(attends[::-1], "CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=heads,  # diffusers' old name for the number of heads
                cross_attention_dim=context,
            )
        else:
            self.network = UNet2DModel(
                **shared,
                down_block_types=_choose(attends, "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
                up_block_types=_choose(attends[::-1], "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
                attention_head_dim=channels // heads,
                downsample_type="resnet",
                upsample_type="resnet",
                resnet_time_scale_shift="scale_shift",
            )
            self._follow_latent_diffusion(heads)

    def _follow_latent_diffusion(self, heads: int) -> None:
        """As many heads at every width, where diffusers fixes their width; every residual starts as the identity."""
        from diffusers.models.attention_processor import Attention
        from diffusers.models.resnet import ResnetBlock2D

        last: list[nn.Module] = [self.network.conv_out]
        for module in self.network.modules():
            if isinstance(module, Attention):
                module.heads, module.scale = heads, (module.inner_dim // heads) ** -0.5
                last.append(module.to_out[0])
            elif isinstance(module, ResnetBlock2D):
                last.append(module.conv2)
        for module in last:
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def forward(self, noisy_bchw: Tensor, timestep_b: Tensor, condition_bchw: Tensor) -> Tensor:
        """One pass of the network."""
        sample = torch.cat([noisy_bchw, condition_bchw.to(noisy_bchw)], 1)
        if not self.context:
            return self.network(sample, timestep_b).sample
        return self.network(sample, timestep_b, sample.new_zeros(len(sample), 1, self.context)).sample

    def checkpoint_gradients(self, function: Callable[..., Any]) -> bool:
        """Keep only the inputs of the blocks and compute them again on the way back, by `function`."""
        self.network.enable_gradient_checkpointing(function)
        return True


class UNetWeights:
    """Weights that a U-Net starts from: a `UNet2DModel` or `UNet2DConditionModel` in diffusers' layout.

    `source` is its folder, a pipeline's folder with it in unet/, or a hub id. `folder` is None when nothing was to be
    fetched and it is not in this machine's cache.
    """

    def __init__(self, source: str, *, revision: str | None = None, fetch: bool = True) -> None:
        self.source = source
        self.folder = find_weights(source, revision, what="denoiser_weights", files=_FILES, fetch=fetch)
        if self.folder is not None and (self.folder / "unet").is_dir():
            self.folder = self.folder / "unet"

    def check(self, denoiser: UNetDenoiser, *, extra: str) -> None:
        """Raise SyndiffError, saying how many tensors match, unless the architecture in config.json fits `denoiser`.

        The weights themselves are not read.
        """
        network = self._class()
        with torch.device("meta"):
            try:
                shapes = network.from_config(network.load_config(self.folder, local_files_only=True))
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                raise self._broken(error) from None
        self._compare(shapes.state_dict(), denoiser, extra)

    def load_into(self, denoiser: UNetDenoiser, *, extra: str) -> None:
        """Replace all weights of `denoiser`; what its first layer sees beyond the noisy latent is set by `extra`.

        "zero": the weights of the condition are 0, so that it has no say at first (SDSeg). "halve": noisy latent and
        condition share the weights, halved, so that activations keep their size (Marigold).
        Raises SyndiffError when the weights do not fit, or are damaged or incomplete.
        """
        self.check(denoiser, extra=extra)
        assert self.folder is not None
        try:
            model, loading = self._class().from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise self._broken(error) from None
        for path in self.folder.glob("diffusion_pytorch_model*.safetensors"):
            check_file(path)
        check_loaded(self.folder, model, loading)
        state = model.state_dict()
        state["conv_in.weight"] = _widen(state["conv_in.weight"], denoiser, extra)
        denoiser.network.load_state_dict(state)

    def _class(self) -> Any:
        import diffusers

        assert self.folder is not None
        config = self.folder / "config.json"
        if not config.is_file():
            raise SyndiffError(
                f"denoiser_weights {self.source}: no config.json in {self.folder}. Expected a U-Net in diffusers' "
                "layout (config.json and diffusion_pytorch_model.safetensors), or a pipeline's folder with it in unet/."
            )
        kind = read_object(config, {}, mend=DOWNLOAD).get("_class_name")
        if kind not in ("UNet2DModel", "UNet2DConditionModel"):
            raise SyndiffError(
                f"denoiser_weights {self.source}: found class {unquoted(kind)}, expected UNet2DModel or "
                "UNet2DConditionModel."
            )
        return getattr(diffusers, kind)

    def _compare(self, found: dict[str, Tensor], denoiser: UNetDenoiser, extra: str) -> None:
        expected = denoiser.network.state_dict()
        shapes = {name: list(value.shape) for name, value in expected.items()}
        entry = "conv_in.weight"
        if entry in found and found[entry].shape[1] == denoiser.latent_channels:
            shapes[entry][1] = denoiser.latent_channels
            if extra == "halve" and expected[entry].shape[1] != 2 * denoiser.latent_channels:
                raise SyndiffError(
                    f'denoiser_extra_inputs "halve" needs as many condition_channels as the latent has '
                    f'({denoiser.latent_channels}); set them so, or choose "zero".'
                )
        wrong = [
            name
            for name in sorted(shapes.keys() | found.keys())
            if name not in shapes or name not in found or list(found[name].shape) != shapes[name]
        ]
        if wrong:
            name, matching = wrong[0], sum(name not in wrong for name in shapes)
            here = list(found[name].shape) if name in found else "absent"
            raise SyndiffError(
                f"denoiser_weights {self.source} do not fit the network: {matching} of its {len(shapes)} tensors "
                f"match in name and shape, the first that does not is {name} (found {here}, "
                f"expected {shapes.get(name, 'absent')}). Set denoiser_channels and the unet_ settings as the folder's "
                f"config.json has them ({self._in_words()}), and an autoencoder with {denoiser.latent_channels} latent "
                "channels on both sides; or choose other weights."
            )

    def _in_words(self) -> str:
        assert self.folder is not None
        config = read_object(self.folder / "config.json", {}, mend=DOWNLOAD)
        names = ("in_channels", "out_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")
        return ", ".join(f"{name} {config[name]}" for name in names if config.get(name) is not None)

    def _broken(self, error: Exception) -> SyndiffError:
        return SyndiffError(
            f"denoiser_weights {self.source} could not be loaded ({brief(error)}); only safetensors are read. Get the "
            "folder again."
        )


def _choose(attends: Sequence[bool], attending: str, plain: str) -> tuple[str, ...]:
    return tuple(attending if attend else plain for attend in attends)


def _widen(weight: Tensor, denoiser: UNetDenoiser, extra: str) -> Tensor:
    """Weights of the first layer for all its input channels."""
    wanted = denoiser.network.conv_in.weight
    if weight.shape == wanted.shape:
        return weight
    if extra == "halve":
        return torch.cat([weight, weight], 1) / 2
    return torch.cat([weight, torch.zeros_like(wanted[:, weight.shape[1] :])], 1)
