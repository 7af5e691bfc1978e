"""One interface to every autoencoder: the shipped compact one, KL-f8, TAESD and TAEF2, from a folder or the hub."""

import json
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.files import read_json, sha256
from syndiff.models.compact_autoencoder import CompactAutoencoder
from syndiff.models.taef2 import Taef2

DOWNSAMPLING = 8
_SHIPPED = Path(__file__).parent / "weights" / "compact_autoencoder.safetensors"
_TAEF2_SCALING = 1 / 0.78  # the standard deviation of its latents on colonoscopy frames


class LatentCodec(Protocol):
    """What a wrapped network offers: images in [-1, 1] to raw latents and back."""

    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) -> raw latent (b, c, h/8, w/8)."""
        ...

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Raw latent (b, c, h, w) -> (b, 3, 8h, 8w)."""
        ...


class _Kl(nn.Module):
    """diffusers' AutoencoderKL behind LatentCodec: the mode of the posterior, so encoding is deterministic."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def encode(self, image_bchw: Tensor) -> Tensor:
        return self.model.encode(image_bchw).latent_dist.mode()

    def decode(self, latent_bchw: Tensor) -> Tensor:
        return self.model.decode(latent_bchw).sample


class _Tiny(nn.Module):
    """diffusers' AutoencoderTiny (TAESD and its family) behind LatentCodec."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def encode(self, image_bchw: Tensor) -> Tensor:
        return self.model.encode(image_bchw).latents

    def decode(self, latent_bchw: Tensor) -> Tensor:
        return self.model.decode(latent_bchw).sample


class Autoencoder(nn.Module):
    """A frozen autoencoder with scaled latents (near unit variance); gradients flow through it, never into it.

    `source` and `fingerprint` say where the weights came from and which they are.
    """

    def __init__(
        self, codec: nn.Module, *, latent_channels: int, scaling_factor: float, source: str, fingerprint: str
    ) -> None:
        super().__init__()
        self.codec = codec
        self.latent_channels, self.scaling_factor = latent_channels, scaling_factor
        self.source, self.fingerprint = source, fingerprint
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Autoencoder":
        """Stay in evaluation mode: the autoencoder is frozen."""
        return super().train(False)

    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1], sides multiples of 8 -> scaled latent (b, latent_channels, h/8, w/8)."""
        height, width = image_bchw.shape[-2:]
        assert height % DOWNSAMPLING == 0 and width % DOWNSAMPLING == 0, f"{height}x{width} does not divide by 8"
        return self.codec.encode(image_bchw) * self.scaling_factor  # type: ignore[operator]

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Scaled latent -> image (b, 3, 8h, 8w), nominally in [-1, 1]."""
        return self.codec.decode(latent_bchw / self.scaling_factor)  # type: ignore[operator]

    def encode_mask(self, mask_b1hw: Tensor) -> Tensor:
        """Latent of a mask in {0, 1}, presented as three equal channels in {-1, +1} (SDSeg)."""
        return self.encode((mask_b1hw * 2 - 1).expand(-1, 3, -1, -1))

    def decode_mask(self, latent_bchw: Tensor) -> Tensor:
        """Mask score (b, 1, 8h, 8w), nominally in [-1, 1]: the mean of the three channels; above 0 is foreground."""
        return self.decode(latent_bchw).mean(1, keepdim=True)


def load_autoencoder(
    source: str = "compact", *, revision: str | None = None, scaling_factor: float | None = None
) -> Autoencoder:
    """Load an autoencoder by name.

    `source`: "compact" (shipped with the package); a folder or hub id in diffusers format (`AutoencoderKL` such as
    stabilityai/sd-vae-ft-mse, or `AutoencoderTiny` such as madebyollin/taesd); or a folder that holds
    taef2_encoder and taef2_decoder weights. `scaling_factor` replaces the stored one.
    """
    if source == "compact":
        autoencoder = _load_compact()
    elif Path(source).is_dir() and any(Path(source).glob("taef2_encoder.*")):
        autoencoder = _load_taef2(Path(source))
    else:
        autoencoder = _load_diffusers(source, revision)
    if scaling_factor is not None:
        autoencoder.scaling_factor = scaling_factor
    return autoencoder


def _load_compact() -> Autoencoder:
    described = read_json(_SHIPPED.with_suffix(".json"))
    codec = CompactAutoencoder(**described["config"])
    codec.load_state_dict({name: value.float() for name, value in load_file(_SHIPPED).items()})
    return Autoencoder(
        codec,
        latent_channels=described["config"]["latent_channels"],
        scaling_factor=described["scaling_factor"],
        source="compact",
        fingerprint=sha256(_SHIPPED),
    )


def _load_taef2(folder: Path) -> Autoencoder:
    codec = Taef2()
    hashes = []
    for part in ("encoder", "decoder"):
        found = sorted(folder.glob(f"taef2_{part}.*"))
        if not found:
            raise SyndiffError(f"{folder} holds no taef2_{part} weights; both parts are needed, download it again.")
        # weights_only refuses everything but tensors: a pickled file cannot run code.
        state = load_file(found[0]) if found[0].suffix == ".safetensors" else torch.load(found[0], weights_only=True)
        try:
            getattr(codec, part).load_state_dict({name: value.float() for name, value in state.items()})
        except RuntimeError as error:
            raise SyndiffError(f"{found[0]} does not hold the TAEF2 {part}: {error}") from None
        hashes.append(sha256(found[0]))
    return Autoencoder(
        codec,
        latent_channels=32,
        scaling_factor=_TAEF2_SCALING,
        source=str(folder),
        fingerprint="+".join(hashes),
    )


def _load_diffusers(source: str, revision: str | None) -> Autoencoder:
    folder = Path(source)
    if folder.is_dir():
        config_file = folder / "config.json"
        if not config_file.is_file():
            raise SyndiffError(
                f"autoencoder folder {folder}: no config.json found. Expected a diffusers folder (config.json and "
                "diffusion_pytorch_model.safetensors) or TAEF2 weights; download it again or give another folder."
            )
        kind = read_json(config_file).get("_class_name", "AutoencoderKL")
    elif folder.is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise SyndiffError(
            f"autoencoder {source!r} is neither 'compact', nor an existing folder, nor a hub id like "
            "'stabilityai/sd-vae-ft-mse'. Check the path."
        )
    else:
        kind = _hub_class(source, revision)
    classes: dict[str, tuple[str, type[_Kl] | type[_Tiny]]] = {
        "AutoencoderKL": ("AutoencoderKL", _Kl),
        "AutoencoderTiny": ("AutoencoderTiny", _Tiny),
    }
    if kind not in classes:
        raise SyndiffError(f"autoencoder {source}: found class {kind}, expected one of {sorted(classes)}.")
    import diffusers

    name, wrapper = classes[kind]
    try:
        model = getattr(diffusers, name).from_pretrained(
            source,
            revision=revision,
            local_files_only=folder.is_dir(),
            use_safetensors=True,
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError) as error:
        raise SyndiffError(
            f"autoencoder {source}: the weights could not be loaded ({_first_line(error)}). "
            "Without a network, download the folder elsewhere and give its path."
        ) from None
    if 2 ** (len(model.config.block_out_channels) - 1) != DOWNSAMPLING:
        raise SyndiffError(
            f"autoencoder {source}: downsampling {2 ** (len(model.config.block_out_channels) - 1)} found, "
            f"{DOWNSAMPLING} expected (four resolution levels)."
        )
    weights = folder / "diffusion_pytorch_model.safetensors"
    return Autoencoder(
        wrapper(model),
        latent_channels=model.config.latent_channels,
        scaling_factor=float(getattr(model.config, "scaling_factor", 1.0) or 1.0),
        source=source,
        fingerprint=sha256(weights) if weights.is_file() else f"hub revision {revision or 'main'}",
    )


def _hub_class(source: str, revision: str | None) -> str:
    """The class named in a hub repository's config.json."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = hf_hub_download(source, "config.json", revision=revision)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise SyndiffError(
            f"autoencoder {source}: the model hub did not answer ({_first_line(error)}). "
            "Without a network, download the folder elsewhere and give its path instead of the id."
        ) from None
    return str(json.loads(Path(path).read_text()).get("_class_name", "AutoencoderKL"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
