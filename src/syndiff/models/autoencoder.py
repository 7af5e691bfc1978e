"""One interface to every autoencoder: the shipped compact one, KL-f8, TAESD and TAEF2, from a folder or the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.files import read_json, sha256
from syndiff.models.compact_autoencoder import CompactAutoencoder
from syndiff.models.taef2 import Taef2
from syndiff.models.tensors import check_fit, read_state_dict, read_tensors

DOWNSAMPLING = 8
_SHIPPED = Path(__file__).parent / "weights" / "compact_autoencoder.safetensors"
_FILES = ["config.json", "diffusion_pytorch_model.safetensors", "taef2_*.safetensors", "taef2_*.pth"]
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

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def encode(self, image_bchw: Tensor) -> Tensor:
        return self.model.encode(image_bchw).latent_dist.mode()

    def decode(self, latent_bchw: Tensor) -> Tensor:
        return self.model.decode(latent_bchw).sample


class _Tiny(nn.Module):
    """diffusers' AutoencoderTiny (TAESD and its family) behind LatentCodec."""

    model: Any

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


def load_autoencoder(source: str = "compact", *, revision: str | None = None) -> Autoencoder:
    """Load an autoencoder by name.

    `source`: "compact" (shipped with the package), or a folder or hub id of one in diffusers format (`AutoencoderKL`
    such as stabilityai/sd-vae-ft-mse, `AutoencoderTiny` such as madebyollin/taesd) or of TAEF2 weights (taef2_encoder
    and taef2_decoder). `revision` is a commit, branch or tag of a hub repository.

    Raises SyndiffError when nothing is found there, no network included, or when the weights are damaged or of another
    kind.
    """
    folder = Path(source)
    if revision is not None and (source == "compact" or folder.is_dir()):
        raise SyndiffError(f"autoencoder_revision {revision!r} has no effect on {source}: only a hub id has revisions.")
    if source == "compact":
        return _load_compact()
    if not folder.is_dir():
        folder = _download(source, revision)
    load = _load_taef2 if any(folder.glob("taef2_*")) else _load_diffusers
    return load(folder, source)


def check_same_autoencoder(checkpoint: Path, described: Mapping[str, Any], found: Autoencoder) -> None:
    """Raise SyndiffError unless `found` is the autoencoder that a checkpoint's model.json (`described`) names."""
    trained_with = described.get("autoencoder", {}).get("fingerprint", "unknown")
    if trained_with != found.fingerprint:
        raise SyndiffError(
            f"{checkpoint}: trained with an autoencoder {found.source} of fingerprint {trained_with[:12]}, but the one "
            f"found has {found.fingerprint[:12]}. Install the version it was trained with, or train again."
        )


def _load_compact() -> Autoencoder:
    described = read_json(_SHIPPED.with_suffix(".json"))
    codec = CompactAutoencoder(**described["config"])
    codec.load_state_dict({name: value.float() for name, value in read_tensors(_SHIPPED).items()})
    return Autoencoder(
        codec,
        latent_channels=described["config"]["latent_channels"],
        scaling_factor=described["scaling_factor"],
        source="compact",
        fingerprint=sha256(_SHIPPED),
    )


def _load_taef2(folder: Path, source: str) -> Autoencoder:
    codec = Taef2()
    hashes = []
    for name, part in (("encoder", codec.encoder), ("decoder", codec.decoder)):
        found = [path for kind in ("safetensors", "pth") if (path := folder / f"taef2_{name}.{kind}").is_file()]
        if not found:
            raise SyndiffError(
                f"{folder} holds no taef2_{name}.safetensors or .pth; both parts are needed, download it again."
            )
        state = read_state_dict(found[0])
        check_fit(found[0], state, part.state_dict())
        part.load_state_dict({key: value.float() for key, value in state.items()})
        hashes.append(sha256(found[0]))
    return Autoencoder(
        codec, latent_channels=32, scaling_factor=_TAEF2_SCALING, source=source, fingerprint="+".join(hashes)
    )


def _load_diffusers(folder: Path, source: str) -> Autoencoder:
    config, weights = folder / "config.json", folder / "diffusion_pytorch_model.safetensors"
    for path in (config, weights):
        if not path.is_file():
            raise SyndiffError(
                f"autoencoder {source}: no {path.name} found in {folder}. Expected a diffusers folder (config.json and "
                "diffusion_pytorch_model.safetensors) or TAEF2 weights; download it again or give another folder."
            )
    kind = read_json(config).get("_class_name")
    wrappers: dict[str, type[_Kl] | type[_Tiny]] = {"AutoencoderKL": _Kl, "AutoencoderTiny": _Tiny}
    if kind not in wrappers:
        raise SyndiffError(f"autoencoder {source}: found class {kind}, expected one of {sorted(wrappers)}.")
    import diffusers

    try:
        model, loading = getattr(diffusers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SyndiffError(f"{weights} could not be loaded ({_brief(error)}); download it again.") from None
    if loading["missing_keys"]:  # diffusers leaves these at random values and only warns
        raise SyndiffError(
            f"{weights} lacks {len(loading['missing_keys'])} tensors of an {kind}, the first is "
            f"{sorted(loading['missing_keys'])[0]}; download it again."
        )
    downsampling = 2 ** (len(model.config.block_out_channels) - 1)
    if downsampling != DOWNSAMPLING:
        raise SyndiffError(
            f"autoencoder {source}: its downsampling is {downsampling}, expected {DOWNSAMPLING} (four levels)."
        )
    return Autoencoder(
        wrappers[kind](model),
        latent_channels=model.config.latent_channels,
        scaling_factor=float(model.config.scaling_factor),
        source=source,
        fingerprint=sha256(weights),
    )


def _download(source: str, revision: str | None) -> Path:
    """Folder with the files of a hub repository, from the network or from this machine's cache of it."""
    if Path(source).is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise SyndiffError(
            f"autoencoder {source!r} is neither 'compact', nor an existing folder, nor a hub id like "
            "'stabilityai/sd-vae-ft-mse'. Check the path."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        raise SyndiffError(
            f"autoencoder {source}: no such folder, and the model hub did not give it ({_brief(error)}). "
            "Without a network, download it elsewhere and give its folder instead of the id."
        ) from None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
