"""One interface to every autoencoder: the two shipped ones, KL-f8, TAESD and TAEF2, from a folder or the hub."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError, unquoted
from syndiff.files import sha256
from syndiff.models.codec import LatentCodec
from syndiff.models.compact_autoencoder import CompactAutoencoder
from syndiff.models.hub import DOWNLOAD, brief, find_weights
from syndiff.models.mask_autoencoder import MaskAutoencoder
from syndiff.models.settings import DOWNSAMPLING
from syndiff.models.taef2 import Taef2
from syndiff.models.tensors import check_file, check_fit, check_loaded, read_state_dict, read_tensors

_SHIPPED: dict[str, type[CompactAutoencoder] | type[MaskAutoencoder]] = {
    "compact": CompactAutoencoder,
    "mask": MaskAutoencoder,
}
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FILES = ["config.json", _WEIGHTS, "taef2_*.safetensors", "taef2_*.pth"]
_REINSTALL = "It came with SynDiff: install that again."
_TAEF2_SCALING = 1 / 0.78  # the standard deviation of its latents on colonoscopy frames
KL_F8 = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
"""The architecture of stabilityai/sd-vae-ft-mse and of Stable Diffusion's own autoencoders, as diffusers words it."""


class Kl(LatentCodec):
    """diffusers' AutoencoderKL behind LatentCodec: the mode of the posterior, so encoding is deterministic."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def encode(self, image_bchw: Tensor) -> Tensor:
        return self.model.encode(image_bchw).latent_dist.mode()

    def decode(self, latent_bchw: Tensor) -> Tensor:
        return self.model.decode(latent_bchw).sample

    def trainable_encoder(self, *, pretrained: bool) -> Any:
        """The encoder of the paper's tau_theta."""
        if pretrained:
            return copy.deepcopy(self.model.encoder)
        return type(self.model).from_config(self.model.config).encoder


class _Tiny(LatentCodec):
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
        self, codec: LatentCodec, *, latent_channels: int, scaling_factor: float, source: str, fingerprint: str
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
        return self.codec.encode(image_bchw) * self.scaling_factor

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Scaled latent -> image (b, 3, 8h, 8w), nominally in [-1, 1]."""
        return self.codec.decode(latent_bchw / self.scaling_factor)

    def measure_scaling(self, masks_nkhw: Tensor, *, batch_size: int = 4) -> float:
        """One over the standard deviation of the raw latents of these masks in {0, 1} (any dtype), to five digits.

        Latents scaled by it have unit variance over the masks (not zero mean, which the noise does not need). Five
        digits, so that other threads or another device come to the same number.
        """
        total, squares, count = 0.0, 0.0, 0
        device = next(self.parameters()).device
        with torch.inference_mode():
            for part in masks_nkhw.split(batch_size):
                latent = (self.encode_mask(part.to(device).float()) / self.scaling_factor).double()
                total, squares = total + latent.sum().item(), squares + latent.square().sum().item()
                count += latent.numel()
        variance = squares / count - (total / count) ** 2
        return float(f"{variance**-0.5:.5g}")

    def encode_mask(self, mask_bkhw: Tensor) -> Tensor:
        """Latents of masks in {0, 1}, each presented as three equal channels in {-1, +1} (SDSeg).

        Those of the k masks of a case stand one behind the other: (b, k latent_channels, h/8, w/8).
        """
        return _apart(
            lambda mask_n1hw: self.encode((mask_n1hw * 2 - 1).expand(-1, 3, -1, -1)), mask_bkhw, mask_bkhw.shape[1]
        )

    def decode_mask(self, latent_bchw: Tensor, count: int = 1, *, clamp: bool = False) -> Tensor:
        """Scores (b, count, 8h, 8w) of the masks whose latents `encode_mask` gives, nominally in [-1, 1].

        A score is the mean of the three channels; above 0 is foreground. With `clamp` each channel is brought into
        [-1, 1] first, so that no single one outvotes the others.
        """

        def score(latent_nchw: Tensor) -> Tensor:
            decoded = self.decode(latent_nchw)
            return (decoded.clamp(-1, 1) if clamp else decoded).mean(1, keepdim=True)

        return _apart(score, latent_bchw, count)


def _apart(function: Callable[[Tensor], Tensor], x_bchw: Tensor, count: int) -> Tensor:
    """`function` on each of `count` equal parts of the channels, as cases of one batch; results are joined again."""
    if count == 1:
        return function(x_bchw)
    _, channels, height, width = x_bchw.shape
    parts = function(x_bchw.reshape(-1, channels // count, height, width))
    return parts.reshape(-1, count * parts.shape[1], *parts.shape[2:])


def load_autoencoder(source: str = "compact", *, revision: str | None = None) -> Autoencoder:
    """Load an autoencoder by name.

    `source`: "compact" or "mask" (shipped with the package; the latter knows nothing but masks), or a folder or hub id
    of one in diffusers format (`AutoencoderKL` such as stabilityai/sd-vae-ft-mse, `AutoencoderTiny` such as
    madebyollin/taesd) or of TAEF2 weights (taef2_encoder and taef2_decoder). `revision` is a commit, branch or tag of a
    hub repository.

    Raises SyndiffError when nothing is found there, no network included, or when the weights are damaged or of another
    kind.
    """
    if source in _SHIPPED:
        if revision is not None:
            raise SyndiffError(
                f"autoencoder_revision {revision!r} has no effect on {source}: only a hub id has revisions."
            )
        return _load_shipped(source)
    folder = _find(source, revision)
    assert folder is not None
    load = _load_taef2 if any(folder.glob("taef2_*")) else _load_diffusers
    return load(folder, source)


def autoencoder_shapes(source: str, *, revision: str | None = None) -> tuple[Autoencoder, bool]:
    """The architecture of an autoencoder without its weights (tensors on the meta device), and whether it is here.

    Nothing is fetched: of a hub id that is not in this machine's cache, False is returned and KL-f8 is assumed.
    """
    if source in _SHIPPED:
        return load_autoencoder(source, revision=revision), True
    import diffusers

    folder = _find(source, revision, fetch=False)
    if folder is not None and any(folder.glob("taef2_*")):
        return _load_taef2(folder, source), True
    kind = "AutoencoderKL" if folder is None else _diffusers_kind(folder, source)
    network = getattr(diffusers, kind)
    config = KL_F8 if folder is None else network.load_config(folder, local_files_only=True)
    with torch.device("meta"):
        model = network.from_config(config)
    return _wrap(model, kind, source, fingerprint="none: shapes alone"), folder is not None


def check_same_autoencoder(checkpoint: Path, described: Mapping[str, Any], found: Autoencoder) -> dict[str, Any]:
    """What a checkpoint's model.json (`described`) says of its autoencoder.

    Raises SyndiffError unless `found` is that one.
    """
    origin = f"{checkpoint / 'model.json'}: autoencoder"
    stored = check_object(origin, described.get("autoencoder"), {"fingerprint": str})
    trained_with = stored["fingerprint"]
    if trained_with != found.fingerprint:
        raise SyndiffError(
            f"{checkpoint}: trained with an autoencoder {found.source} of fingerprint {trained_with[:12]}, but the one "
            f"found has {found.fingerprint[:12]}. Install the version it was trained with, or train again."
        )
    return stored


def _load_shipped(source: str) -> Autoencoder:
    weights = Path(__file__).parent / "weights" / f"{source}_autoencoder.safetensors"
    described = read_object(
        weights.with_suffix(".json"), {"config": dict, "scaling_factor": float, "sha256": str}, mend=_REINSTALL
    )
    codec = _SHIPPED[source](**described["config"])
    state = read_tensors(weights, sha256=described["sha256"])
    codec.load_state_dict({name: value.float() for name, value in state.items()})
    return Autoencoder(
        codec,
        latent_channels=described["config"]["latent_channels"],
        scaling_factor=described["scaling_factor"],
        source=source,
        fingerprint=described["sha256"],
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


def _find(source: str, revision: str | None, *, fetch: bool = True) -> Path | None:
    return find_weights(
        source, revision, what="autoencoder", names="'compact', nor 'mask', nor ", files=_FILES, fetch=fetch
    )


_WRAPPERS: dict[str, type[Kl] | type[_Tiny]] = {"AutoencoderKL": Kl, "AutoencoderTiny": _Tiny}


def _diffusers_kind(folder: Path, source: str) -> str:
    """The class of the autoencoder in a diffusers folder, once both its files are there."""
    config, weights = folder / "config.json", folder / _WEIGHTS
    for path in (config, weights):
        if not path.is_file():
            raise SyndiffError(
                f"autoencoder {source}: no {path.name} found in {folder}. Expected a diffusers folder (config.json and "
                "diffusion_pytorch_model.safetensors) or TAEF2 weights; download it again or give another folder."
            )
    kind = read_object(config, {}, mend=DOWNLOAD).get("_class_name")
    if not isinstance(kind, str) or kind not in _WRAPPERS:
        raise SyndiffError(f"autoencoder {source}: found class {unquoted(kind)}, expected one of {sorted(_WRAPPERS)}.")
    return kind


def _load_diffusers(folder: Path, source: str) -> Autoencoder:
    import diffusers

    kind, weights = _diffusers_kind(folder, source), folder / _WEIGHTS
    network = getattr(diffusers, kind)
    try:
        model, loading = network.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise SyndiffError(f"{weights} could not be loaded ({brief(error)}); download it again.") from None
    check_file(weights)
    check_loaded(weights, model, loading)
    return _wrap(model, kind, source, fingerprint=sha256(weights))


def _wrap(model: Any, kind: str, source: str, *, fingerprint: str) -> Autoencoder:
    downsampling = 2 ** (len(model.config.block_out_channels) - 1)
    if downsampling != DOWNSAMPLING:
        raise SyndiffError(
            f"autoencoder {source}: its downsampling is {downsampling}, expected {DOWNSAMPLING} (four levels)."
        )
    return Autoencoder(
        _WRAPPERS[kind](model),
        latent_channels=model.config.latent_channels,
        scaling_factor=float(model.config.scaling_factor),
        source=source,
        fingerprint=fingerprint,
    )
